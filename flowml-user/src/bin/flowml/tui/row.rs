//! A row of a list: its columns, its order, and the text that a filter searches.

use std::cmp::Reverse;

use flowml_common::flow::Endpoint;
use flowml_user::learning::Verdict;

use super::detail::Fact;
use super::id::Id;
use super::seen::History;
use crate::ui::text::Subject;

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
    pub(super) const fn most(value: u64) -> Self {
        Self::Most(Reverse(value))
    }

    /// The bits of non-negative floating-point numbers sort like the numbers.
    pub(super) const fn least(value: f64) -> Self {
        Self::Least(value.to_bits())
    }

    pub(super) fn of_verdict(verdict: Option<&Verdict>, rank: impl Fn(&Verdict) -> Self) -> Self {
        verdict.map_or(Self::Last, rank)
    }
}

/// A column of a kind of rows.
pub(super) struct ScreenColumn<T> {
    pub(super) name: &'static str,
    pub(super) from_width: usize,
    /// The text of the value, given the length of the interval, s.
    pub(super) cell: fn(&T, f64) -> String,
    pub(super) rank: fn(&T) -> Rank,
}

/// A kind of rows.
pub(super) trait RowKind: Clone + Send + 'static {
    /// The columns after the subject.
    const COLUMNS: &'static [ScreenColumn<Self>];

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

    fn detail(&self, seen: &History) -> Vec<Fact>;
}

/// A row of any kind.
pub(super) trait Row {
    fn id(&self) -> Id;
    fn subject(&self) -> Subject;
    fn words(&self) -> String;
    fn second_line(&self) -> Option<String>;
    fn is_alarming(&self) -> bool;
    fn facts(&self, seen: &History) -> Vec<Fact>;
    /// The values of these columns, given the length of the interval, s; column 0 is the subject.
    fn cells(&self, columns: &[usize], seconds: f64) -> Vec<String>;
    fn rank(&self, column: usize) -> Rank;
    fn kept(&self) -> Box<dyn Row + Send>;
}

impl<T: RowKind> Row for T {
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

    fn facts(&self, seen: &History) -> Vec<Fact> {
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
