//! An anomalous host window, and whether it shows a source or a target.

use super::event::Role;
use crate::features::{HostWindow, Side, side_of};
use crate::learning::{Reason, Verdict};

/// One anomalous window.
pub(super) struct Unusual<'a> {
    pub(super) window: &'a HostWindow,
    pub(super) verdict: &'a Verdict,
    pub(super) role: Role,
}

/// Whether the host's own activity or that of others is anomalous, by the larger share of the reasons.
pub(super) fn role(reasons: &[Reason]) -> Role {
    let share = |side: Side| -> f64 {
        reasons.iter().filter(|reason| side_of(reason.column) == Some(side)).map(|reason| reason.share).sum()
    };
    if share(Side::Destination) > share(Side::Source) { Role::Target } else { Role::Source }
}
