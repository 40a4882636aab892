//! Agents that meter the site while the corpus is made, as an operator would have them: which incidents they report.

use anyhow::Result;

use super::Plan;
use super::site::Site;
use crate::lab::Interface;
use crate::scenario::{Incident, Meter};

/// What an agent sees.
const VIEWS: [(&str, &[&str]); 2] = [("ingress", &[]), ("both", &["--direction", "both", "--xdp-mode", "tc"])];

/// An incident, and which agent reported it.
#[derive(Debug, Clone)]
pub struct Report {
    /// Where the agent was.
    pub at: &'static str,
    /// Which directions it saw.
    pub view: &'static str,
    /// What it reported.
    pub incident: Incident,
}

/// The agents at work.
pub(super) struct Watch(Vec<(&'static str, &'static str, Meter)>);

impl Watch {
    /// At the server and at a client, two each. None unless the plan says so.
    pub(super) fn of_site(site: &Site, plan: &Plan) -> Result<Self> {
        let client = site.clients.first().map(|client| ("client", client));
        let places = [("server", &site.server)].into_iter().chain(client);
        if plan.live { Self::start(places) } else { Ok(Self(Vec::new())) }
    }

    /// At the server alone.
    pub(super) fn of_server(site: &Site, plan: &Plan) -> Result<Self> {
        if plan.live { Self::start([("server", &site.server)].into_iter()) } else { Ok(Self(Vec::new())) }
    }

    /// Two at each place, of which one sees both directions.
    pub(super) fn start<'a>(places: impl Iterator<Item = (&'static str, &'a Interface)>) -> Result<Self> {
        let mut meters = Vec::new();
        for (name, interface) in places {
            for (view, arguments) in VIEWS {
                meters.push((name, view, Meter::start(interface, arguments)?));
            }
        }
        Ok(Self(meters))
    }

    /// Ends them. Returns what all have reported.
    pub(super) fn stop(self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for (at, view, meter) in self.0 {
            let (seen, _) = meter.stop()?;
            reports.extend(seen.incidents.into_iter().map(|incident| Report { at, view, incident }));
        }
        Ok(reports)
    }
}
