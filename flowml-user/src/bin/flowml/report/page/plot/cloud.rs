//! Draws points in two dimensions.

use flowml_user::process::words::short;
use plotters::prelude::{Circle, Color};

use super::super::colour::Colour;
use super::chart::{Chart, mesh, plane};
use super::ticks::around;

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

/// A scatter plot; the last cloud is on top.
#[must_use]
pub(crate) fn cloud(label: &str, axes: [&str; 2], clouds: &[Cloud]) -> Chart {
    let all = || clouds.iter().flat_map(|cloud| &cloud.points);
    let (x, y) = (around(all().map(|point| point.0)), around(all().map(|point| point.1)));
    Chart::draw(label, (2000, 1160), |area| {
        let mut chart = plane(area, x, y)?;
        mesh(&mut chart)
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
    })
    .wide()
}
