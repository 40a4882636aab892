//! Formats human-readable text: shortened and wrapped lines, tables, colours.

use flowml_user::process::plain::paint;
pub(crate) use flowml_user::process::words::{counted, grouped, probability, short, with_unit};

/// The time of day of a Unix time in ms, UTC.
pub(crate) fn time_of_day(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The width of a text on the terminal, columns. All printed characters are one column wide.
pub(crate) fn width_of(text: &str) -> usize {
    text.chars().count()
}

/// Cuts off the end of a text that is too long.
pub(crate) fn cut_end(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Cuts out the middle of a text that is too long. The ends of an address with its port are more informative.
pub(crate) fn cut_middle(text: &str, width: usize) -> String {
    let length = width_of(text);
    if length <= width {
        return text.to_owned();
    }
    let tail = width.saturating_sub(1).div_ceil(2);
    let head = width.saturating_sub(1) - tail;
    let first: String = text.chars().take(head).collect();
    let last: String = text.chars().skip(length - tail).collect();
    format!("{first}…{last}")
}

/// Wraps `text` between words into lines of at most `width` columns. The first line is indented by `indent[0]` spaces,
/// the others by `indent[1]`. A word longer than a line gets its own line.
pub(crate) fn wrap(text: &str, width: usize, indent: [usize; 2]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent[0]);
    let mut blank = true;
    for word in text.split(' ') {
        if !blank && width_of(&line) + 1 + width_of(word) > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent[1])));
        } else if !blank {
            line.push(' ');
        }
        line.push_str(word);
        blank = false;
    }
    lines.push(line);
    lines
}

/// Text styles, with or without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) colours: bool,
}

impl Style {
    /// Formats a heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.paint(paint::BOLD, text)
    }

    /// Formats important text.
    pub(crate) fn alarm(self, text: &str) -> String {
        self.paint(paint::ALARM, text)
    }

    /// Formats secondary text.
    pub(crate) fn aside(self, text: &str) -> String {
        self.paint(paint::FAINT, text)
    }

    fn paint(self, begin: &str, text: &str) -> String {
        if self.colours { format!("{begin}{text}{}", paint::END) } else { text.to_owned() }
    }
}

/// The first cell of a row, which is shortened if the line is too narrow.
pub(crate) enum Subject {
    /// One name.
    One(String),
    /// Two names and a sign between them.
    Pair([String; 2], &'static str),
    /// A text. It is cut at its end, because its start is the most informative.
    Words(String),
}

impl Subject {
    fn width(&self) -> usize {
        match self {
            Self::One(text) | Self::Words(text) => width_of(text),
            Self::Pair([one, two], sign) => width_of(one) + width_of(two) + width_of(sign) + 2,
        }
    }

    fn fit(&self, width: usize) -> String {
        match self {
            Self::One(name) => cut_middle(name, width),
            Self::Words(text) => cut_end(text, width),
            Self::Pair([one, two], sign) => {
                let room = width.saturating_sub(width_of(sign) + 2);
                // If one name needs less than half, the other gets the rest.
                let half = room / 2;
                let left = half.max(room.saturating_sub(width_of(two))).min(width_of(one));
                let right = room - left.min(room);
                format!("{} {sign} {}", cut_middle(one, left), cut_middle(two, right))
            }
        }
    }
}

/// A table whose rows have a subject and several right-aligned values.
pub(crate) struct TextTable {
    /// The heading of the subjects, then those of the values.
    pub(crate) header: Vec<String>,
    /// The rows.
    pub(crate) rows: Vec<(Subject, Vec<String>)>,
    /// Whether the table always has the full width.
    pub(crate) fills: bool,
}

impl TextTable {
    /// The lines, the header first. They have at most `width` columns, unless the values alone need more.
    pub(crate) fn lines(&self, width: usize, style: Style) -> Vec<String> {
        const GAP: usize = 2;
        // Wide enough for two IPv4 addresses with ports, so that tables of them keep their layout.
        const STEADY: usize = 45;
        let widths: Vec<usize> = self.header[1..]
            .iter()
            .enumerate()
            .map(|(at, name)| {
                self.rows.iter().map(|(_, values)| width_of(&values[at])).fold(width_of(name), usize::max)
            })
            .collect();
        let values_width: usize = widths.iter().map(|width| width + GAP).sum();
        let natural = self.rows.iter().map(|(subject, _)| subject.width()).fold(STEADY, usize::max);
        let room = width.saturating_sub(values_width);
        let room = if self.fills { room } else { room.min(natural) };
        let line = |subject: String, values: &mut dyn Iterator<Item = &str>| {
            let mut line = format!("{subject:<room$}");
            for (value, width) in values.zip(&widths) {
                line.push_str(&format!("{:GAP$}{value:>width$}", ""));
            }
            line
        };
        let header = line(cut_end(&self.header[0], room), &mut self.header[1..].iter().map(String::as_str));
        let rows = self.rows.iter().map(|(subject, values)| {
            let subject = if subject.width() <= room { subject.fit(subject.width()) } else { subject.fit(room) };
            line(subject, &mut values.iter().map(String::as_str))
        });
        std::iter::once(style.heading(&header)).chain(rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_to_their_width() {
        assert_eq!(cut_middle("2001:db8::1234:443", 9), "2001…:443");
        assert_eq!(cut_middle("10.0.0.1", 8), "10.0.0.1");
        assert_eq!(cut_end("anomalies", 5), "anom…");
        for width in 1..20 {
            assert!(width_of(&cut_middle("2001:db8::1234:443", width)) <= width);
            assert!(width_of(&cut_end("2001:db8::1234:443", width)) <= width);
        }
    }

    #[test]
    fn lines_are_wrapped_between_words() {
        assert_eq!(wrap("one two three", 8, [1, 2]), [" one two", "  three"]);
        assert_eq!(wrap("one", 1, [0, 0]), ["one"]);
        assert_eq!(wrap("a incomprehensible b", 5, [0, 1]), ["a", " incomprehensible", " b"]);
    }

    #[test]
    fn a_pair_shares_the_width() {
        let pair = |one: &str, two: &str, width| Subject::Pair([one.into(), two.into()], "→").fit(width);
        assert_eq!(pair("10.0.0.1:1", "10.0.0.2:2", 23), "10.0.0.1:1 → 10.0.0.2:2");
        assert_eq!(pair("ab", "0123456789", 12), "ab → 012…789");
        assert_eq!(pair("0123456789", "ab", 12), "012…789 → ab");
        assert_eq!(pair("0123456789", "0123456789", 13), "01…89 → 01…89");
    }

    #[test]
    fn a_table_keeps_its_width() {
        let rows = vec![
            (Subject::One("a".into()), vec!["1".into(), "22".into()]),
            (Subject::One("a very long name".into()), vec!["333".into(), "4".into()]),
        ];
        let table = TextTable { header: ["NAME", "N", "M"].map(str::to_owned).into(), rows, fills: false };
        let lines = table.lines(16, Style { colours: false });
        assert_eq!(lines, ["NAME       N   M", "a          1  22", "a v…ame  333   4"]);
    }
}
