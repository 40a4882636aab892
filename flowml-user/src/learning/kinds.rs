//! Kinds of detectors and classifiers: an enum with names and meanings, from one table.

/// Defines the enum of a table's kinds: variant, name on the command line and in files, meaning.
macro_rules! kinds {
    ($(#[$doc:meta])* $kinds:ident: $($kind:ident = $name:literal, $meaning:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $kinds {
            $(#[doc = $meaning] #[serde(rename = $name)] $kind,)*
        }

        impl $kinds {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name on the command line and in files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// A description in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$kind => $meaning,)* }
            }
        }
    };
}
pub(super) use kinds;
