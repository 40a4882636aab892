//! Draws curves over the unit square.

use flowml_user::learning::metrics::Curve;
use plotters::prelude::{Color, LineSeries};

use super::super::colour::Colour;
use super::chart::{Chart, LINE, THIN, mesh, plane};

/// Curves over the unit square; with `diagonal` also the line of a random classifier.
#[must_use]
pub(crate) fn curves(label: &str, axes: [&str; 2], curves: &[(Colour, &Curve)], diagonal: bool) -> Chart {
    Chart::draw(label, (940, 800), |area| {
        let mut chart = plane(area, 0.0..1.0, 0.0..1.0)?;
        let tenth = |value: &f64| format!("{value:.1}");
        mesh(&mut chart)
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
