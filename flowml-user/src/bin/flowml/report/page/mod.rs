//! HTML reports: one file with its style and charts, without scripts and without external resources.

mod colour;
mod confusion;
mod plot;
mod table;
mod time;

use std::io::{self, Write as _};
use std::path::Path;

use flowml_user::process::private;
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) use self::colour::{Colour, SERIES};
pub(crate) use self::confusion::confusion;
pub(crate) use self::plot::{Boxes, Chart, Cloud, Panel, Spread, boxes, cloud, curves, panels};
pub(crate) use self::table::{PageColumn, PageTable};
pub(crate) use self::time::{date_and_time, length_of_time};

const STYLE: &str = include_str!("style.css");

/// The content security policy of a report: inline styles only.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A complete HTML document.
#[must_use]
pub(crate) fn document(title: &str, about: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(colour::variables())) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p { (about) }
                }
                main { (body) }
                footer { "flowml " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

/// Writes a report to a path; `-` is standard output.
///
/// # Errors
/// If the report cannot be written.
pub(crate) fn write(page: &str, path: &Path) -> io::Result<()> {
    match path.to_str() {
        Some("-") => io::stdout().write_all(page.as_bytes()),
        _ => private::write(path, page),
    }
}

/// A section with its heading.
#[must_use]
pub(crate) fn section(heading: &str, body: &Markup) -> Markup {
    html! { section { h2 { (heading) } (body) } }
}

/// A key figure: its name, its value and a note.
#[must_use]
pub(crate) fn tile(name: &str, value: &str, note: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) @if !note.is_empty() { small { (note) } } } } }
}

/// A group of key figures.
#[must_use]
pub(crate) fn tiles(tiles: &[Markup]) -> Markup {
    html! { dl.tiles { @for tile in tiles { (tile) } } }
}

/// A chart with its legend and caption.
#[must_use]
pub(crate) fn figure(chart: &Chart, legend: &[(Colour, String)], caption: &str) -> Markup {
    html! {
        figure {
            @if !legend.is_empty() {
                ul.legend {
                    @for (colour, name) in legend { li style=(format!("--of:{}", colour.css())) { (name) } }
                }
            }
            (chart.markup())
            figcaption { (caption) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_data_are_escaped() {
        let evil = "</title><script>alert(1)</script>\"'><img src=x onerror=y>&";
        let legend = [(Colour::Alarm, evil.to_owned())];
        let panel = Panel::new(evil, vec![(0.0, 1.0, 2.0)], Colour::Series(0));
        let chart = panels(evil, 0.0..1.0, &[panel], &[]);
        let table = PageTable::new(vec![PageColumn::name(evil)], vec![vec![html! { (evil) }]]);
        let page = document(
            evil,
            evil,
            &html! {
                (section(evil, &tiles(&[tile(evil, evil, evil)])))
                (figure(&chart, &legend, evil))
                (table.captioned(evil).markup())
                (confusion(evil, &flowml_user::learning::metrics::Confusion::new(vec![evil.to_owned()])))
            },
        );
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert_eq!(page.matches("</title>").count(), 1);
        assert!(page.matches("&lt;script&gt;").count() > 10, "{page}");
    }

    #[test]
    fn no_external_resource_is_requested() {
        let page = document("t", "a", &html! { (figure(&curves("c", ["x", "y"], &[], false), &[], "")) });
        for word in ["http://", "https://", "url(", "@import", "<script", "<link", "src="] {
            assert!(!page.contains(word), "{word} in {page}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}
