//! Sessions: the partial flows of a flow, joined over drains until the flow ends.
//!
//! ```
//! use flowml_user::session::{Sessions, Timeouts};
//!
//! let mut sessions = Sessions::new(Timeouts::default());
//! assert!(sessions.is_empty() && sessions.flush().is_empty());
//! ```

mod absorb;
mod beginning;
mod connection;
mod contents;
mod ended;
mod expire;
mod index;
mod initiator;
mod memory;
mod open;
mod room;
mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod saved;
mod services;
mod sessions;
mod statistics;
#[cfg(test)]
mod tests;
mod timeouts;
mod timers;

pub use self::beginning::{BeginWindows, HostCounts, SlowCounts};
pub use self::contents::Contents;
pub use self::ended::{Ended, Kept, Standing};
pub(crate) use self::initiator::informed;
pub use self::initiator::{Evidence, Initiator, InitiatorRule};
pub use self::saved::Left;
pub(crate) use self::sessions::Overflow;
#[cfg(feature = "live")]
pub(crate) use self::sessions::bytes_of_one;
pub use self::sessions::{DEFAULT_CAPACITY, Sessions};
pub use self::timeouts::{EndReason, Timeouts};
