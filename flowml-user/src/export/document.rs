//! Keeps the list of skip reasons in docs/OUTPUT.md up to date.

use flowml_common::packet::Skipped;

use super::golden;

fn skipped_list() -> String {
    let names = Skipped::ALL.map(|reason| format!("`{}`", reason.name()));
    format!("The reasons are {}.\n", names.join(", "))
}

#[test]
fn the_document_lists_every_skip_reason() {
    let document = golden::replaced(&golden::read("../docs/OUTPUT.md"), "skipped", &skipped_list());
    golden::assert_is("../docs/OUTPUT.md", &document);
}
