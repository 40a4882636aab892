//! The hosts of a part of the corpus, on one segment.

use std::fs;

use anyhow::{Context, Result};

use super::part::Split;
use crate::lab::{Host, Interface, Lab, LinkOptions};

/// Number of hosts of a site. Each attack has its own attacker.
const HOSTS: usize = 32;

/// A network whose addresses all belong to the server, as on a host of a farm. A scan of many hosts finds them here.
pub(super) const FARM: &str = "10.80.0.0/16";

/// The number of hosts of each kind. All others are strangers.
#[derive(Clone, Copy)]
pub(super) struct Census {
    pub(super) clients: usize,
    pub(super) responders: usize,
}

/// The hosts of each part.
const TRAIN: Census = Census { clients: 6, responders: 3 };
const TEST: Census = Census { clients: 5, responders: 2 };

/// One segment of hosts.
#[derive(Debug)]
pub(super) struct Site {
    /// The host with the services, where the capture is taken.
    pub(super) server: Interface,
    /// The host that serves DNS, files and time to the server.
    pub(super) mirror: Interface,
    /// Hosts that answer everyone, used for reflection.
    pub(super) responders: Vec<Interface>,
    /// The clients of the server.
    pub(super) clients: Vec<Interface>,
    /// Hosts that send nothing until they attack.
    pub(super) strangers: Vec<Interface>,
}

impl Site {
    /// Builds the hosts without any traffic. Their links carry frames as on a wire, not the large buffers of a local
    /// stack.
    pub(super) fn build(lab: &Lab, part: Split) -> Result<Self> {
        let hosts = (1..=HOSTS).map(|n| lab.host(&format!("{}-host{n}", part.name())));
        let hosts = hosts.collect::<Result<Vec<Host>>>()?;
        let hosts: [&Host; HOSTS] = std::array::from_fn(|n| &hosts[n]);
        let options = LinkOptions { offloads: false, ..LinkOptions::default() };
        let mut free = lab.segment(hosts, &options)?.into_iter();
        let mut take = |count: usize| -> Vec<Interface> { free.by_ref().take(count).collect() };
        let Census { clients, responders } = part.choose(TRAIN, TEST);
        let (clients, responders) = (take(clients), take(responders));
        let mut one = || take(1).pop().context("a site has too few hosts");
        let (server, gateway, mirror) = (one()?, one()?, one()?);
        let strangers = take(HOSTS);
        let site = Self { server, mirror, responders, clients, strangers };
        site.route(&gateway)?;
        Ok(site)
    }

    /// `gateway` is the server's route to all other networks. It discards everything and answers nothing.
    fn route(&self, gateway: &Interface) -> Result<()> {
        let server = &self.server;
        let (gateway, through) = (gateway.v4.to_string(), server.v4.to_string());
        server.host.ip(&["route", "add", "default", "via", &gateway])?;
        server.host.ip(&["route", "add", "local", FARM, "dev", "lo"])?;
        for stranger in &self.strangers {
            stranger.host.ip(&["route", "add", FARM, "via", &through])?;
        }
        // Connections that a flood leaves half open end 3 s after it, within the time of its label.
        server.host.enter(|| fs::write("/proc/sys/net/ipv4/tcp_synack_retries", "1"))?.context("tcp_synack_retries")
    }
}
