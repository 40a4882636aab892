//! Measures sequential tests and host windows: all work on partial flows before anything is scored.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use flowml_common::flow::PartialFlow;
use flowml_user::capture::file::CaptureFile;
use flowml_user::capture::vectors::VecTable;
use flowml_user::engine::WINDOW;
use flowml_user::engine::offline::table;
use flowml_user::features::HostWindows;
use flowml_user::sequential::SequentialTests;
use flowml_user::session::{Ended, Sessions, Standing, Timeouts};

use crate::cpu_time::cpu_time;
use crate::effort::Effort;

const INTERVAL_NS: u64 = 1_000_000_000;

/// The input of tests and windows from one interval of the capture.
#[derive(Default)]
struct Interval {
    end_ns: u64,
    partials: Vec<(PartialFlow, Standing)>,
    ended: Vec<Ended>,
}

/// CPU times, one for each round.
pub(crate) struct Costs {
    pub(crate) flows: usize,
    pub(crate) windows: usize,
    /// CPU time of the sequential tests, in µs a flow.
    pub(crate) tests: Vec<f64>,
    /// The columns of host windows and the slow view in a flow record, in µs a flow.
    pub(crate) views: Vec<f64>,
    /// Host windows and the update of the slow view, in µs a window.
    pub(crate) hosts: Vec<f64>,
}

pub(crate) fn measure(capture: &Path, effort: Effort) -> Result<Costs> {
    let intervals = intervals(capture)?;
    let flows: usize = intervals.iter().map(|interval| interval.ended.len()).sum();
    ensure!(flows > 0, "{} has no flows", capture.display());
    let mut costs = Costs { flows, windows: 0, tests: Vec::new(), views: Vec::new(), hosts: Vec::new() };
    for _ in 0..effort.pick(7, 1) {
        let mut tests = SequentialTests::new(0);
        let tests = time(&intervals, |interval, partials| {
            partials.iter().for_each(|(partial, standing)| tests.observe(partial, *standing));
            tests.ended(&interval.ended);
            tests.interval(interval.end_ns);
        });
        let (mut windows, mut count) = (HostWindows::new(WINDOW), 0);
        let mut views = Duration::ZERO;
        let hosts = time(&intervals, |interval, partials| {
            partials.iter().for_each(|(partial, standing)| windows.add(partial, *standing));
            count += windows.advance(interval.end_ns).windows.len();
            let begun = cpu_time();
            for (partial, standing) in partials.iter().filter(|(_, standing)| standing.new) {
                black_box(windows.around(&partial.key, &partial.stats, *standing));
            }
            views += cpu_time() - begun;
        });
        let micros = |of: Duration, rows: usize| of.as_secs_f64() * 1e6 / rows.max(1) as f64;
        costs.windows = count;
        costs.tests.push(micros(tests, flows));
        costs.views.push(micros(views, flows));
        costs.hosts.push(micros(hosts.saturating_sub(views), count));
    }
    Ok(costs)
}

/// CPU time of `work` on all intervals. Partial flows are in the cache, as they are directly after a drain.
fn time(intervals: &[Interval], mut work: impl FnMut(&Interval, &[(PartialFlow, Standing)])) -> Duration {
    let (mut partials, mut sum) = (Vec::new(), Duration::ZERO);
    for interval in intervals {
        partials.clear();
        partials.extend_from_slice(&interval.partials);
        let begun = cpu_time();
        work(interval, &partials);
        sum += cpu_time() - begun;
    }
    sum
}

/// The partial flows and the ended sessions of a capture, interval by interval.
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
        captured.meter(&mut table);
    }
    drain(&mut table, &mut sessions, &mut now);
    now.ended.extend(sessions.flush());
    intervals.push(now);
    Ok(intervals)
}

fn drain(table: &mut VecTable, sessions: &mut Sessions, interval: &mut Interval) {
    sessions.absorb_drain(table.flows(), |partial, standing| interval.partials.push((*partial, standing)));
    table.clear();
    interval.ended.extend(sessions.expire(interval.end_ns));
}
