//! TCP in the statistics of a flow: the flags, and how a direction opened its connection.

/// Names of the TCP flags in the order of their bits (RFC 9293 §3.1). FIN is bit 0.
pub const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
/// FIN.
pub const FIN: u8 = 1;
/// SYN.
pub const SYN: u8 = 2;
/// RST.
pub const RST: u8 = 4;
/// PSH.
pub const PSH: u8 = 8;
/// ACK.
pub const ACK: u8 = 16;

/// The SYN with which a direction opened its TCP connection, and its initial sequence number. A SYN without ACK is
/// greater than one with ACK: it takes precedence if both were seen.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opening {
    /// By a SYN with ACK.
    SynAck(u32),
    /// By a SYN without ACK.
    Syn(u32),
}

impl Opening {
    /// The initial sequence number.
    #[must_use]
    pub const fn sequence(self) -> u32 {
        match self {
            Self::SynAck(sequence) | Self::Syn(sequence) => sequence,
        }
    }

    /// The opening of a direction with `before` and then `next`. The first one is used, but a SYN without ACK replaces
    /// one with ACK.
    #[must_use]
    pub const fn follow(before: Option<Self>, next: Option<Self>) -> Option<Self> {
        match (before, next) {
            (None, known) | (Some(Self::SynAck(_)), known @ Some(Self::Syn(_))) => known,
            _ => before,
        }
    }
}
