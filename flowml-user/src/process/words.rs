//! Numbers in words: with prefixes, groups of digits and nouns.

/// A number with three digits and its decimal prefix.
fn scale(value: f64) -> (String, &'static str) {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let mut scaled = value;
    let mut prefix = 0;
    // 999.5 would be printed as 1000.
    while scaled.abs() >= 999.5 && prefix + 1 < PREFIXES.len() {
        scaled /= 1000.0;
        prefix += 1;
    }
    let decimals = match scaled.abs() {
        _ if prefix == 0 && scaled.fract() == 0.0 => 0,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    (format!("{scaled:.decimals$}"), PREFIXES[prefix])
}

/// A number for a table: `980`, `1.23k`, `45.6M`.
#[must_use]
pub fn short(value: f64) -> String {
    let (number, prefix) = scale(value);
    number + prefix
}

/// A number with its unit: `98.4 Mbit/s`.
#[must_use]
pub fn with_unit(value: f64, unit: &str) -> String {
    let (number, prefix) = scale(value);
    format!("{number} {prefix}{unit}")
}

/// An exact number with groups of three digits: `1,234,567`.
#[must_use]
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun in singular or plural: `1 flow`, `1,200 flows`.
#[must_use]
pub fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(value), if value == 1 { "" } else { "s" })
}

/// A probability with three decimals, or in powers of ten if it is small.
#[must_use]
pub fn probability(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_prefix() {
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (0.5, "0.50"),
            (9.996, "10.0"),
            (99.96, "100"),
            (980.0, "980"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (1000.0, "1.00k"),
            (1_234_567.0, "1.23M"),
            (999_999_999.0, "1.00G"),
            (2.5e18, "2500P"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text, "{value}");
        }
        assert_eq!((with_unit(98.4e6, "bit/s"), with_unit(3.0, "bit/s")), ("98.4 Mbit/s".into(), "3 bit/s".into()));
    }

    #[test]
    fn exact_numbers_are_grouped() {
        let cases =
            [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (u64::MAX, "18,446,744,073,709,551,615")];
        for (value, text) in cases {
            assert_eq!(grouped(value), text);
        }
        assert_eq!((counted(1, "flow"), counted(1200, "flow")), ("1 flow".into(), "1,200 flows".into()));
    }
}
