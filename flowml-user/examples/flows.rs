//! Prints the flows of a capture: `cargo run --example flows -- FILE`.

use std::error::Error;
use std::path::{Path, PathBuf};

use bytemuck::Zeroable;
use flowml_common::table::{Seed, Shape};
use flowml_user::capture::file::CaptureFile;
use flowml_user::capture::vectors::VecTable;
use flowml_user::record::{Clock, FlowRecord};
use flowml_user::session::{Sessions, Timeouts};
use rand::RngCore;

/// The largest number of flows of one drain.
const CAPACITY: u32 = 65_536;

/// The interval of drains in ns. Sessions join the partial flows of all drains.
const INTERVAL_NS: u64 = 1_000_000_000;

/// The flow records of a capture.
pub(crate) fn flows(path: &Path) -> Result<Vec<FlowRecord>, Box<dyn Error>> {
    // The seed is secret, so that nobody can choose flows that collide.
    let mut seed = Seed::zeroed();
    rand::rngs::OsRng.fill_bytes(bytemuck::bytes_of_mut(&mut seed));
    let timeouts = Timeouts::default();
    let mut table = VecTable::new(Shape::for_capacity(CAPACITY), seed).with_boundaries(timeouts.boundaries());
    let (mut sessions, mut ended, mut drain_ns) = (Sessions::new(timeouts), Vec::new(), None);
    let mut file = CaptureFile::open(path)?;
    while let Some(frame) = file.next_frame()? {
        let due_ns = *drain_ns.get_or_insert(frame.time_ns + INTERVAL_NS);
        if frame.time_ns >= due_ns {
            sessions.absorb_drain(table.flows(), |_, _| {});
            table.clear();
            ended.extend(sessions.expire(frame.time_ns));
            drain_ns = Some(frame.time_ns + INTERVAL_NS);
        }
        frame.meter(&mut table);
    }
    sessions.absorb_drain(table.flows(), |_, _| {});
    ended.extend(sessions.flush());
    // Captures have Unix time.
    Ok(ended.iter().map(|session| FlowRecord::new(session, Clock::default())).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("expected a capture file as the argument")?;
    for flow in flows(&path)? {
        let (packets, bytes) = (flow.both.packets, flow.both.frame_bytes);
        println!("{} → {}: {packets} packets, {bytes} bytes", flow.src_ip(), flow.dst_ip());
    }
    Ok(())
}
