//! Draws charts as SVG in the colours of the report.
//!
//! Charts are drawn at twice their displayed size, as the drawing library has integer coordinates.

use std::io;
use std::ops::Range;

use flowml_user::learning::metrics::Curve;
use flowml_user::process::words::short;
use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, LineSeries, PathElement,
    Polygon, Rectangle, SVGBackend, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Colour;
use super::colour::with_colours;
use super::time::{Ticks, time_text};

/// Size of text.
const WORDS: i32 = 30;

/// Space for text below and beside a chart.
const BELOW: i32 = 76;
const BESIDE: i32 = 104;

/// Space to the right of a chart, for half of the last label.
const RIGHT: i32 = 60;

/// Widths of lines.
const THIN: u32 = 2;
const LINE: u32 = 4;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chart {
    /// A description for screen readers.
    label: String,
    size: (u32, u32),
    /// Whether it takes the full width of a report, and scrolls if there is less.
    wide: bool,
    /// The content of the `svg` element.
    drawn: String,
}

impl Chart {
    fn draw(label: &str, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Self {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| area.present()).expect("memory takes every drawing");
        drop(area);
        let (_, inner) = svg.split_once('>').expect("a drawing begins with its element");
        let drawn = with_colours(inner.trim_end().trim_end_matches("</svg>"));
        Self { label: label.to_owned(), size, wide: false, drawn }
    }

    /// The HTML of the chart.
    pub(super) fn markup(&self) -> Markup {
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
struct Axis {
    range: Range<f64>,
    at: Vec<f64>,
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

fn words(colour: Colour) -> TextStyle<'static> {
    ("sans-serif", WORDS).into_font().color(&colour.stand_in())
}

/// Curves over the unit square; with `diagonal` also the line of a random classifier.
#[must_use]
pub(crate) fn curves(label: &str, axes: [&str; 2], curves: &[(Colour, &Curve)], diagonal: bool) -> Chart {
    Chart::draw(label, (940, 800), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .margin_top(16)
            .margin_right(RIGHT)
            .x_label_area_size(BELOW)
            .y_label_area_size(BESIDE)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        let tenth = |value: &f64| format!("{value:.1}");
        chart
            .configure_mesh()
            .axis_style(Colour::Muted.stand_in())
            .bold_line_style(Colour::Grid.stand_in().stroke_width(THIN))
            .max_light_lines(0)
            .label_style(words(Colour::Muted))
            .axis_desc_style(words(Colour::Text))
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&tenth)
            .y_label_formatter(&tenth)
            .x_desc(axes[0])
            .y_desc(axes[1])
            .draw()?;
        if diagonal {
            chart
                .draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], Colour::Other.stand_in().stroke_width(THIN)))?;
        }
        for (colour, curve) in curves {
            let points = curve.x.iter().copied().zip(curve.y.iter().copied());
            chart.draw_series(LineSeries::new(points, colour.stand_in().stroke_width(LINE)))?;
        }
        Ok(())
    })
}

/// A quantity over time, in steps.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    name: String,
    /// Start and end (Unix time, ms) and value of each step.
    steps: Vec<(f64, f64, f64)>,
    colour: Colour,
}

impl Panel {
    /// A quantity with its name and steps.
    #[must_use]
    pub(crate) fn new(name: &str, steps: Vec<(f64, f64, f64)>, colour: Colour) -> Self {
        Self { name: name.to_owned(), steps, colour }
    }
}

/// A period that is highlighted in all panels, Unix time in ms.
pub(crate) type Band = Range<f64>;

/// Height of a panel, and of the time labels below the last one.
const PANEL: u32 = 270;
const TIMES: u32 = 44;

/// Panels one below the other, with a common time axis.
#[must_use]
pub(crate) fn panels(label: &str, time: Range<f64>, panels: &[Panel], bands: &[Band]) -> Chart {
    let height = PANEL * panels.len() as u32;
    let chart = Chart::draw(label, (2000, height + TIMES), |area| {
        let (above, below) = area.split_vertically(height);
        for (number, (part, panel)) in above.split_evenly((panels.len(), 1)).iter().zip(panels).enumerate() {
            draw_panel(part, &time, panel, bands)?;
            if number + 1 == panels.len() {
                // The time labels are below the last panel and not in it, so that all panels have the same height.
                draw_times(&below, &time)?;
            }
        }
        Ok(())
    });
    Chart { wide: true, ..chart }
}

fn draw_panel(area: &Area<'_>, time: &Range<f64>, panel: &Panel, bands: &[Band]) -> Drawn {
    let most = panel.steps.iter().map(|step| step.2).fold(0.0, f64::max);
    let top = if most > 0.0 { most * 1.08 } else { 1.0 };
    let times = Axis { range: time.clone(), at: Ticks::of(time).at };
    // Counts have no labels at fractions.
    let is_counted = panel.steps.iter().all(|step| step.2.fract() == 0.0);
    let mut amounts = Axis { range: 0.0..top, at: ticks_of(0.0, top, false, 4) };
    amounts.at.retain(|tick| *tick <= top && (!is_counted || tick.fract() == 0.0));
    let mut chart = ChartBuilder::on(area)
        .margin_top(24)
        .margin_left(10)
        .margin_right(RIGHT)
        .y_label_area_size(BESIDE + 30)
        .build_cartesian_2d(times, amounts)?;
    for band in bands {
        // A minimum width keeps short periods visible.
        let least = (time.end - time.start) / 500.0;
        let (from, to) = (band.start.max(time.start), band.end.max(band.start + least).min(time.end));
        chart.draw_series([Rectangle::new([(from, 0.0), (to, top)], Colour::Alarm.stand_in().mix(0.12).filled())])?;
    }
    chart
        .configure_mesh()
        .axis_style(Colour::Muted.stand_in())
        .bold_line_style(Colour::Grid.stand_in().stroke_width(THIN))
        .max_light_lines(0)
        .label_style(words(Colour::Muted))
        .axis_desc_style(words(Colour::Text))
        .y_label_formatter(&|value| short(*value))
        .y_desc(&panel.name)
        .draw()?;
    let colour = panel.colour.stand_in();
    for run in panel.steps.chunk_by(|before, next| before.1 == next.0) {
        let outline: Vec<(f64, f64)> = run.iter().flat_map(|&(from, to, much)| [(from, much), (to, much)]).collect();
        let ends = [(run[run.len() - 1].1, 0.0), (run[0].0, 0.0)];
        let ground: Vec<(f64, f64)> = outline.iter().copied().chain(ends).collect();
        chart.draw_series([Polygon::new(ground, colour.mix(0.22))])?;
        chart.draw_series(LineSeries::new(outline, colour.stroke_width(THIN)))?;
    }
    Ok(())
}

/// Draws the labels of the time axis.
fn draw_times(area: &Area<'_>, time: &Range<f64>) -> Drawn {
    let (width, _) = area.dim_in_pixel();
    let (left, right) = (f64::from(BESIDE + 40), f64::from(width) - f64::from(RIGHT));
    let ticks = Ticks::of(time);
    let style = words(Colour::Muted).pos(Pos::new(HPos::Center, VPos::Top));
    for at in ticks.at {
        let part = (at - time.start) / (time.end - time.start);
        let x = left + part * (right - left);
        area.draw_text(&time_text(at, ticks.format), &style, (x as i32, 10))?;
    }
    Ok(())
}

/// Points of one colour in a scatter plot.
#[derive(Clone, Debug)]
pub(crate) struct Cloud {
    /// The colour.
    pub(crate) colour: Colour,
    /// The coordinates.
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether the points are highlighted by rings.
    pub(crate) ringed: bool,
}

/// The range of the values, with a small margin so that no point lies on the edge.
fn around(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let margin = ((high - low) * 0.04).max(1e-6);
    low - margin..high + margin
}

/// A scatter plot; the last cloud is on top.
#[must_use]
pub(crate) fn cloud(label: &str, axes: [&str; 2], clouds: &[Cloud]) -> Chart {
    let all = || clouds.iter().flat_map(|cloud| &cloud.points);
    let (x, y) = (around(all().map(|point| point.0)), around(all().map(|point| point.1)));
    let chart = Chart::draw(label, (2000, 1160), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .margin_top(16)
            .margin_right(RIGHT)
            .x_label_area_size(BELOW)
            .y_label_area_size(BESIDE)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .axis_style(Colour::Muted.stand_in())
            .bold_line_style(Colour::Grid.stand_in().stroke_width(THIN))
            .max_light_lines(0)
            .label_style(words(Colour::Muted))
            .axis_desc_style(words(Colour::Text))
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .x_desc(axes[0])
            .y_desc(axes[1])
            .draw()?;
        for Cloud { colour, points, ringed } in clouds {
            let colour = colour.stand_in();
            if *ringed {
                chart.draw_series(points.iter().map(|&at| Circle::new(at, 11, colour.stroke_width(3))))?;
            } else {
                chart.draw_series(points.iter().map(|&at| Circle::new(at, 6, colour.mix(0.55).filled())))?;
            }
        }
        Ok(())
    });
    Chart { wide: true, ..chart }
}

/// Quantiles of the values of a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The 5 %, 25 %, 50 %, 75 % and 95 % quantiles, ascending.
    pub(crate) quantiles: [f64; 5],
}

/// A feature in several groups.
#[derive(Clone, Debug)]
pub(crate) struct Boxes {
    /// Name and unit.
    pub(crate) name: String,
    /// Whether values are drawn on a `log1p` scale.
    pub(crate) logarithmic: bool,
    /// The groups, from top to bottom.
    pub(crate) groups: Vec<(String, Colour, Spread)>,
}

/// A box plot: for each group a box between the quartiles, the median, and whiskers to the 5 % and 95 % quantiles.
#[must_use]
pub(crate) fn boxes(feature: &Boxes) -> Chart {
    const ROW: u32 = 56;
    let count = feature.groups.len();
    let place = |value: f64| if feature.logarithmic { value.max(0.0).ln_1p() } else { value };
    let values = || feature.groups.iter().flat_map(|(_, _, spread)| spread.quantiles);
    let range = around(values().map(place));
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let mut ticks = ticks_of(low, high, feature.logarithmic, 6);
    // There is no space for labels outside the axis.
    ticks.retain(|tick| range.contains(&place(*tick)));
    let at: Vec<f64> = ticks.iter().copied().map(place).collect();
    let label = |drawn: &f64| {
        let tick = ticks.iter().find(|tick| place(**tick) == *drawn);
        tick.map_or_else(String::new, |tick| short(*tick))
    };
    Chart::draw(&feature.name, (940, ROW * count as u32 + BELOW as u32 + 10), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .margin_right(RIGHT)
            .x_label_area_size(BELOW)
            .y_label_area_size(BESIDE + 30)
            .build_cartesian_2d(Axis { range, at }, (count as f64)..0.0)?;
        let name =
            |row: &f64| feature.groups.get(row.floor() as usize).map_or_else(String::new, |(name, ..)| name.clone());
        chart
            .configure_mesh()
            .axis_style(Colour::Muted.stand_in())
            .bold_line_style(Colour::Grid.stand_in().stroke_width(THIN))
            .max_light_lines(0)
            .disable_y_mesh()
            .label_style(words(Colour::Muted))
            .axis_desc_style(words(Colour::Text))
            .y_labels(0)
            .x_label_formatter(&label)
            .y_label_formatter(&name)
            .x_desc(&feature.name)
            .draw()?;
        let right = Pos::new(HPos::Right, VPos::Center);
        for (row, (name, colour, spread)) in feature.groups.iter().enumerate() {
            let [least, low, middle, high, most] = spread.quantiles.map(place);
            let (centre, colour) = (row as f64 + 0.5, colour.stand_in());
            let (_, y) = chart.backend_coord(&(least, centre));
            area.draw_text(name, &words(Colour::Muted).pos(right), (BESIDE + 20, y))?;
            chart.draw_series([PathElement::new([(least, centre), (most, centre)], colour.stroke_width(LINE))])?;
            chart.draw_series([Rectangle::new(
                [(low, centre - 0.3), (high, centre + 0.3)],
                colour.mix(0.45).filled(),
            )])?;
            chart.draw_series([PathElement::new(
                [(middle, centre - 0.34), (middle, centre + 0.34)],
                colour.stroke_width(LINE + 2),
            )])?;
        }
        Ok(())
    })
}

/// Round values for labels: about `count`, more on logarithmic scales.
fn ticks_of(low: f64, high: f64, logarithmic: bool, count: u8) -> Vec<f64> {
    if logarithmic && high > 10.0 {
        let within = |tick: &f64| (low..=high).contains(tick) || *tick == 0.0 && low <= 1.0;
        let of_decades = |digits: &[f64]| -> Vec<f64> {
            let all = (0..=18).flat_map(|n| digits.iter().map(move |digit| digit * 10_f64.powi(n)));
            std::iter::once(0.0).chain(all).filter(within).collect()
        };
        let mut ticks = of_decades(&[1.0]);
        if ticks.len() < 3 {
            ticks = of_decades(&[1.0, 2.0, 5.0]);
        }
        let step = ticks.len().div_ceil(8).max(1);
        return ticks.into_iter().step_by(step).collect();
    }
    let span = if high > low { high - low } else { 1.0 };
    let power = 10_f64.powf((span / 5.0).log10().floor());
    // The span is 5 to 50 times the power; 20 is for the longest spans, where few labels fit.
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0].map(|n| n * power);
    let step = steps.into_iter().find(|step| span / step <= f64::from(count)).unwrap_or(span);
    let first = (low / step).floor() as i64;
    (first..first + 9)
        .map(|n| n as f64 * step)
        .filter(|tick| *tick >= low - step / 2.0 && *tick <= high + step / 2.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_drawn(chart: &Chart) {
        let svg = chart.markup().into_string();
        assert!(svg.contains("viewBox=\"0 0 ") && svg.ends_with("</svg></div>"), "{svg}");
        assert!(svg.contains("var(--") && !svg.contains("\"#"), "colours are the page's: {svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn every_chart_can_be_drawn_with_few_values() {
        let curve = Curve { x: vec![0.0, 0.5, 1.0], y: vec![0.0, 0.9, 1.0] };
        is_drawn(&curves("ROC", ["x", "y"], &[(Colour::Series(0), &curve)], true));
        let steps = vec![(0.0, 1000.0, 5.0), (1000.0, 2000.0, 0.0), (5000.0, 6000.0, 7.0)];
        for (steps, bands) in [(steps, vec![500.0..600.0]), (Vec::new(), Vec::new())] {
            let panel = Panel::new("packets/s", steps, Colour::Series(1));
            is_drawn(&panels("traffic", 0.0..6000.0, &[panel.clone(), panel], &bands));
        }
        for points in [vec![(0.0, 0.0), (1.0, -1.0)], vec![(2.0, 2.0)], Vec::new()] {
            let clouds =
                [false, true].map(|ringed| Cloud { colour: Colour::Series(2), points: points.clone(), ringed });
            is_drawn(&cloud("clusters", ["a", "b"], &clouds));
        }
        for (quantiles, logarithmic) in [
            ([0.0, 1.0, 10.0, 1e3, 1e9], true),
            ([0.0; 5], true),
            ([0.1, 0.2, 0.3, 0.4, 1.0], false),
            ([-3.0; 5], false),
        ] {
            let groups = vec![("1".to_owned(), Colour::Other, Spread { quantiles })];
            is_drawn(&boxes(&Boxes { name: "bytes".to_owned(), logarithmic, groups }));
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks_of(0.0, 1500.0, true, 6), [0.0, 1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(ticks_of(4.0, 160.0, true, 6), [5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(ticks_of(0.0, 1.0, false, 6), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks_of(0.0, 1.0, false, 4), [0.0, 0.5, 1.0]);
        assert_eq!(ticks_of(0.0, 41.0, false, 4), [0.0, 20.0, 40.0]);
        assert!((1..=9).contains(&ticks_of(0.0, 1e18, true, 6).len()));
        assert!((1..=9).contains(&ticks_of(5.0, 5.0, false, 6).len()));
    }
}
