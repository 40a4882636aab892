//! HTML tables of reports.

use maud::{Markup, html};

/// The format of the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Name,
    Names,
    Number,
    Words,
}

impl Set {
    const fn class(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Names => "names",
            Self::Number => "number",
            Self::Words => "words",
        }
    }
}

/// The heading and format of a column.
#[derive(Clone, Debug)]
pub(crate) struct PageColumn {
    head: String,
    set: Set,
}

impl PageColumn {
    /// A column of names, which do not wrap.
    #[must_use]
    pub(crate) fn name(head: &str) -> Self {
        Self { head: head.to_owned(), set: Set::Name }
    }

    /// A column with several names in a cell.
    #[must_use]
    pub(crate) fn names(head: &str) -> Self {
        Self { head: head.to_owned(), set: Set::Names }
    }

    /// A column of numbers, aligned right.
    #[must_use]
    pub(crate) fn number(head: &str) -> Self {
        Self { head: head.to_owned(), set: Set::Number }
    }

    /// A column of text.
    #[must_use]
    pub(crate) fn words(head: &str) -> Self {
        Self { head: head.to_owned(), set: Set::Words }
    }
}

/// Rows with headings and an optional caption.
#[derive(Clone, Debug)]
pub(crate) struct PageTable {
    caption: Option<String>,
    columns: Vec<PageColumn>,
    rows: Vec<Row>,
}

/// The cells of a row, and the length of its bar as a fraction of the longest.
type Row = (Vec<Markup>, Option<f64>);

impl PageTable {
    /// A table.
    #[must_use]
    pub(crate) fn new(columns: Vec<PageColumn>, rows: Vec<Vec<Markup>>) -> Self {
        Self { caption: None, columns, rows: rows.into_iter().map(|cells| (cells, None)).collect() }
    }

    /// Adds a caption.
    #[must_use]
    pub(crate) fn captioned(mut self, caption: &str) -> Self {
        self.caption = Some(caption.to_owned());
        self
    }

    /// Adds a bar below the first cell of each row.
    #[must_use]
    pub(crate) fn with_bars(mut self, amounts: &[f64]) -> Self {
        let longest = amounts.iter().copied().fold(0.0, f64::max);
        for (row, amount) in self.rows.iter_mut().zip(amounts) {
            row.1 = (longest > 0.0).then_some(amount / longest);
        }
        self
    }

    /// The HTML of the table. It scrolls if it is too wide.
    #[must_use]
    pub(crate) fn markup(&self) -> Markup {
        let bar = |part: Option<f64>| part.map(|part| format!("--part:{:.1}%", part * 100.0));
        let cells = |(cells, part): &Row| {
            html! {
                @for (at, (cell, column)) in cells.iter().zip(&self.columns).enumerate() {
                    @if let (0, Some(style)) = (at, bar(*part)) {
                        td class=(column.set.class()).bar style=(style) data-head=(column.head) { (cell) }
                    } @else {
                        td class=(column.set.class()) data-head=(column.head) { (cell) }
                    }
                }
            }
        };
        html! {
            div.scroll {
                table {
                    @if let Some(caption) = &self.caption { caption { (caption) } }
                    thead { tr { @for column in &self.columns { th class=(column.set.class()) { (column.head) } } } }
                    tbody { @for row in &self.rows { tr { (cells(row)) } } }
                }
            }
        }
    }
}
