//! The lists in the panels: columns, order and filter of each kind of row.

use std::cmp::Reverse;

use flowml_common::flow::{Address, Endpoint, FlowKey};
use flowml_user::incident::State as Stage;
use flowml_user::learning::{Verdict, one_line};

use super::detail::Fact;
use super::seen::{Learnt, Noted, Seen};
use crate::ui::services::protocol_name;
use crate::ui::text::{Subject, probability, short, time_of_day};
use crate::ui::view::{Anomaly, FlowLine, HostLine, cluster};

/// The panels of the UI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    Anomalies,
    Flows,
    Hosts,
    Clusters,
}

impl Panel {
    pub(super) const ALL: [Self; 4] = [Self::Anomalies, Self::Flows, Self::Hosts, Self::Clusters];

    /// The heading.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Anomalies => "ANOMALIES",
            Self::Flows => "FLOWS",
            Self::Hosts => "HOSTS",
            Self::Clusters => "CLUSTERS",
        }
    }

    /// The text shown instead of rows.
    pub(super) const fn nothing(self) -> &'static str {
        match self {
            Self::Anomalies => "none so far",
            Self::Flows | Self::Hosts => "none in the last interval",
            Self::Clusters => "none yet",
        }
    }

    /// The initial sort column.
    pub(super) const fn first_order(self) -> usize {
        match self {
            Self::Anomalies => 0,
            Self::Flows => 4,
            Self::Hosts => 5,
            Self::Clusters => 1,
        }
    }

    /// Height of a row, lines.
    pub(super) const fn row_height(self) -> usize {
        match self {
            Self::Anomalies => 2,
            Self::Flows | Self::Hosts | Self::Clusters => 1,
        }
    }

    /// All rows, unordered.
    pub(super) fn rows(self, seen: &Seen) -> Vec<&dyn Row> {
        fn of<T: Kind>(rows: &[T]) -> Vec<&dyn Row> {
            rows.iter().map(|row| row as &dyn Row).collect()
        }
        match self {
            Self::Anomalies => seen.anomalies().map(|noted| noted as &dyn Row).collect(),
            Self::Flows => seen.view.as_ref().map_or_else(Vec::new, |view| of(&view.flows)),
            Self::Hosts => seen.view.as_ref().map_or_else(Vec::new, |view| of(&view.hosts)),
            Self::Clusters => of(&seen.learnt),
        }
    }

    /// The columns: the subject, then the values.
    pub(super) fn columns(self) -> Vec<ColumnHead> {
        fn of<T: Kind>() -> Vec<ColumnHead> {
            let head = |column: &Column<T>| ColumnHead { name: column.name, from_width: column.from_width };
            std::iter::once(ColumnHead { name: "", from_width: 0 }).chain(T::COLUMNS.iter().map(head)).collect()
        }
        match self {
            Self::Anomalies => of::<Noted>(),
            Self::Flows => of::<FlowLine>(),
            Self::Hosts => of::<HostLine>(),
            Self::Clusters => of::<Learnt>(),
        }
    }
}

/// A column without its values.
pub(super) struct ColumnHead {
    pub(super) name: &'static str,
    /// The smallest width of the screen at which the column is shown.
    pub(super) from_width: usize,
}

/// The identity of a row, independent of its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Id {
    Incident(u64),
    AnomalousFlow(FlowKey),
    Flow(FlowKey),
    Host(Address),
    Cluster(&'static str, u32),
}

impl Id {
    pub(super) const fn panel(&self) -> Panel {
        match self {
            Self::Incident(_) | Self::AnomalousFlow(_) => Panel::Anomalies,
            Self::Flow(_) => Panel::Flows,
            Self::Host(_) => Panel::Hosts,
            Self::Cluster(..) => Panel::Clusters,
        }
    }
}

/// The sort key of a row in a column, ascending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Open incidents first, then the latest anomalies.
    Recent(Reverse<(bool, u64)>),
    Most(Reverse<u64>),
    Least(u64),
    Ends(Endpoint, Endpoint),
    Text(String),
    /// Rows without a value.
    Last,
}

impl Rank {
    const fn most(value: u64) -> Self {
        Self::Most(Reverse(value))
    }

    /// The bits of non-negative floating-point numbers sort like the numbers.
    const fn least(value: f64) -> Self {
        Self::Least(value.to_bits())
    }

    fn of_verdict(verdict: Option<&Verdict>, rank: impl Fn(&Verdict) -> Self) -> Self {
        verdict.map_or(Self::Last, rank)
    }
}

/// A column of a kind of rows.
pub(super) struct Column<T> {
    name: &'static str,
    from_width: usize,
    /// The text of the value, given the length of the interval, s.
    cell: fn(&T, f64) -> String,
    rank: fn(&T) -> Rank,
}

/// A kind of rows.
pub(super) trait Kind: Clone + Send + 'static {
    /// The columns after the subject.
    const COLUMNS: &'static [Column<Self>];

    fn identity(&self) -> Id;

    fn name(&self) -> Subject;

    /// The sort key of the subject.
    fn by_name(&self) -> Rank;

    /// The text that a filter searches.
    fn found_by(&self) -> String;

    /// The optional second line.
    fn more(&self) -> Option<String> {
        None
    }

    fn is_anomalous(&self) -> bool {
        false
    }

    fn detail(&self, seen: &Seen) -> Vec<Fact>;
}

/// A row of any kind.
pub(super) trait Row {
    fn id(&self) -> Id;
    fn subject(&self) -> Subject;
    fn words(&self) -> String;
    fn second_line(&self) -> Option<String>;
    fn is_alarming(&self) -> bool;
    fn facts(&self, seen: &Seen) -> Vec<Fact>;
    /// The values of these columns, given the length of the interval, s; column 0 is the subject.
    fn cells(&self, columns: &[usize], seconds: f64) -> Vec<String>;
    fn rank(&self, column: usize) -> Rank;
    fn kept(&self) -> Box<dyn Row + Send>;
}

impl<T: Kind> Row for T {
    fn id(&self) -> Id {
        self.identity()
    }

    fn subject(&self) -> Subject {
        self.name()
    }

    fn words(&self) -> String {
        self.found_by().to_lowercase()
    }

    fn second_line(&self) -> Option<String> {
        self.more()
    }

    fn is_alarming(&self) -> bool {
        self.is_anomalous()
    }

    fn facts(&self, seen: &Seen) -> Vec<Fact> {
        self.detail(seen)
    }

    fn cells(&self, columns: &[usize], seconds: f64) -> Vec<String> {
        let values = columns.iter().filter_map(|column| T::COLUMNS.get(column.checked_sub(1)?));
        values.map(|column| (column.cell)(self, seconds)).collect()
    }

    fn rank(&self, column: usize) -> Rank {
        let value = column.checked_sub(1).and_then(|value| T::COLUMNS.get(value));
        value.map_or_else(|| self.by_name(), |column| (column.rank)(self))
    }

    fn kept(&self) -> Box<dyn Row + Send> {
        Box::new(self.clone())
    }
}

/// The columns of the verdict: cluster and probability, with the smallest width at which they are shown.
macro_rules! verdict_columns {
    ($cluster_from:literal, $p_from:literal) => {
        [
            Column {
                name: "CLUSTER",
                from_width: $cluster_from,
                cell: |row, _| cluster(row.verdict.as_ref()),
                rank: |row| Rank::of_verdict(row.verdict.as_ref(), |verdict| Rank::Least(verdict.cluster.into())),
            },
            Column {
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

const FLOW_VERDICT: [Column<FlowLine>; 2] = verdict_columns!(80, 100);
const HOST_VERDICT: [Column<HostLine>; 2] = verdict_columns!(80, 80);

/// An abbreviated count, sorted largest first.
macro_rules! amount {
    ($name:literal, $from_width:literal, $value:expr) => {
        Column {
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
        Column {
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

impl Kind for FlowLine {
    const COLUMNS: &'static [Column<Self>] = &{
        let [cluster, p] = FLOW_VERDICT;
        [
            Column {
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

    fn detail(&self, seen: &Seen) -> Vec<Fact> {
        super::detail::of_flow(self, seen)
    }
}

impl Kind for HostLine {
    const COLUMNS: &'static [Column<Self>] = &{
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

    fn detail(&self, seen: &Seen) -> Vec<Fact> {
        super::detail::of_host(self, seen)
    }
}

impl Kind for Noted {
    const COLUMNS: &'static [Column<Self>] = &[
        Column {
            name: "P",
            from_width: 0,
            cell: |noted, _| probability(noted.anomaly.probability()),
            rank: |noted| Rank::least(noted.anomaly.probability()),
        },
        Column {
            name: "BEGAN",
            from_width: 0,
            cell: |noted, _| time_of_day(noted.began_ms),
            rank: |noted| Rank::most(noted.began_ms),
        },
    ];

    fn identity(&self) -> Id {
        match &self.anomaly {
            Anomaly::Incident(_, incident) => Id::Incident(incident.number),
            Anomaly::Flow(flow) => Id::AnomalousFlow(flow.key),
        }
    }

    fn name(&self) -> Subject {
        Subject::Words(self.anomaly.subject())
    }

    fn by_name(&self) -> Rank {
        let is_open = matches!(self.anomaly, Anomaly::Incident(Stage::Open, _));
        Rank::Recent(Reverse((is_open, self.began_ms)))
    }

    fn found_by(&self) -> String {
        let hosts = match &self.anomaly {
            Anomaly::Incident(_, incident) => super::detail::names(&[&incident.sources, &incident.targets]),
            Anomaly::Flow(_) => String::new(),
        };
        format!("{} {hosts} {}", self.anomaly.subject(), one_line(self.anomaly.reasons()))
    }

    fn more(&self) -> Option<String> {
        Some(self.anomaly.summary().unwrap_or_else(|| one_line(self.anomaly.reasons())))
    }

    /// An incident that has ended is not highlighted.
    fn is_anomalous(&self) -> bool {
        !matches!(self.anomaly, Anomaly::Incident(Stage::Closed, _))
    }

    fn detail(&self, seen: &Seen) -> Vec<Fact> {
        super::detail::of_anomaly(self, seen)
    }
}

impl Kind for Learnt {
    const COLUMNS: &'static [Column<Self>] = &[Column {
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

    fn detail(&self, _seen: &Seen) -> Vec<Fact> {
        super::detail::of_cluster(self)
    }
}
