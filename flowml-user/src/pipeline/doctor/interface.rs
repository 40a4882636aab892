//! Checks an interface: XDP support of its driver, attached programs, MTU, offloads, queues.

use serde_json::{Value, json};

use super::{Finding, Severity, host};
use crate::capture::attach::{Mode, tc_ingress_programs};
use crate::capture::device::{Device, XdpFeatures};
use crate::capture::interface::{Interface, Link, XdpProgram};

/// The largest MTU whose frames fit into one page-sized buffer, bytes. Headroom (XDP_PACKET_HEADROOM), the kernel's
/// `skb_shared_info` and the Ethernet header are subtracted, as in veth (`veth_xdp_set`, drivers/net/veth.c). Other
/// drivers differ by some bytes.
const ONE_BUFFER_MTU: u32 = 4096 - 256 - 320 - 14;

/// The state of an interface.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    interface: Interface,
    device: Device,
    /// The mode of its pinned attachment, if it is already metered.
    pinned: Option<String>,
    /// The attached XDP program.
    program: Option<XdpProgram>,
    /// Other programs at tc ingress, if the kernel lists them.
    tc: Option<Vec<String>>,
    cpus: u32,
    /// Whether flowml's XDP program accepts multi-buffer frames.
    frags: bool,
}

impl Facts {
    pub(super) fn read(interface: Interface, host: &host::Facts, pinned: Option<String>) -> Self {
        Self {
            pinned,
            device: Device::of(interface.index).unwrap_or_default(),
            program: interface.xdp_program(),
            tc: tc_ingress_programs(&interface),
            cpus: host.cpus.count,
            frags: matches!(host.programs, Some(Ok(true))),
            interface,
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let known = [self.offload_lro(), self.offload_gro(), self.vlan(), self.queues()];
        let mut findings = vec![self.link(), self.driver(), self.xdp(), self.xdp_program(), self.mode(), self.mtu()];
        findings.extend(known.into_iter().flatten());
        findings.extend(self.tcx());
        findings.into_iter().map(|finding| finding.of(&self.interface.name)).collect()
    }

    fn link(&self) -> Finding {
        let name = &self.interface.name;
        match self.interface.link() {
            Link::Up => Finding::new("link", Severity::Ok, "up").value("up"),
            Link::NoCarrier => Finding::new("link", Severity::Note, "up, but without carrier").value("no-carrier"),
            Link::Down => Finding::new("link", Severity::Warning, "down: it is metered as soon as it comes up")
                .mend(format!("ip link set dev {name} up"))
                .value("down"),
        }
    }

    fn driver(&self) -> Finding {
        let driver = self.interface.driver();
        let without = if self.interface.is_loopback() {
            "none: loopback, where '--direction both' counts each packet once, as it comes in"
        } else {
            "not told: a device without hardware"
        };
        let says = driver.as_deref().unwrap_or(without);
        Finding::new("driver", Severity::Ok, says).value(driver.clone())
    }

    fn xdp(&self) -> Finding {
        let Some(features) = self.device.xdp else {
            let says = "what the driver has for XDP is told from Linux 6.3 on; run tries it, else takes tc";
            return Finding::new("xdp", Severity::Note, says);
        };
        let all = [("native", features.native()), ("frags", features.frags()), ("offload", features.offload())];
        let has: Vec<&str> = all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        let finding = if features.native() {
            let frags = if features.frags() { ", frames in several buffers too" } else { ", frames in one buffer" };
            let offload = if features.offload() { "; the card's own, which flowml does not use" } else { "" };
            Finding::new("xdp", Severity::Ok, format!("native{frags}{offload}"))
        } else if self.interface.driver().as_deref() == Some("veth") {
            let says = "no native XDP: the peer has more transmit queues than this end has receive queues";
            let name = &self.interface.name;
            Finding::new("xdp", Severity::Note, says).mend(format!("ethtool -L {name} rx N, as many as the peer's tx"))
        } else {
            Finding::new("xdp", Severity::Note, "the driver has no native XDP: tc sees packets somewhat later")
        };
        finding.value(has)
    }

    fn xdp_program(&self) -> Finding {
        let Some(program) = &self.program else {
            return Finding::new("xdp-program", Severity::Ok, "no other");
        };
        if self.pinned.as_deref().is_some_and(|mode| mode != Mode::Tc.name()) {
            let says = format!("{program} is flowml's, and run puts its own in its place");
            return Finding::new("xdp-program", Severity::Ok, says).value(program.id);
        }
        let name = &self.interface.name;
        let lost = if program.generic {
            "; tc behind generic XDP is given frames without their Ethernet header by Linux 6.18, which are counted as \
             not_ip"
        } else {
            ""
        };
        let says = format!(
            "{program} is there, and XDP has one place: flowml meters behind it, by tc, what it lets pass{lost}"
        );
        Finding::new("xdp-program", Severity::Warning, says)
            .mend(format!("ip link set dev {name} {} off", if program.generic { "xdpgeneric" } else { "xdp" }))
            .value(program.id)
    }

    /// Whether `--xdp-mode auto` will use native XDP, as far as this can be predicted.
    fn takes_native(&self) -> bool {
        if let Some(mode) = &self.pinned {
            return mode == Mode::Native.name();
        }
        let driver = self.device.xdp.is_none_or(|features| {
            let fits = self.interface.mtu <= ONE_BUFFER_MTU || self.frags && features.frags();
            features.native() && fits
        });
        driver && self.program.is_none()
    }

    fn mode(&self) -> Finding {
        if let Some(mode) = &self.pinned {
            return Finding::new("mode", Severity::Ok, format!("run goes on in mode {mode}, which is pinned"))
                .value(mode.as_str());
        }
        let (mode, says) = match (self.takes_native(), self.device.xdp) {
            (true, Some(_)) => ("native", "run meters by native XDP"),
            (true, None) => ("native", "run tries native XDP, else takes tc"),
            (false, _) => ("tc", "run meters by tc"),
        };
        Finding::new("mode", Severity::Ok, says).value(mode)
    }

    fn mtu(&self) -> Finding {
        let (mtu, name) = (self.interface.mtu, &self.interface.name);
        let frags = self.frags && self.device.xdp.is_none_or(XdpFeatures::frags);
        let finding = if mtu <= ONE_BUFFER_MTU {
            Finding::new("mtu", Severity::Ok, format!("{mtu}: every frame lies in one buffer"))
        } else if frags {
            let says = format!("{mtu}: larger than a buffer (about {ONE_BUFFER_MTU}), XDP takes frames in several");
            Finding::new("mtu", Severity::Ok, says)
        } else if self.device.xdp.is_some_and(|features| !features.native()) {
            Finding::new("mtu", Severity::Ok, format!("{mtu}: tc takes frames of any size"))
        } else {
            let says = format!(
                "{mtu}: larger than a buffer (about {ONE_BUFFER_MTU}), and frames in several are not to be had by \
                 native XDP here: tc takes its place"
            );
            Finding::new("mtu", Severity::Warning, says).mend(format!("ip link set dev {name} mtu 1500"))
        };
        finding.value(mtu)
    }

    fn offload_lro(&self) -> Option<Finding> {
        self.joins_packets("lro", "rx-lro", "lro")
    }

    fn offload_gro(&self) -> Option<Finding> {
        self.joins_packets("gro-hw", "rx-gro-hw", "rx-gro-hw")
    }

    /// Checks an offload with which the network card merges packets.
    fn joins_packets(&self, check: &'static str, feature: &str, flag: &str) -> Option<Finding> {
        let on = self.device.has(feature)?;
        let finding = if on {
            let says =
                "the card makes one packet of several: native XDP may be refused, and lengths are the joined ones";
            Finding::new(check, Severity::Warning, says).mend(format!("ethtool -K {} {flag} off", self.interface.name))
        } else {
            Finding::new(check, Severity::Ok, "off")
        };
        Some(finding.value(on))
    }

    fn vlan(&self) -> Option<Finding> {
        let on = self.device.has("rx-vlan-hw-parse")?;
        let finding = if on && self.takes_native() {
            let says = "the card takes VLAN tags off before XDP: flows have no VLAN id";
            let command = format!("ethtool -K {} rxvlan off", self.interface.name);
            Finding::new("vlan", Severity::Note, says).mend(command)
        } else {
            Finding::new(
                "vlan",
                Severity::Ok,
                if on { "tags are taken off, and tc is told of them" } else { "tags stay" },
            )
        };
        Some(finding.value(on))
    }

    fn queues(&self) -> Option<Finding> {
        let (used, most) = self.device.queues?;
        let wanted = self.cpus.min(most);
        let finding = if used < wanted {
            let says =
                format!("{used} of {most} receive queues for {} CPUs: the others do not count packets", self.cpus);
            let command = format!("ethtool -L {} combined {wanted} (or rx {wanted})", self.interface.name);
            Finding::new("queues", Severity::Note, says).mend(command)
        } else {
            Finding::new("queues", Severity::Ok, format!("{used} of {most} receive queues for {} CPUs", self.cpus))
        };
        Some(finding.value(used))
    }

    fn tcx(&self) -> Option<Finding> {
        let others = self.tc.as_ref()?;
        let finding = if others.is_empty() {
            Finding::new("tcx", Severity::Ok, "no other program at tc ingress")
        } else {
            let says = format!("at tc ingress there is {}: by tc, flowml sees what it lets pass", others.join(", "));
            Finding::new("tcx", Severity::Note, says).mend(format!("bpftool net show dev {}", self.interface.name))
        };
        Some(finding.value(others.iter().map(|name| json!(name)).collect::<Value>()))
    }
}
