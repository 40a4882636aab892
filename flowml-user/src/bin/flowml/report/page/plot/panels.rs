//! Draws quantities over time, in panels one below the other.

use std::ops::Range;

use flowml_user::process::words::short;
use plotters::prelude::{ChartBuilder, Color, LineSeries, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::colour::Colour;
use super::super::time::{Ticks, time_text};
use super::chart::{Area, Axis, BESIDE, Chart, Drawn, RIGHT, THIN, mesh, words};
use super::ticks::ticks_of;

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
    Chart::draw(label, (2000, height + TIMES), |area| {
        let (above, below) = area.split_vertically(height);
        for (number, (place, panel)) in above.split_evenly((panels.len(), 1)).iter().zip(panels).enumerate() {
            draw_panel(place, &time, panel, bands)?;
            if number + 1 == panels.len() {
                // The time labels are below the last panel and not in it, so that all panels have the same height.
                draw_times(&below, &time)?;
            }
        }
        Ok(())
    })
    .wide()
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
    mesh(&mut chart).y_label_formatter(&|value| short(*value)).y_desc(&panel.name).draw()?;
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
        let fraction = (at - time.start) / (time.end - time.start);
        let x = left + fraction * (right - left);
        area.draw_text(&time_text(at, ticks.format), &style, (x as i32, 10))?;
    }
    Ok(())
}
