//! The kinds of rows: flows, hosts, anomalies and clusters, each with its columns.

use std::cmp::Reverse;

use flowml_common::flow::Endpoint;
use flowml_user::incident::State;
use flowml_user::learning::one_line;

use super::detail::{self, Fact};
use super::id::Id;
use super::row::{Rank, RowKind, ScreenColumn};
use super::seen::{History, Learnt, Noted};
use crate::ui::services::protocol_name;
use crate::ui::text::{Subject, probability, short, time_of_day};
use crate::ui::view::{Anomaly, FlowLine, HostLine, cluster};

/// The columns of the verdict: cluster and probability, with the smallest width at which they are shown.
macro_rules! verdict_columns {
    ($cluster_from:literal, $p_from:literal) => {
        [
            ScreenColumn {
                name: "CLUSTER",
                from_width: $cluster_from,
                cell: |row, _| cluster(row.verdict.as_ref()),
                rank: |row| Rank::of_verdict(row.verdict.as_ref(), |verdict| Rank::Least(verdict.cluster.into())),
            },
            ScreenColumn {
                name: "P",
                from_width: $p_from,
                cell: |row, _| {
                    row.verdict.as_ref().map_or_else(|| "–".to_owned(), |verdict| probability(verdict.probability))
                },
                rank: |row| Rank::of_verdict(row.verdict.as_ref(), |verdict| Rank::least(verdict.probability)),
            },
        ]
    };
}

const FLOW_VERDICT: [ScreenColumn<FlowLine>; 2] = verdict_columns!(80, 100);

const HOST_VERDICT: [ScreenColumn<HostLine>; 2] = verdict_columns!(80, 80);

/// An abbreviated count, sorted largest first.
macro_rules! amount {
    ($name:literal, $from_width:literal, $value:expr) => {
        ScreenColumn {
            name: $name,
            from_width: $from_width,
            cell: |row, _| short($value(row) as f64),
            rank: |row| Rank::most($value(row)),
        }
    };
}

/// A byte count shown as bits per second, sorted largest first.
macro_rules! bit_rate {
    ($bytes:expr) => {
        ScreenColumn {
            name: "BIT/S",
            from_width: 0,
            cell: |row, seconds| {
                let bits = 8.0 * $bytes(row) as f64;
                short(if seconds > 0.0 { bits / seconds } else { 0.0 })
            },
            rank: |row| Rank::most($bytes(row)),
        }
    };
}

impl RowKind for FlowLine {
    const COLUMNS: &'static [ScreenColumn<Self>] = &{
        let [cluster, p] = FLOW_VERDICT;
        [
            ScreenColumn {
                name: "SERVICE",
                from_width: 0,
                cell: |flow, _| flow.service(),
                rank: |flow| Rank::Text(flow.service()),
            },
            amount!("PACKETS", 100, |flow: &Self| flow.activity.total().packets),
            amount!("BYTES", 60, |flow: &Self| flow.activity.total().bytes),
            bit_rate!(|flow: &Self| flow.activity.total().bytes),
            cluster,
            p,
        ]
    };

    fn identity(&self) -> Id {
        Id::Flow(self.key)
    }

    fn name(&self) -> Subject {
        Subject::Pair(self.ends(), self.sign())
    }

    fn by_name(&self) -> Rank {
        let initiator = self.activity.initiator;
        Rank::Ends(self.key.endpoint(initiator), self.key.endpoint(initiator.opposite()))
    }

    fn found_by(&self) -> String {
        let [source, destination] = self.ends();
        format!("{source} {destination} {} {}", self.service(), protocol_name(self.key.protocol()))
    }

    fn is_anomalous(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.anomaly)
    }

    fn detail(&self, seen: &History) -> Vec<Fact> {
        detail::of_flow(self, seen)
    }
}

impl RowKind for HostLine {
    const COLUMNS: &'static [ScreenColumn<Self>] = &{
        let [cluster, p] = HOST_VERDICT;
        [
            amount!("FLOWS", 0, |host: &Self| host.activity.flows),
            amount!("PACKETS", 100, |host: &Self| host.activity.packets()),
            amount!("SENT", 60, |host: &Self| host.activity.sent.bytes),
            amount!("RECEIVED", 60, |host: &Self| host.activity.received.bytes),
            bit_rate!(|host: &Self| host.activity.bytes()),
            cluster,
            p,
        ]
    };

    fn identity(&self) -> Id {
        Id::Host(self.address)
    }

    fn name(&self) -> Subject {
        Subject::One(self.found_by())
    }

    fn by_name(&self) -> Rank {
        let end = Endpoint { address: self.address, port: 0 };
        Rank::Ends(end, end)
    }

    fn found_by(&self) -> String {
        self.address.to_ip().to_string()
    }

    fn is_anomalous(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.anomaly)
    }

    fn detail(&self, seen: &History) -> Vec<Fact> {
        detail::of_host(self, seen)
    }
}

impl RowKind for Noted {
    const COLUMNS: &'static [ScreenColumn<Self>] = &[
        ScreenColumn {
            name: "P",
            from_width: 0,
            cell: |noted, _| probability(noted.anomaly.probability()),
            rank: |noted| Rank::least(noted.anomaly.probability()),
        },
        ScreenColumn {
            name: "BEGAN",
            from_width: 0,
            cell: |noted, _| time_of_day(noted.began_ms),
            rank: |noted| Rank::most(noted.began_ms),
        },
    ];

    fn identity(&self) -> Id {
        self.key()
    }

    fn name(&self) -> Subject {
        Subject::Words(self.anomaly.subject())
    }

    fn by_name(&self) -> Rank {
        let is_open = matches!(self.anomaly, Anomaly::Incident(State::Open, _));
        Rank::Recent(Reverse((is_open, self.began_ms)))
    }

    fn found_by(&self) -> String {
        let hosts = match &self.anomaly {
            Anomaly::Incident(_, incident) => detail::names(&[&incident.sources, &incident.targets]),
            Anomaly::Flow(_) => String::new(),
        };
        format!("{} {hosts} {}", self.anomaly.subject(), one_line(self.anomaly.reasons()))
    }

    fn more(&self) -> Option<String> {
        Some(self.anomaly.summary().unwrap_or_else(|| one_line(self.anomaly.reasons())))
    }

    /// An incident that has ended is not highlighted.
    fn is_anomalous(&self) -> bool {
        !matches!(self.anomaly, Anomaly::Incident(State::Closed, _))
    }

    fn detail(&self, seen: &History) -> Vec<Fact> {
        detail::of_anomaly(self, seen)
    }
}

impl RowKind for Learnt {
    const COLUMNS: &'static [ScreenColumn<Self>] = &[ScreenColumn {
        name: "SHARE",
        from_width: 0,
        cell: |learnt, _| format!("{:.1} %", 100.0 * learnt.cluster.share),
        rank: |learnt| Rank::Most(Reverse(learnt.cluster.share.to_bits())),
    }];

    fn identity(&self) -> Id {
        Id::Cluster(self.of, self.cluster.id)
    }

    fn name(&self) -> Subject {
        Subject::Words(self.found_by())
    }

    fn by_name(&self) -> Rank {
        Rank::Text(format!("{} {:>10}", self.of, self.cluster.id))
    }

    fn found_by(&self) -> String {
        format!("{} {}: {}", self.of, self.cluster.id, self.typical().join(", "))
    }

    fn detail(&self, _seen: &History) -> Vec<Fact> {
        detail::of_cluster(self)
    }
}
