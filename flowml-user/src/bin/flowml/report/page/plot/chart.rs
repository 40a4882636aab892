//! A chart as SVG in the colours of the report, and what all charts have in common: sizes, text, axes.
//!
//! Charts are drawn at twice their displayed size, as the drawing library has integer coordinates.

use std::io;
use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    ChartBuilder, ChartContext, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, SVGBackend,
    TextStyle,
};

use super::super::colour::{Colour, with_colours};

/// Size of text.
pub(super) const WORDS: i32 = 30;

/// Space for text below and beside a chart.
pub(super) const BELOW: i32 = 76;

/// Space to the right of a chart, for half of the last label.
pub(super) const RIGHT: i32 = 60;

/// Widths of lines.
pub(super) const THIN: u32 = 2;

pub(super) const BESIDE: i32 = 104;

pub(super) const LINE: u32 = 4;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(super) type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chart {
    /// A description for screen readers.
    label: String,
    size: (u32, u32),
    /// Whether the chart has the full width of a report. It scrolls in a narrower window.
    wide: bool,
    /// The content of the `svg` element.
    drawn: String,
}

impl Chart {
    pub(super) fn draw(label: &str, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Self {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| area.present()).expect("memory takes every drawing");
        drop(area);
        let (_, inner) = svg.split_once('>').expect("a drawing begins with its element");
        let drawn = with_colours(inner.trim_end().trim_end_matches("</svg>"));
        Self { label: label.to_owned(), size, wide: false, drawn }
    }

    /// The chart over the full width of a report.
    #[must_use]
    pub(super) fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The HTML of the chart.
    pub(crate) fn markup(&self) -> Markup {
        let (width, height) = self.size;
        html! {
            div.scroll.wide[self.wide] {
                svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(self.label) {
                    (PreEscaped(&self.drawn))
                }
            }
        }
    }
}

/// An axis with labels at given positions.
pub(super) struct Axis {
    pub(super) range: Range<f64>,
    pub(super) at: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Lines between the labels are drawn for other axes only.
        if hint.weight().allow_light_points() { Vec::new() } else { self.at.clone() }
    }
}

pub(super) fn words(colour: Colour) -> TextStyle<'static> {
    ("sans-serif", WORDS).into_font().color(&colour.stand_in())
}

/// A chart over two ranges of numbers.
type Plane<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A chart over two ranges of numbers, with space for the labels of both axes.
pub(super) fn plane<'a, 'b>(
    area: &'b Area<'a>,
    x: Range<f64>,
    y: Range<f64>,
) -> Result<Plane<'a, 'b>, DrawingAreaErrorKind<io::Error>> {
    ChartBuilder::on(area)
        .margin(4)
        .margin_top(16)
        .margin_right(RIGHT)
        .x_label_area_size(BELOW)
        .y_label_area_size(BESIDE)
        .build_cartesian_2d(x, y)
}

/// The axes and grid lines of a chart, in the style of all charts.
pub(super) fn mesh<'a, 'b, 'c, X, Y>(
    chart: &'b mut ChartContext<'a, SVGBackend<'c>, Cartesian2d<X, Y>>,
) -> MeshStyle<'a, 'b, X, Y, SVGBackend<'c>>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = chart.configure_mesh();
    mesh.axis_style(Colour::Muted.stand_in())
        .bold_line_style(Colour::Grid.stand_in().stroke_width(THIN))
        .max_light_lines(0)
        .label_style(words(Colour::Muted))
        .axis_desc_style(words(Colour::Text));
    mesh
}
