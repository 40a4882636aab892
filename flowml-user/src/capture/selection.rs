//! The selection of interfaces: by name, by pattern, or all.

use std::fmt;
use std::str::FromStr;

use glob::Pattern;

use super::error::CaptureError;
use super::interface::{Interface, Interfaces};

/// One selector, a value of `-i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The interface with this name.
    Name(String),
    /// The interfaces whose names match.
    Pattern(Pattern),
    /// All Ethernet interfaces.
    Any,
}

/// The valid forms of a [`Selector`], for messages.
const EXPECTED: &str = "expected an interface name of 1 to 15 bytes, as in eth0, a pattern, as in 'veth*', or 'any'";

impl Selector {
    fn matches(&self, interface: &Interface) -> bool {
        match self {
            Self::Name(name) => *name == interface.name,
            Self::Pattern(pattern) => pattern.matches(&interface.name),
            Self::Any => true,
        }
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self::Any),
            text if text.contains(['*', '?', '[']) => Ok(Self::Pattern(pattern(text)?)),
            text if is_name(text) => Ok(Self::Name(text.to_owned())),
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Pattern(pattern) => f.write_str(pattern.as_str()),
            Self::Any => f.write_str("any"),
        }
    }
}

/// A pattern of names, in which `*` is any text, `?` any character and `[ab]` one of these characters.
///
/// # Errors
/// The fault in the text.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    let wrong = |error: glob::PatternError| format!("{} at byte {}; {EXPECTED}", error.msg, error.pos);
    Pattern::new(text).map_err(wrong)
}

/// Whether the kernel accepts the text as the name of an interface (`dev_valid_name` in net/core/dev.c; IFNAMSIZ is 16
/// with the final 0).
#[must_use]
pub(crate) fn is_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace() || c == '\x0b')
}

/// The interfaces to meter during a run.
#[derive(Clone, Debug)]
pub struct Selection {
    selectors: Vec<Selector>,
    excluded: Vec<Pattern>,
}

impl Selection {
    /// The interfaces of `selectors`. `excluded` applies to those selected by patterns or by `any`.
    #[must_use]
    pub const fn new(selectors: Vec<Selector>, excluded: Vec<Pattern>) -> Self {
        Self { selectors, excluded }
    }

    /// Only this interface.
    #[must_use]
    pub fn of(interface: &Interface) -> Self {
        Self::new(vec![Selector::Name(interface.name.clone())], Vec::new())
    }

    /// Whether the interface is selected. A name is never excluded. Patterns select only Ethernet interfaces.
    #[must_use]
    pub fn includes(&self, interface: &Interface) -> bool {
        let excluded = || self.excluded.iter().any(|pattern| pattern.matches(&interface.name));
        self.selectors.iter().filter(|selector| selector.matches(interface)).any(|selector| match selector {
            Selector::Name(_) => interface.has_frames(),
            Selector::Pattern(_) => interface.has_frames() && !excluded(),
            // Loopback traffic stays on this host.
            Selector::Any => interface.has_frames() && !interface.is_loopback() && !excluded(),
        })
    }

    /// The selected interfaces of those that exist. Those selected by name come first, in the order of the selectors.
    ///
    /// # Errors
    /// If an interface selected by name does not exist, or is not an Ethernet interface.
    pub fn among(&self, there: &Interfaces) -> Result<Vec<Interface>, CaptureError> {
        let mut among = self.names().map(|name| there.named(name)).collect::<Result<Vec<_>, _>>()?;
        let further = there.all().iter().filter(|interface| self.includes(interface) && !self.names_it(interface));
        among.extend(further.cloned());
        Ok(among)
    }

    /// Whether the interface is selected by its name.
    #[must_use]
    pub(crate) fn names_it(&self, interface: &Interface) -> bool {
        self.names().any(|name| name == interface.name)
    }

    /// The selectors that are names.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.selectors.iter().filter_map(|selector| match selector {
            Selector::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.selectors.iter().map(Selector::to_string).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(selectors: &[&str], excluded: &[&str]) -> Selection {
        let selectors = selectors.iter().map(|text| text.parse().expect("a selector")).collect();
        Selection::new(selectors, excluded.iter().map(|text| pattern(text).expect("a pattern")).collect())
    }

    fn selected(selection: &Selection) -> Vec<&'static str> {
        let names = ["lo", "eth0", "eth1", "veth7", "tun0"];
        let has = |name: &&str| selection.includes(&Interface::sample(name, *name == "lo", *name != "tun0"));
        names.into_iter().filter(has).collect()
    }

    #[test]
    fn interfaces_are_selected_and_excluded() {
        assert_eq!(selected(&selection(&["eth1"], &[])), ["eth1"]);
        assert_eq!(selected(&selection(&["*eth?"], &[])), ["eth0", "eth1", "veth7"]);
        assert_eq!(selected(&selection(&["eth[1-9]", "lo"], &[])), ["lo", "eth1"]);
        assert_eq!(selected(&selection(&["any"], &[])), ["eth0", "eth1", "veth7"]);
        assert_eq!(selected(&selection(&["any"], &["v*", "eth1"])), ["eth0"]);
        assert_eq!(selected(&selection(&["*"], &[])), ["lo", "eth0", "eth1", "veth7"]);
        assert_eq!(selected(&selection(&["eth0", "e*"], &["eth*"])), ["eth0"], "a name is not excluded");
        assert_eq!(selected(&selection(&["tun*", "tun0"], &[])), [""; 0], "no Ethernet");
    }

    #[test]
    fn an_invalid_selector_is_refused() {
        for wrong in ["", "a/b", "sixteen-letters-", ".", "eth[0", "***"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong:?}");
        }
        assert_eq!(selection(&["eth0", "v*", "any"], &[]).to_string(), "eth0, v*, any");
        assert_eq!(selection(&["eth0", "v*"], &[]).names().collect::<Vec<_>>(), ["eth0"]);
    }
}
