//! A confusion matrix as a table. A cell is darker the larger its share of the row.

use flowml_user::learning::metrics::Confusion;
use flowml_user::process::words::grouped;
use maud::{Markup, html};

/// The table: rows are labels, columns are predictions. Labels that do not occur and classes that are never predicted
/// are left out.
#[must_use]
pub(crate) fn confusion(caption: &str, matrix: &Confusion) -> Markup {
    let Confusion { classes, rows } = matrix;
    let all: Vec<usize> = (0..classes.len()).collect();
    let occur: Vec<usize> = all.iter().copied().filter(|&truth| rows[truth].iter().any(|count| *count > 0)).collect();
    let named: Vec<usize> = all.iter().copied().filter(|&taken| rows.iter().any(|row| row[taken] > 0)).collect();
    let share = |truth: usize, taken: usize| {
        let all: u64 = rows[truth].iter().sum();
        format!("--part:{:.0}%", 70.0 * rows[truth][taken] as f64 / all.max(1) as f64)
    };
    html! {
        div.scroll {
            table {
                caption { (caption) }
                thead {
                    tr { th { "label" } @for &taken in &named { th.number { (classes[taken]) } } th.number { "recall" } }
                }
                tbody {
                    @for &truth in &occur {
                        tr {
                            td.name { (classes[truth]) }
                            @for &taken in &named {
                                td.number.shade style=(share(truth, taken)) { (grouped(rows[truth][taken])) }
                            }
                            td.number { (format!("{:.3}", matrix.figures(truth).recall)) }
                        }
                    }
                }
            }
        }
    }
}
