//! Keeps docs/OUTPUT.md in step with the reasons for which packets are skipped.

use flowml_common::packet::Skipped;

use super::golden;

fn skipped_list() -> String {
    let names = Skipped::ALL.map(|reason| format!("`{}`", reason.name()));
    format!("The reasons are {}.\n", names.join(", "))
}

#[test]
fn the_document_has_every_reason() {
    let document = golden::replaced(&golden::read("../docs/OUTPUT.md"), "skipped", &skipped_list());
    golden::assert_is("../docs/OUTPUT.md", &document);
}
