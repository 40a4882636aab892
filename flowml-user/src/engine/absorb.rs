//! Adds the counts of an epoch to sessions, host windows and sequential tests.

use flowml_common::counts::Counted;
use flowml_common::table::{Count, Head};

use super::Pipeline;
use crate::export::Level;
use crate::session::{Kept, informed};

impl Pipeline {
    /// Processes the counts of one epoch. `occupancy` is the fill level of the fullest CPU's table, 0–1.
    pub fn absorb<'a>(&mut self, head: &Head, occupancy: f64, flows: impl IntoIterator<Item = Counted<'a>>) {
        self.count(head, occupancy);
        let (windows, tests, sinks, shed) = (&mut self.windows, &mut self.tests, &mut self.sinks, &mut self.shed);
        // Epochs queued at the end of the run are only counted.
        let hurries = sinks.closing().merges_intervals();
        let watches = self.watches;
        if !watches {
            tests.look_away();
        }
        // Without models there are no anomalies to join.
        let mut incidents = self.learners.is_some().then_some(&mut self.incidents);
        let (in_flows, flows_new) = (&mut self.totals.in_flows, &mut self.interval.flows_new);
        self.sessions.absorb_or_pass_by(flows, |partial, standing, kept| {
            in_flows.add(partial.stats.packets(), partial.stats.frame_bytes());
            *flows_new += u64::from(standing.new);
            let has_windows = match kept {
                Kept::InSession => {
                    if watches {
                        windows.add(partial, standing);
                    }
                    watches
                }
                Kept::Not => {
                    shed.aggregate(&partial.key, &partial.stats, standing.initiator);
                    if hurries || !watches {
                        return;
                    }
                    windows.add_slight(partial, standing)
                }
            };
            if watches {
                tests.observe(partial, standing);
            }
            // The sender of an ICMP error is no peer of the host that it informs.
            if let Some(incidents) = incidents.as_mut().filter(|_| has_windows)
                && informed(&partial.key, &partial.stats).is_none()
            {
                incidents.link(standing.addresses(&partial.key));
            }
            sinks.partial_flow(partial, standing);
        });
        if self.shed.leaves_out(Level::Records) {
            // Displaced sessions need not wait for the end of the interval.
            self.sessions.take_slight(|ended| {
                self.tests.ended(std::slice::from_ref(ended));
                self.shed.aggregate_ended(ended);
            });
        }
    }

    pub(super) fn count(&mut self, head: &Head, occupancy: f64) {
        self.totals.drains += 1;
        self.interval.occupancy = self.interval.occupancy.max(occupancy);
        for received in [&mut self.totals.received, &mut self.interval.received] {
            received.add(head.received.packets, head.received.bytes);
        }
        for skipped in [&mut self.totals.skipped, &mut self.interval.skipped] {
            add_all(skipped, &head.skipped);
        }
        add_all(&mut self.totals.overflow, &head.overflow);
        self.totals.boundaries_lost += head.boundaries_lost;
        if let Some(tunnels) = &mut self.totals.tunnels {
            tunnels.merge(&head.tunnels);
            self.interval.tunnels.merge(&head.tunnels);
        }
    }
}

fn add_all(sums: &mut [Count], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        sum.add(count.packets, count.bytes);
    }
}
