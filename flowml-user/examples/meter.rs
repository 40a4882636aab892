//! Meters an interface with an observer of its own, and prints the packets of each protocol:
//! `cargo run --example meter -- IFACE SECONDS`, as root.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use flowml_common::flow::PartialFlow;
use flowml_user::engine::Options;
use flowml_user::engine::learners::Learners;
use flowml_user::engine::live::{Loaded, Outfit};
use flowml_user::export::{Observer, Pace, Sinks};
use flowml_user::features::FlowColumns;
use flowml_user::session::Standing;
use tokio::sync::Notify;

/// Packets by IP protocol number.
type Packets = BTreeMap<u8, u64>;

/// Adds up the partial flows of all drains.
#[derive(Clone, Default)]
struct Protocols(Arc<Mutex<Packets>>);

impl Observer for Protocols {
    fn part(&mut self, part: &PartialFlow, _standing: Standing) {
        let mut packets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *packets.entry(part.key.protocol()).or_default() += part.stats.packets();
    }

    fn wake(&mut self) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// The packets that an interface receives during this time, or until `stop` is notified.
pub(crate) async fn packets(interface: &str, duration: Duration, stop: &Notify) -> Result<Packets> {
    let interfaces = vec![interface.parse().map_err(Error::msg)?];
    let options = Options { interfaces, duration: Some(duration), ..Options::default() };
    let columns = FlowColumns::of(None);
    let learners = Learners::begin(options.begin(), columns, &options.settings(), options.alarms)?;
    let protocols = Protocols::default();
    let sinks = Sinks::open(&[], columns, Pace::Live)?.observed_by(protocols.clone());
    let loaded = Loaded::new(options).await?;
    let attached = loaded.attach(Outfit { sinks, inspector: None, learners, reach: None, rereads: None })?;
    attached.run(stop).await?;
    Ok(std::mem::take(&mut *protocols.0.lock().unwrap_or_else(PoisonError::into_inner)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let interface = arguments.next().context("expected an interface as the first argument")?;
    let seconds = arguments.next().context("expected seconds as the second argument")?;
    let duration = Duration::from_secs(seconds.parse().context("expected a number of seconds")?);
    for (protocol, packets) in packets(&interface, duration, &Notify::new()).await? {
        println!("protocol {protocol}: {packets} packets");
    }
    Ok(())
}
