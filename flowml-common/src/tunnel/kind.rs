//! The kinds of tunnels.

/// The kind of a tunnel.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// VXLAN (RFC 7348): Ethernet in UDP.
    Vxlan = 1,
    /// Geneve (RFC 8926): Ethernet or IP in UDP.
    Geneve = 2,
    /// GRE (RFC 2784, RFC 2890), with NVGRE (RFC 7637): IP, MPLS or Ethernet.
    Gre = 3,
    /// IP in IP (RFC 2003, RFC 4213, RFC 2473): IPv4 or IPv6 in either.
    Ip = 4,
    /// GTP-U (3GPP TS 29.281): IP in UDP.
    Gtpu = 5,
    /// MPLS (RFC 3032): IP, or Ethernet in a pseudowire (RFC 4448).
    Mpls = 6,
    /// PPP over Ethernet (RFC 2516).
    Pppoe = 7,
}

impl TunnelKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 7] = [Self::Vxlan, Self::Geneve, Self::Gre, Self::Ip, Self::Gtpu, Self::Mpls, Self::Pppoe];

    /// The kinds that are recognised by a UDP port.
    pub const OF_UDP: [Self; 3] = [Self::Vxlan, Self::Geneve, Self::Gtpu];

    /// The kind with this number.
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Vxlan,
            2 => Self::Geneve,
            3 => Self::Gre,
            4 => Self::Ip,
            5 => Self::Gtpu,
            6 => Self::Mpls,
            7 => Self::Pppoe,
            _ => return None,
        })
    }

    /// The name in columns, options and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::Ip => "ipip",
            Self::Gtpu => "gtpu",
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
        }
    }

    /// Whether packets of this kind have a number of their tunnel.
    #[must_use]
    pub const fn has_id(self) -> bool {
        !matches!(self, Self::Ip)
    }

    /// Whether the number of the tunnel is the same in both directions, and therefore in the key of the flow.
    #[inline(always)]
    #[must_use]
    pub const fn has_id_in_key(self) -> bool {
        matches!(self, Self::Vxlan | Self::Geneve | Self::Gre | Self::Pppoe)
    }
}
