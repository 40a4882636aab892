//! The panels of the UI, each with one kind of rows.

use super::id::Id;
use super::row::{Row, RowKind, ScreenColumn};
use super::seen::{History, Learnt, Noted};
use crate::ui::view::{FlowLine, HostLine};

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

    /// The panel that lists a row.
    pub(super) const fn of(row: &Id) -> Self {
        match row {
            Id::Incident(_) | Id::AnomalousFlow(_) => Self::Anomalies,
            Id::Flow(_) => Self::Flows,
            Id::Host(_) => Self::Hosts,
            Id::Cluster(..) => Self::Clusters,
        }
    }

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
    pub(super) fn rows(self, seen: &History) -> Vec<&dyn Row> {
        fn of<T: RowKind>(rows: &[T]) -> Vec<&dyn Row> {
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
        fn of<T: RowKind>() -> Vec<ColumnHead> {
            let head = |column: &ScreenColumn<T>| ColumnHead { name: column.name, from_width: column.from_width };
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

/// The row with this identity, if it is still listed.
pub(super) fn find<'a>(seen: &'a History, id: &Id) -> Option<&'a dyn Row> {
    Panel::of(id).rows(seen).into_iter().find(|row| row.id() == *id)
}
