//! Prints the packets of each protocol on an interface: `cargo run --example meter -- IFACE SECONDS`, as root.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
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

/// An observer that adds up the partial flows of all drains.
#[derive(Clone, Default)]
struct Protocols(Arc<Mutex<Packets>>);

impl Observer for Protocols {
    fn partial_flow(&mut self, partial: &PartialFlow, _standing: Standing) {
        let mut packets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *packets.entry(partial.key.protocol()).or_default() += partial.stats.packets();
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, seconds] = &arguments[..] else { bail!("expected two arguments: an interface and seconds") };
    let duration = Duration::from_secs(seconds.parse().context("expected a number of seconds")?);
    for (protocol, packets) in packets(interface, duration, &Notify::new()).await? {
        println!("protocol {protocol}: {packets} packets");
    }
    Ok(())
}
