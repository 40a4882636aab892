//! Draws box plots of a feature in several groups.

use flowml_user::process::words::short;
use plotters::prelude::{ChartBuilder, Color, PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::colour::Colour;
use super::chart::{Axis, BELOW, BESIDE, Chart, LINE, RIGHT, mesh, words};
use super::ticks::{around, ticks_of};

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
        mesh(&mut chart)
            .disable_y_mesh()
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
