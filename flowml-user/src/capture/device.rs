//! Properties of a network device: XDP support of its driver, offloads, queues. They are only read.

use std::collections::BTreeSet;
use std::io;

use super::generic::{Family, Generic, attribute, attributes, find, nested};

/// The XDP features that a driver reports (`enum netdev_xdp_act`, include/uapi/linux/netdev.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// Programs in the driver that let packets pass.
    const BASIC: u64 = 1 << 0;
    /// Programs in the card itself.
    const HW_OFFLOAD: u64 = 1 << 4;
    /// Frames in several buffers.
    const RX_SG: u64 = 1 << 5;

    /// Whether native XDP is supported.
    #[must_use]
    pub const fn native(self) -> bool {
        self.0 & Self::BASIC != 0
    }

    /// Whether native XDP supports frames in several buffers, and therefore any MTU.
    #[must_use]
    pub const fn frags(self) -> bool {
        self.0 & Self::RX_SG != 0
    }

    /// Whether the card itself can run programs.
    #[must_use]
    pub const fn offload(self) -> bool {
        self.0 & Self::HW_OFFLOAD != 0
    }
}

/// The properties of a device. A field is `None` if the kernel or the device does not report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// XDP features of the driver, from Linux 6.3 on.
    pub xdp: Option<XdpFeatures>,
    /// Names of the enabled features, as in `ethtool -k`.
    pub features: Option<BTreeSet<String>>,
    /// Number of receive queues in use, and the maximum.
    pub queues: Option<(u32, u32)>,
}

impl Device {
    /// Reads the properties of the interface with this index.
    ///
    /// # Errors
    /// If generic netlink is not available.
    pub fn of(index: u32) -> io::Result<Self> {
        let mut generic = Generic::open()?;
        let mut device = Self::default();
        if let Ok(netdev) = generic.family("netdev") {
            device.xdp = xdp_features(&mut generic, netdev, index).ok().flatten();
        }
        if let Ok(ethtool) = generic.family("ethtool") {
            device.features = features(&mut generic, ethtool, index).ok();
            device.queues = queues(&mut generic, ethtool, index).ok();
        }
        Ok(device)
    }

    /// Whether a feature is enabled. `None` if it is not known.
    #[must_use]
    pub fn has(&self, feature: &str) -> Option<bool> {
        self.features.as_ref().map(|features| features.contains(feature))
    }
}

/// Reads NETDEV_A_DEV_XDP_FEATURES by NETDEV_CMD_DEV_GET (include/uapi/linux/netdev.h).
fn xdp_features(generic: &mut Generic, netdev: Family, index: u32) -> io::Result<Option<XdpFeatures>> {
    const DEVICE_GET: u8 = 1;
    const INDEX: u16 = 1;
    const XDP_FEATURES: u16 = 3;
    let answer = generic.ask(netdev, DEVICE_GET, &attribute(INDEX, &index.to_ne_bytes()))?;
    let bits = find(&answer, XDP_FEATURES).and_then(|value| Some(u64::from_ne_bytes(value.try_into().ok()?)));
    Ok(bits.map(XdpFeatures))
}

/// The first attribute of every ethtool request: the device (ETHTOOL_A_HEADER_DEV_INDEX).
fn header(index: u32) -> Vec<u8> {
    nested(1, &attribute(1, &index.to_ne_bytes()))
}

/// Reads ETHTOOL_A_FEATURES_ACTIVE by ETHTOOL_MSG_FEATURES_GET (include/uapi/linux/ethtool_netlink.h). Its bit set
/// contains the enabled features by name.
fn features(generic: &mut Generic, ethtool: Family, index: u32) -> io::Result<BTreeSet<String>> {
    const FEATURES_GET: u8 = 11;
    const ACTIVE: u16 = 4;
    const BITSET_BITS: u16 = 3;
    const BIT_NAME: u16 = 2;
    let answer = generic.ask(ethtool, FEATURES_GET, &header(index))?;
    let bits = find(&answer, ACTIVE).and_then(|set| find(set, BITSET_BITS)).unwrap_or_default();
    let name = |bit| find(bit, BIT_NAME).map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
    Ok(attributes(bits).filter_map(|(_, bit)| name(bit)).collect())
}

/// Reads the queues by ETHTOOL_MSG_CHANNELS_GET: those that only receive, and those that receive and send.
fn queues(generic: &mut Generic, ethtool: Family, index: u32) -> io::Result<(u32, u32)> {
    const CHANNELS_GET: u8 = 17;
    const RX_MAX: u16 = 2;
    const COMBINED_MAX: u16 = 5;
    const RX_COUNT: u16 = 6;
    const COMBINED_COUNT: u16 = 9;
    let answer = generic.ask(ethtool, CHANNELS_GET, &header(index))?;
    let count = |kind| find(&answer, kind).and_then(|value| Some(u32::from_ne_bytes(value.try_into().ok()?)));
    let sum = |kinds: [u16; 2]| kinds.into_iter().filter_map(count).sum();
    Ok((sum([RX_COUNT, COMBINED_COUNT]), sum([RX_MAX, COMBINED_MAX])))
}
