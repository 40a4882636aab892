//! Keeps docs/OUTPUT.md in step with the tables of columns.

use flowml_common::packet::Skipped;

use super::{OutputColumn, flow_columns, golden, host_columns};

fn columns_table(columns: impl Iterator<Item = OutputColumn>) -> String {
    let rows = columns.map(|OutputColumn { name, unit, meaning }| format!("| `{name}` | {unit} | {meaning} |\n"));
    format!("| column | unit | meaning |\n| --- | --- | --- |\n{}", rows.collect::<String>())
}

fn skipped_list() -> String {
    let names = Skipped::ALL.map(|reason| format!("`{}`", reason.name()));
    format!("The reasons are {}.\n", names.join(", "))
}

/// `text` with `table` between the marks of `name`.
fn replaced(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->\n"));
    let (head, rest) = text.split_once(&begin).expect("the document has the mark of the begin");
    let (_, tail) = rest.split_once(&end).expect("the document has the mark of the end");
    format!("{head}{begin}{table}{end}{tail}")
}

#[test]
fn the_document_has_every_column() {
    let document = golden::read("../docs/OUTPUT.md");
    let document = replaced(&document, "flow", &columns_table(flow_columns()));
    let document = replaced(&document, "host", &columns_table(host_columns()));
    let document = replaced(&document, "skipped", &skipped_list());
    golden::assert_is("../docs/OUTPUT.md", &document);
}
