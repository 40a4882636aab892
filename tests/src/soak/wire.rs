//! Counts the packets on the wire.
//!
//! These are the packets that the metered interfaces received while the agent was attached, by the kernel's counters.

use anyhow::{Context, Result, ensure};

use crate::hooks::Hooks;
use crate::lab::{Interface, Lab, LinkOptions, wait_until};
use crate::traffic::raw::{FlowSpray, FrameSender, Rate};

use super::limits::LIMIT;

/// Packets and flows that are sent over the second link at a time.
const PACKETS: u64 = 2000;
const FLOWS: u32 = 500;
const RATE: Rate = Rate::PerSecond(2000);

/// A second link, on which only counted packets are sent. Its metered end can be replaced.
#[derive(Debug)]
pub(super) struct SecondLink {
    /// The sending end and the metered end.
    ends: [Interface; 2],
    /// Packets received by removed ends.
    gone: u64,
    /// Packets received by the current end.
    present: u64,
}

impl SecondLink {
    pub(super) fn new(lab: &Lab, from: &str, server: &Interface) -> Result<Self> {
        let ends = lab.link([&lab.host(from)?, &server.host], &LinkOptions::quiet())?;
        Ok(Self { ends, gone: 0, present: 0 })
    }

    /// The end that is metered.
    pub(super) const fn metered(&self) -> &Interface {
        &self.ends[1]
    }

    /// Sends some packets, all of which must arrive.
    pub(super) fn send(&mut self) -> Result<()> {
        let [from, to] = &self.ends;
        let before = to.counters()?.rx_packets;
        ensure!(before == self.present, "{} has received {before} packets, and {} were sent", to.name, self.present);
        let sent = FrameSender::open(from)?.spray(&FlowSpray::unanswered(to, FLOWS, PACKETS), RATE)?.packets;
        wait_until(LIMIT, || Ok(to.counters()?.rx_packets - before == sent))?;
        self.present += sent;
        Ok(())
    }

    /// Removes the metered end, and makes another one with the same name. Sends to it once the agent meters it.
    pub(super) fn replace(&mut self, lab: &Lab) -> Result<()> {
        self.send()?;
        lab.replace(&self.ends, &LinkOptions::quiet())?;
        self.gone += std::mem::take(&mut self.present);
        wait_until(LIMIT, || Ok(Hooks::of(self.metered())?.sees_ingress()))
            .with_context(|| format!("{} has come back, and the agent does not attach to it", self.metered().name))?;
        self.send()
    }

    /// Packets that the agent must have seen.
    pub(super) const fn packets(&self) -> u64 {
        self.gone + self.present
    }
}
