//! Pages: one HTML file each, with its style and its pictures, that runs nothing and asks nobody for anything.

mod colour;
mod confusion;
mod plot;
mod table;
mod time;

use std::io::{self, Write as _};
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::process::private;

pub use self::colour::{Colour, SERIES};
pub use self::confusion::confusion;
pub use self::plot::{Band, Boxes, Cloud, Panel, Picture, Spread, boxes, cloud, curves, panels};
pub use self::table::{Column, Table};
pub use self::time::{date_and_time, length_of_time};

const STYLE: &str = include_str!("style.css");

/// What a browser may do with the page: show it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A page.
#[must_use]
pub fn document(title: &str, about: &str, body: &Markup) -> String {
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

/// Writes a page; `-` is standard output.
///
/// # Errors
/// If it cannot be written.
pub fn write(page: &str, path: &Path) -> io::Result<()> {
    match path.to_str() {
        Some("-") => io::stdout().write_all(page.as_bytes()),
        _ => private::write(path, page),
    }
}

/// A part of a page under a heading.
#[must_use]
pub fn section(heading: &str, body: &Markup) -> Markup {
    html! { section { h2 { (heading) } (body) } }
}

/// A number that is to be seen first: what it is, the number, and what is to be known of it.
#[must_use]
pub fn tile(name: &str, value: &str, note: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) @if !note.is_empty() { small { (note) } } } } }
}

/// Such numbers.
#[must_use]
pub fn tiles(tiles: &[Markup]) -> Markup {
    html! { dl.tiles { @for tile in tiles { (tile) } } }
}

/// A picture with its legend and what it shows.
#[must_use]
pub fn figure(picture: &Picture, legend: &[(Colour, String)], caption: &str) -> Markup {
    html! {
        figure {
            @if !legend.is_empty() {
                ul.legend {
                    @for (colour, name) in legend { li style=(format!("--of:{}", colour.css())) { (name) } }
                }
            }
            (picture.markup())
            figcaption { (caption) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_data_do_not_break_out() {
        let evil = "</title><script>alert(1)</script>\"'><img src=x onerror=y>&";
        let legend = [(Colour::Alarm, evil.to_owned())];
        let panel = Panel::new(evil, vec![(0.0, 1.0, 2.0)], Colour::Series(0));
        let picture = panels(evil, 0.0..1.0, &[panel], &[]);
        let table = Table::new(vec![Column::name(evil)], vec![vec![html! { (evil) }]]);
        let page = document(
            evil,
            evil,
            &html! {
                (section(evil, &tiles(&[tile(evil, evil, evil)])))
                (figure(&picture, &legend, evil))
                (table.captioned(evil).markup())
                (confusion(evil, &crate::model::metrics::Confusion::new(vec![evil.to_owned()])))
            },
        );
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert_eq!(page.matches("</title>").count(), 1);
        assert!(page.matches("&lt;script&gt;").count() > 10, "{page}");
    }

    #[test]
    fn nothing_is_asked_for_from_elsewhere() {
        let page = document("t", "a", &html! { (figure(&curves("c", ["x", "y"], &[], false), &[], "")) });
        for word in ["http://", "https://", "url(", "@import", "<script", "<link", "src="] {
            assert!(!page.contains(word), "{word} in {page}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}
