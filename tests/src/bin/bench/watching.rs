//! What sequential tests and host windows cost: all that is done with the parts of flows before anything is scored.

use std::path::Path;

use anyhow::Result;
use flowml_common::flow::Part;
use flowml_user::capture::file::CaptureFile;
use flowml_user::capture::file::link;
use flowml_user::capture::vectors::VecTable;
use flowml_user::features::HostWindows;
use flowml_user::pipeline::WINDOW;
use flowml_user::pipeline::offline::table;
use flowml_user::session::{Ended, Sessions, Standing, Timeouts};
use flowml_user::witness::Witnesses;

use crate::learning::cpu_time;

/// How often the capture is gone through.
const ROUNDS: usize = 7;

const INTERVAL_NS: u64 = 1_000_000_000;

/// What an interval of the capture has for tests and windows.
#[derive(Default)]
struct Interval {
    end_ns: u64,
    parts: Vec<(Part, Standing)>,
    ended: Vec<Ended>,
}

/// CPU time, round by round.
pub(crate) struct Costs {
    pub(crate) flows: usize,
    pub(crate) windows: usize,
    /// Of sequential tests, µs a flow.
    pub(crate) tests: Vec<f64>,
    /// Of host windows and the slow view, µs a flow.
    pub(crate) views: Vec<f64>,
}

pub(crate) fn measure(capture: &Path) -> Result<Costs> {
    let intervals = intervals(capture)?;
    let flows = intervals.iter().map(|interval| interval.ended.len()).sum();
    let mut costs = Costs { flows, windows: 0, tests: Vec::new(), views: Vec::new() };
    for _ in 0..ROUNDS {
        let mut witnesses = Witnesses::new(0);
        costs.tests.push(time(flows, || {
            for interval in &intervals {
                interval.parts.iter().for_each(|(part, standing)| witnesses.observe(part, *standing));
                witnesses.ended(&interval.ended);
                witnesses.interval(interval.end_ns);
            }
        }));
        let mut windows = HostWindows::new(WINDOW);
        costs.windows = 0;
        costs.views.push(time(flows, || {
            for interval in &intervals {
                for (part, standing) in &interval.parts {
                    windows.add(part, *standing);
                }
                costs.windows += windows.advance(interval.end_ns).windows.len();
                // What a flow's record has of both.
                for (part, standing) in interval.parts.iter().filter(|(_, standing)| standing.new) {
                    std::hint::black_box(windows.around(part, *standing));
                }
            }
        }));
    }
    Ok(costs)
}

/// µs a flow.
fn time(flows: usize, work: impl FnOnce()) -> f64 {
    let begun = cpu_time();
    work();
    (cpu_time() - begun).as_secs_f64() * 1e6 / flows.max(1) as f64
}

/// The parts of a capture's flows, and the sessions that end, interval by interval.
fn intervals(capture: &Path) -> Result<Vec<Interval>> {
    let timeouts = Timeouts::default();
    let mut table = table().with_boundaries(timeouts.boundaries());
    let mut sessions = Sessions::new(timeouts);
    let mut file = CaptureFile::open(capture)?;
    let (mut intervals, mut now) = (Vec::new(), Interval::default());
    while let Some(captured) = file.next_frame()? {
        if now.end_ns == 0 {
            now.end_ns = captured.time_ns + INTERVAL_NS;
        }
        while captured.time_ns >= now.end_ns {
            drain(&mut table, &mut sessions, &mut now);
            let next = Interval { end_ns: now.end_ns + INTERVAL_NS, ..Interval::default() };
            intervals.push(std::mem::replace(&mut now, next));
        }
        link::meter(&mut table, &captured);
    }
    drain(&mut table, &mut sessions, &mut now);
    now.ended.extend(sessions.flush());
    intervals.push(now);
    Ok(intervals)
}

fn drain(table: &mut VecTable, sessions: &mut Sessions, interval: &mut Interval) {
    sessions.absorb_drain(table.flows(), |part, standing| interval.parts.push((*part, standing)));
    table.clear();
    interval.ended.extend(sessions.expire(interval.end_ns));
}
