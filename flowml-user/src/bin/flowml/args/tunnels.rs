//! The arguments of tunnels: whether flows are those around or inside of them, and by which ports they are recognised.

use clap::Args;
use clap::builder::TypedValueParser;
use flowml_common::tunnel::{PortList, TunnelKind};

use super::values::named;

/// Which flow a packet in a tunnel is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tunnels {
    /// That of the tunnel.
    #[default]
    Outer,
    /// That of the packet inside.
    Inner,
}

impl Tunnels {
    const ALL: [Self; 2] = [Self::Outer, Self::Inner];

    const fn name(self) -> &'static str {
        match self {
            Self::Outer => "outer",
            Self::Inner => "inner",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Outer => "The flow of the tunnel: tunnels are not looked into",
            Self::Inner => "The flow inside of the tunnel, if it can be read",
        }
    }
}

/// A UDP port of a kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunnelPort {
    kind: TunnelKind,
    port: u16,
}

/// Parses `vxlan=8472`.
fn tunnel_port(text: &str) -> Result<TunnelPort, String> {
    let split = text.split_once('=');
    let kind = split.and_then(|(name, _)| TunnelKind::OF_UDP.into_iter().find(|kind| kind.name() == name));
    let port = split.and_then(|(_, port)| port.parse().ok()).filter(|port| *port > 0);
    kind.zip(port).map(|(kind, port)| TunnelPort { kind, port }).ok_or_else(|| {
        let names: Vec<&str> = TunnelKind::OF_UDP.into_iter().map(TunnelKind::name).collect();
        format!("expected KIND=PORT with one of {} and a port of 1 to 65535, as in vxlan=8472", names.join(", "))
    })
}

fn tunnels() -> impl TypedValueParser<Value = Tunnels> {
    named(&Tunnels::ALL, Tunnels::name, Tunnels::meaning)
}

/// The tunnel options.
#[derive(Args, Clone, Debug)]
pub(crate) struct TunnelArguments {
    /// The flow of a packet in a tunnel: VXLAN, Geneve, GRE, IP in IP, GTP-U, MPLS, PPPoE
    #[arg(long, value_name = "WHICH", value_parser = tunnels(), default_value = Tunnels::Outer.name())]
    tunnels: Tunnels,

    /// UDP destination port of a kind of tunnel (vxlan, geneve, gtpu), in place of the default ports of this kind; may be
    /// repeated [default: vxlan=4789, vxlan=8472, geneve=6081, gtpu=2152]
    #[arg(long = "tunnel-port", value_name = "KIND=PORT", value_parser = tunnel_port)]
    ports: Vec<TunnelPort>,
}

impl TunnelArguments {
    /// The ports of tunnels, if they are looked into.
    #[must_use]
    pub(crate) fn ports(&self) -> Option<PortList> {
        (self.tunnels == Tunnels::Inner).then(|| self.list()).flatten()
    }

    /// Whether the rows of flows have the columns of tunnels.
    #[must_use]
    pub(crate) fn has_columns(&self) -> bool {
        self.tunnels == Tunnels::Inner
    }

    /// The list of ports. `None` if it is not valid.
    fn list(&self) -> Option<PortList> {
        let is_set = |kind| self.ports.iter().any(|given| given.kind == kind);
        let given = self.ports.iter().map(|given| (given.kind, given.port));
        PortList::new(given.chain(PortList::default().ports().filter(|(kind, _)| !is_set(*kind))))
    }

    pub(super) fn contradiction(&self) -> Option<String> {
        if self.tunnels == Tunnels::Outer && !self.ports.is_empty() {
            let message = "'--tunnel-port' needs tunnels that are looked into: expected '--tunnels inner' as well";
            return Some(message.to_owned());
        }
        self.list().is_none().then(|| {
            format!(
                "'--tunnel-port' gives a port twice, or more than {} ports with the default ones of the other kinds",
                PortList::LENGTH
            )
        })
    }
}
