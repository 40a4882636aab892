//! Writes an HTML page about a soak test: the measurements over time, and the times of faults.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use super::measure::{COLUMNS, Measure};
use super::schedule::Past;
use crate::page::{self, Colour, Panel, figure, panels, section};

/// Writes the page.
pub(super) fn write(path: &Path, measures: &[Measure], pasts: &[Past]) -> Result<()> {
    let ends: Vec<f64> = measures.iter().map(|measure| measure.unix_ms as f64).collect();
    let begin = measures.first().map_or(0.0, |first| first.unix_ms as f64 - first.since_begin.as_secs_f64() * 1000.0);
    let begins = std::iter::once(begin).chain(ends.iter().copied());
    let times: Vec<(f64, f64)> = begins.zip(ends.iter().copied()).collect();
    let drawn = COLUMNS.iter().filter_map(|column| Some((column.drawn?, column.value)));
    let drawn = drawn.enumerate().map(|(n, (name, value))| {
        let steps = times.iter().zip(measures).map(|(&(from, to), measure)| (from, to, value(measure)));
        Panel::new(name, steps.collect(), Colour::of(n))
    });
    let drawn: Vec<Panel> = drawn.collect();
    let spans = pasts.iter().flat_map(|past| &past.spans);
    let bands: Vec<Range<f64>> = spans.map(|&(from, to)| from as f64..to as f64).collect();
    let end = ends.last().copied().unwrap_or(begin);
    let chart = panels("the course of the soak", begin..end.max(begin + 1.0), &drawn, &bands);
    let caption = "Values of each check stand for the period before it. Red: faults.";
    let about = format!("{} checks, from {} UTC on", measures.len(), page::date_and_time(begin));
    let text = page::document("Soak", &about, &section("Course", &figure(&chart, &[], caption)));
    page::write(&text, path).with_context(|| format!("writing {}", path.display()))
}
