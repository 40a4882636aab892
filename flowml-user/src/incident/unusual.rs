//! An anomalous host window, and whether it shows a source or a target.

use super::event::Role;
use crate::features::{HostWindow, Side, side_of};
use crate::learning::{FeedbackClass, Reason, Verdict};

/// One anomalous window.
pub(super) struct Unusual<'a> {
    pub(super) window: &'a HostWindow,
    pub(super) verdict: &'a Verdict,
    pub(super) role: Role,
    /// Whether the probability is below the incident level, or an operator labelled similar windows as an attack.
    pub(super) is_rare: bool,
}

impl<'a> Unusual<'a> {
    /// `level` is the incident level: the probability below which normal traffic rarely has a window.
    pub(super) fn new(window: &'a HostWindow, verdict: &'a Verdict, level: f64) -> Self {
        let is_rare = verdict.probability < level || verdict.class == Some(FeedbackClass::Attack);
        Self { window, verdict, role: role(&verdict.reasons), is_rare }
    }
}

/// Whether the host's own activity or that of others is anomalous, by the larger share of the reasons.
fn role(reasons: &[Reason]) -> Role {
    let share = |side: Side| -> f64 {
        reasons.iter().filter(|reason| side_of(reason.column) == Some(side)).map(|reason| reason.share).sum()
    };
    if share(Side::Destination) > share(Side::Source) { Role::Target } else { Role::Source }
}
