//! Interfaces of the host: their properties, the default route, and attached XDP programs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::{fmt, fs};

use futures_util::stream::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::error::CaptureError;

/// The properties of an interface that flowml uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Whether the interface is administratively up.
    pub up: bool,
    /// Largest packet without the Ethernet header, in bytes.
    pub mtu: u32,
    carrier: bool,
    /// Link type: whether frames start with an Ethernet header.
    link_type: LinkLayerType,
    /// The attached XDP program, in any mode.
    xdp_program: Option<XdpId>,
    /// The kind of a virtual interface, such as veth.
    kind: Option<String>,
    /// The device of the interface: its bus, and its name there.
    parent: [Option<String>; 2],
}

/// Whether packets can arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Packets can arrive.
    Up,
    /// There is no carrier.
    NoCarrier,
    /// The interface is administratively down.
    Down,
}

/// The id of an XDP program, and its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct XdpId {
    id: u32,
    generic: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's id of the program.
    pub id: u32,
    /// Whether the mode is generic XDP, which runs in the network stack after the driver.
    pub generic: bool,
    /// The name of the program. Only CAP_SYS_ADMIN can read the name.
    name: Option<String>,
}

impl fmt::Display for XdpProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (id {})", self.name.as_deref().unwrap_or("unnamed"), self.id)
    }
}

impl Interface {
    pub(super) fn new(message: &LinkMessage) -> Self {
        let mut interface = Self {
            name: String::new(),
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            mtu: 0,
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            link_type: message.header.link_layer_type,
            xdp_program: None,
            kind: None,
            parent: [None, None],
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Xdp(parts) => interface.xdp_program = parts.iter().find_map(program_id),
                LinkAttribute::LinkInfo(parts) => interface.kind = parts.iter().find_map(kind),
                LinkAttribute::ParentDevBusName(bus) => interface.parent[0] = Some(bus.clone()),
                LinkAttribute::ParentDevName(name) => interface.parent[1] = Some(name.clone()),
                _ => {}
            }
        }
        interface
    }

    /// The attached XDP program.
    #[must_use]
    pub fn xdp_program(&self) -> Option<XdpProgram> {
        let XdpId { id, generic } = self.xdp_program?;
        let name = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .and_then(|program| program.name_as_str().map(str::to_owned));
        Some(XdpProgram { id, generic, name })
    }

    /// Whether packets can arrive.
    #[must_use]
    pub const fn link(&self) -> Link {
        match (self.up, self.carrier) {
            (false, _) => Link::Down,
            (true, false) => Link::NoCarrier,
            (true, true) => Link::Up,
        }
    }

    /// Whether this is the loopback interface, which receives the packets that it sends.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.link_type == LinkLayerType::Loopback
    }

    /// Whether frames start with an Ethernet header, as flowml requires.
    #[must_use]
    pub(crate) const fn has_frames(&self) -> bool {
        matches!(self.link_type, LinkLayerType::Ether | LinkLayerType::Loopback)
    }

    #[cfg(test)]
    pub(super) fn sample(name: &str, loopback: bool, ethernet: bool) -> Self {
        let mut message = LinkMessage::default();
        message.header.link_layer_type = match (loopback, ethernet) {
            (true, _) => LinkLayerType::Loopback,
            (false, true) => LinkLayerType::Ether,
            (false, false) => LinkLayerType::None,
        };
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        Self::new(&message)
    }

    /// The driver of the device. Without a device, the kind of the interface.
    #[must_use]
    pub fn driver(&self) -> Option<String> {
        let [bus, name] = self.parent.each_ref().map(Option::as_deref);
        let of_parent = bus.zip(name).and_then(|(bus, name)| {
            // Unlike /sys/class/net, this path is the same in all network namespaces.
            let driver = fs::read_link(format!("/sys/bus/{bus}/devices/{name}/driver")).ok()?;
            Some(driver.file_name()?.to_string_lossy().into_owned())
        });
        of_parent.or_else(|| self.kind.clone())
    }
}

fn program_id(part: &LinkXdp) -> Option<XdpId> {
    let (id, generic) = match part {
        LinkXdp::SkbProgId(id) => (*id, true),
        LinkXdp::DrvProgId(id) | LinkXdp::HwProgId(id) => (*id, false),
        _ => return None,
    };
    (id != 0).then_some(XdpId { id, generic })
}

fn kind(part: &LinkInfo) -> Option<String> {
    match part {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// The interfaces in the network namespace of this process.
#[derive(Debug)]
pub struct Interfaces {
    handle: Handle,
    all: Vec<Interface>,
}

impl Interfaces {
    /// Reads the interfaces from the kernel.
    ///
    /// # Errors
    /// If netlink is not available.
    pub async fn read() -> Result<Self, CaptureError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(CaptureError::Socket)?;
        tokio::spawn(connection);
        let mut links = handle.link().get().execute();
        let mut all = Vec::new();
        while let Some(message) = links.try_next().await? {
            all.push(Interface::new(&message));
        }
        Ok(Self { handle, all })
    }

    /// All interfaces.
    #[must_use]
    pub fn all(&self) -> &[Interface] {
        &self.all
    }

    /// Reads the interface with this index again. `None` if it does not exist any more.
    ///
    /// # Errors
    /// If netlink is not available.
    pub async fn look(&self, index: u32) -> Result<Option<Interface>, CaptureError> {
        match self.handle.link().get().match_index(index).execute().try_next().await {
            Ok(message) => Ok(message.as_ref().map(Interface::new)),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The interface with this name, which must be an Ethernet interface.
    ///
    /// # Errors
    /// If the interface does not exist (with the existing names), or is not an Ethernet interface (with its link type).
    pub fn named(&self, name: &str) -> Result<Interface, CaptureError> {
        let found = self.all.iter().find(|interface| interface.name == name);
        let interface =
            found.ok_or_else(|| CaptureError::NoInterface { name: name.to_owned(), known: self.known() })?;
        match interface.has_frames() {
            true => Ok(interface.clone()),
            false => Err(CaptureError::NotEthernet { name: name.to_owned(), link_type: interface.link_type.into() }),
        }
    }

    /// The interface of the default route. IPv4 comes before IPv6, and the lowest metric before others.
    ///
    /// # Errors
    /// If there is no default route.
    pub async fn of_default_route(&self) -> Result<Interface, CaptureError> {
        let v4 = self.default_route(RouteMessageBuilder::<Ipv4Addr>::new().build()).await?;
        let index = match v4 {
            Some(index) => Some(index),
            None => self.default_route(RouteMessageBuilder::<Ipv6Addr>::new().build()).await?,
        };
        let found = index.and_then(|index| self.all.iter().find(|interface| interface.index == index));
        let interface = found.ok_or_else(|| CaptureError::NoDefaultRoute { known: self.known() })?;
        self.named(&interface.name)
    }

    async fn default_route(&self, of: RouteMessage) -> Result<Option<u32>, CaptureError> {
        let mut routes = self.handle.route().get(of).execute();
        let mut best: Option<(u32, u32)> = None;
        while let Some(route) = routes.try_next().await? {
            if route.header.destination_prefix_length != 0 {
                continue;
            }
            let mut metric = 0;
            let mut output = None;
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => output = Some(*index),
                    RouteAttribute::Priority(priority) => metric = *priority,
                    _ => {}
                }
            }
            let candidate = output.map(|index| (metric, index));
            best = [best, candidate].into_iter().flatten().min();
        }
        Ok(best.map(|(_, index)| index))
    }

    fn known(&self) -> String {
        self.all.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}
