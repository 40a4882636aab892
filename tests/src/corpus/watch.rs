//! Runs agents at the site while the corpus is made, with an operator's options, and collects their incidents.

use anyhow::Result;

use super::plan::Plan;
use super::site::Site;
use crate::lab::Interface;
use crate::scenario::{Incident, Meter, Town};

/// The views of agents, with their arguments.
const VIEWS: [(&str, &[&str]); 2] = [("ingress", &[]), ("both", &["--direction", "both", "--xdp-mode", "tc"])];

/// An incident, and which agent reported it.
#[derive(Debug, Clone)]
pub struct Report {
    /// The host of the agent.
    pub at: &'static str,
    /// The direction that the agent meters.
    pub view: &'static str,
    /// The incident.
    pub incident: Incident,
}

/// The running agents.
pub(super) struct Watch(Vec<(&'static str, &'static str, Meter)>);

impl Watch {
    /// Starts two agents at the server and two at a client, if the plan requires agents.
    pub(super) fn of_site(site: &Site, plan: &Plan) -> Result<Self> {
        Self::of_both(&site.server, &site.clients, plan)
    }

    /// The same in the town.
    pub(super) fn of_town(town: &Town, plan: &Plan) -> Result<Self> {
        Self::of_both(&town.server, &town.clients, plan)
    }

    fn of_both(server: &Interface, clients: &[Interface], plan: &Plan) -> Result<Self> {
        let client = clients.first().map(|client| ("client", client));
        let places = [("server", server)].into_iter().chain(client);
        if plan.live { Self::start(places) } else { Ok(Self(Vec::new())) }
    }

    /// Starts agents at the server only.
    pub(super) fn of_server(site: &Site, plan: &Plan) -> Result<Self> {
        if plan.live { Self::start([("server", &site.server)].into_iter()) } else { Ok(Self(Vec::new())) }
    }

    /// Starts two agents at each place. One of them meters both directions.
    fn start<'a>(places: impl Iterator<Item = (&'static str, &'a Interface)>) -> Result<Self> {
        let mut meters = Vec::new();
        for (name, interface) in places {
            for (view, arguments) in VIEWS {
                meters.push((name, view, Meter::start(interface, arguments)?));
            }
        }
        Ok(Self(meters))
    }

    /// Ends the agents. Returns all their reports.
    pub(super) fn stop(self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for (at, view, meter) in self.0 {
            let (seen, _) = meter.stop()?;
            reports.extend(seen.incidents.into_iter().map(|incident| Report { at, view, incident }));
        }
        Ok(reports)
    }
}
