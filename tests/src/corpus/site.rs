//! The hosts of a part of the corpus, all on one segment.

use std::fs;

use anyhow::{Context, Result};

use super::Part;
use crate::lab::{Host, Interface, Lab, LinkOptions};

/// Hosts of a site: so many that each attack has an attacker of its own.
const HOSTS: usize = 32;

/// Networks of which the server has every address, as the host of a farm has: a scan of many hosts finds them here.
pub(super) const FARM: &str = "10.80.0.0/16";

/// How many hosts of a kind a site has; all others are strangers.
#[derive(Clone, Copy)]
pub(super) struct Census {
    pub(super) clients: usize,
    pub(super) responders: usize,
}

/// One segment of hosts.
#[derive(Debug)]
pub(super) struct Site {
    /// Has the services, and is where the capture is taken.
    pub(super) server: Interface,
    /// What the server itself asks for names, for files and for the time.
    pub(super) mirror: Interface,
    /// Open to questions of anybody.
    pub(super) responders: Vec<Interface>,
    /// Busy with the server.
    pub(super) clients: Vec<Interface>,
    /// Silent until they attack.
    pub(super) strangers: Vec<Interface>,
}

impl Site {
    /// The hosts, all of them at rest. Their links carry the packets of a wire, not the buffers of a local stack.
    pub(super) fn build(lab: &Lab, part: Part) -> Result<Self> {
        let hosts = (1..=HOSTS).map(|n| lab.host(&format!("{}-host{n}", part.name())));
        let hosts = hosts.collect::<Result<Vec<Host>>>()?;
        let hosts: [&Host; HOSTS] = std::array::from_fn(|n| &hosts[n]);
        let options = LinkOptions { offloads: false, ..LinkOptions::default() };
        let mut free = lab.segment(hosts, &options)?.into_iter();
        let mut take = |count: usize| -> Vec<Interface> { free.by_ref().take(count).collect() };
        let Census { clients, responders } = part.shape().census;
        let (clients, responders) = (take(clients), take(responders));
        let mut one = || take(1).pop().context("a site has too few hosts");
        let (server, gateway, mirror) = (one()?, one()?, one()?);
        let strangers = take(HOSTS);
        let site = Self { server, mirror, responders, clients, strangers };
        site.route(&gateway)?;
        Ok(site)
    }

    /// `gateway` is the server's way to the rest of the world: it takes everything and answers nothing.
    fn route(&self, gateway: &Interface) -> Result<()> {
        let server = &self.server;
        let (gateway, through) = (gateway.v4.to_string(), server.v4.to_string());
        server.host.ip(&["route", "add", "default", "via", &gateway])?;
        server.host.ip(&["route", "add", "local", FARM, "dev", "lo"])?;
        for stranger in &self.strangers {
            stranger.host.ip(&["route", "add", FARM, "via", &through])?;
        }
        // What a flood leaves half open is over 3 s after it, and so within the time of its label.
        server.host.enter(|| fs::write("/proc/sys/net/ipv4/tcp_synack_retries", "1"))?.context("tcp_synack_retries")
    }
}
