//! Keeps the elements and templates in docs/IPFIX.md up to date.

use super::super::golden;
use super::element::{ELEMENTS, ENTERPRISE, Of, REVERSE_ENTERPRISE};
use super::template::Template;

const DOCUMENT: &str = "../docs/IPFIX.md";

/// A description of the flows whose records have an element.
const fn of(of: Of) -> &'static str {
    match of {
        Of::Every => "every flow",
        Of::Ipv4 => "IPv4",
        Of::Ipv6 => "IPv6",
        Of::Ports => "all but ICMP",
        Of::Icmpv4 => "ICMP",
        Of::Icmpv6 => "ICMPv6",
        Of::EachWay => "each direction",
        Of::TwoWay => "biflow",
        Of::Judged => "scored",
        Of::Plain => "outside of tunnels",
        Of::Tunnelled => "in tunnels",
        Of::OverIpv4 => "in tunnels over IPv4",
        Of::OverIpv6 => "in tunnels over IPv6",
    }
}

/// Enterprise and number, as in `32473/7`.
fn identifier(element: &super::element::Element, reverse: bool) -> String {
    let specifier = element.specifier(reverse);
    let number = specifier.number;
    specifier.enterprise.map_or_else(|| number.to_string(), |enterprise| format!("{enterprise}/{number}"))
}

fn elements_table() -> String {
    let mut table =
        "| element | number | reverse | type | of | meaning |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for element in ELEMENTS {
        let reverse = if element.of == Of::EachWay { identifier(element, true) } else { String::new() };
        let fields = [
            &format!("`{}`", element.name),
            &identifier(element, false),
            &reverse,
            element.value.type_name(),
            of(element.of),
            element.meaning,
        ];
        table += &format!("| {} |\n", fields.join(" | "));
    }
    table
}

fn templates_table() -> String {
    let rows = Template::all(true)
        .map(|template| format!("| {} | {} | {} |\n", template.id(), template.name(), template.fields().count()));
    format!("| template | flows | elements |\n| --- | --- | --- |\n{}", rows.collect::<String>())
}

fn enterprises() -> String {
    format!("Numbers of the form {ENTERPRISE}/n are flowml's, those of the form {REVERSE_ENTERPRISE}/n RFC 5103's.\n")
}

#[test]
fn the_document_lists_every_element_and_template() {
    let mut document = golden::read(DOCUMENT);
    for (name, text) in
        [("enterprises", enterprises()), ("elements", elements_table()), ("templates", templates_table())]
    {
        document = golden::replaced(&document, name, &text);
    }
    golden::assert_is(DOCUMENT, &document);
}
