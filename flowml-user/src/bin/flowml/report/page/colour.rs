//! Colours of reports by purpose. The style defines their values in light and dark mode.

use std::fmt::Write as _;

use plotters::style::RGBColor;

/// A colour of reports and charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Text.
    Text,
    /// Secondary text.
    Muted,
    /// Grid lines.
    Grid,
    /// Anomalies and attacks.
    Alarm,
    /// Elements without a colour of their own.
    Other,
    /// One of several series, by its number.
    Series(usize),
}

/// Number of distinguishable series colours.
pub(crate) const SERIES: usize = 8;

/// Name of each colour in the style, its light value and its dark value. The contrast with the background is at least 3
/// (WCAG 2.2, 1.4.11), and at least 4.5 for text (1.4.3).
const VALUES: [(&str, &str, &str); 7 + SERIES] = [
    ("text", "#1d2330", "#e4e7ee"),
    ("muted", "#5b6475", "#9aa4b6"),
    ("grid", "#d8dce4", "#363d4b"),
    ("alarm", "#c8102e", "#ff6b6b"),
    ("other", "#858c99", "#858c99"),
    ("series-0", "#2563c9", "#6ea8ff"),
    ("series-1", "#c05f00", "#ffa657"),
    ("series-2", "#178256", "#56d39a"),
    ("series-3", "#8146c7", "#c297ff"),
    ("series-4", "#0c7f8f", "#4fd1e0"),
    ("series-5", "#8d5a2b", "#d3a678"),
    ("series-6", "#bd3f93", "#ff8bcf"),
    ("series-7", "#717312", "#c9cc5a"),
    ("ground", "#ffffff", "#14171e"),
    ("raised", "#f4f6f9", "#1d222c"),
];

/// Index of the first series in [`VALUES`].
const FIRST_SERIES: usize = 5;

impl Colour {
    /// The colour of series `number`. Series beyond the last distinguishable one share a colour.
    #[must_use]
    pub(crate) const fn of(number: usize) -> Self {
        if number < SERIES { Self::Series(number) } else { Self::Other }
    }

    const fn place(self) -> usize {
        match self {
            Self::Text => 0,
            Self::Muted => 1,
            Self::Grid => 2,
            Self::Alarm => 3,
            Self::Other => 4,
            Self::Series(number) => FIRST_SERIES + number % SERIES,
        }
    }

    /// The CSS value.
    #[must_use]
    pub(crate) fn css(self) -> String {
        format!("var(--{})", VALUES[self.place()].0)
    }

    /// The placeholder of the colour while a chart is drawn, because the drawing library supports only fixed colours.
    pub(super) const fn stand_in(self) -> RGBColor {
        RGBColor(0xF1, 0x0A, self.place() as u8)
    }
}

/// A chart with its placeholders replaced by the style's colours.
pub(super) fn with_colours(svg: &str) -> String {
    let mut svg = svg.to_owned();
    for (place, (name, ..)) in VALUES.iter().enumerate() {
        // A quoted value is an attribute, as quotes in texts are escaped.
        svg = svg.replace(&format!("\"#F10A{place:02X}\""), &format!("\"var(--{name})\""));
    }
    svg
}

/// The CSS variables: dark if the browser prefers it, light otherwise and in print.
pub(super) fn variables() -> String {
    let values = |of: fn(&(&str, &str, &str)) -> String| VALUES.iter().map(of).collect::<String>();
    let light = values(|(name, light, _)| format!("--{name}:{light};"));
    let dark = values(|(name, _, dark)| format!("--{name}:{dark};"));
    let mut style = String::new();
    let written = write!(
        style,
        ":root{{color-scheme:light dark;{light}}}\n\
         @media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n\
         @media print{{:root{{color-scheme:light;{light}}}}}\n"
    );
    written.expect("memory takes every text");
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_except_in_texts() {
        let svg = "<path fill=\"#F10A03\" stroke=\"#F10A05\"/><text>#F10A03</text>";
        let expected = "<path fill=\"var(--alarm)\" stroke=\"var(--series-0)\"/><text>#F10A03</text>";
        assert_eq!(with_colours(svg), expected);
        for (number, colour) in [(0, "var(--series-0)"), (7, "var(--series-7)"), (8, "var(--other)")] {
            assert_eq!(Colour::of(number).css(), colour);
        }
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two digits")) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    #[test]
    fn every_colour_has_enough_contrast() {
        let contrast = |one: &str, other: &str| {
            let (one, other) = (luminance(one), luminance(other));
            (one.max(other) + 0.05) / (one.min(other) + 0.05)
        };
        for ground in ["ground", "raised"] {
            let (_, light_ground, dark_ground) = VALUES.iter().find(|(name, ..)| *name == ground).expect("it is there");
            for (name, light, dark) in &VALUES[..FIRST_SERIES + SERIES] {
                let least = match *name {
                    "text" | "muted" | "alarm" => 4.5,
                    "grid" => 1.0,
                    _ => 3.0,
                };
                for (colour, ground) in [(light, light_ground), (dark, dark_ground)] {
                    let found = contrast(colour, ground);
                    assert!(found >= least, "{name} {colour} on {ground}: {found:.2}");
                }
            }
        }
    }
}
