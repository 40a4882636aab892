//! Checks an interface: XDP support of its driver, attached programs, MTU, offloads, queues.

use flowml_user::capture::attach::{Mode, tc_ingress_programs};
use flowml_user::capture::device::{Device, XdpFeatures};
use flowml_user::capture::interface::{Interface, Link, XdpProgram};
use serde_json::{Value, json};

use super::{Finding, Severity, host};

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
            Link::NoCarrier => {
                Finding::new("link", Severity::Note, "up, without carrier: no packets arrive").value("no-carrier")
            }
            Link::Down => Finding::new("link", Severity::Warning, "down: it will be metered when it is up")
                .fix(format!("ip link set dev {name} up"))
                .value("down"),
        }
    }

    fn driver(&self) -> Finding {
        let driver = self.interface.driver();
        let without = if self.interface.is_loopback() {
            "none: loopback; '--direction both' counts each packet once, at ingress"
        } else {
            "none reported: a virtual device"
        };
        let message = driver.as_deref().unwrap_or(without);
        Finding::new("driver", Severity::Ok, message).value(driver.clone())
    }

    fn xdp(&self) -> Finding {
        let Some(features) = self.device.xdp else {
            let message =
                "unknown: kernels before Linux 6.3 do not report it; run tries native XDP and falls back to tc";
            return Finding::new("xdp", Severity::Note, message);
        };
        let all = [("native", features.native()), ("frags", features.frags()), ("offload", features.offload())];
        let has: Vec<&str> = all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        let finding = if features.native() {
            let frags =
                if features.frags() { ", including multi-buffer frames" } else { ", single-buffer frames only" };
            let offload = if features.offload() { "; offload to the card is not used" } else { "" };
            Finding::new("xdp", Severity::Ok, format!("native{frags}{offload}"))
        } else if self.interface.driver().as_deref() == Some("veth") {
            let message = "no native XDP: the peer has more transmit queues than this end has receive queues";
            let name = &self.interface.name;
            Finding::new("xdp", Severity::Note, message)
                .fix(format!("ethtool -L {name} rx N, as many as the peer's tx"))
        } else {
            Finding::new(
                "xdp",
                Severity::Note,
                "the driver has no native XDP; tc sees packets later in the network stack",
            )
        };
        finding.value(has)
    }

    fn xdp_program(&self) -> Finding {
        let Some(program) = &self.program else {
            return Finding::new("xdp-program", Severity::Ok, "no other program");
        };
        if self.pinned.as_deref().is_some_and(|mode| mode != Mode::Tc.name()) {
            let message = format!("{program} belongs to flowml; run replaces it");
            return Finding::new("xdp-program", Severity::Ok, message).value(program.id);
        }
        let name = &self.interface.name;
        let lost = if program.generic {
            "; on Linux 6.18, tc behind generic XDP gets frames without Ethernet header, which are counted as not_ip"
        } else {
            ""
        };
        let message = format!(
            "{program} is attached, and an interface takes one XDP program: flowml meters by tc what it lets pass{lost}"
        );
        Finding::new("xdp-program", Severity::Warning, message)
            .fix(format!("ip link set dev {name} {} off", if program.generic { "xdpgeneric" } else { "xdp" }))
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
            return Finding::new("mode", Severity::Ok, format!("run continues in the pinned mode {mode}"))
                .value(mode.as_str());
        }
        let (mode, message) = match (self.takes_native(), self.device.xdp) {
            (true, Some(_)) => ("native", "run meters by native XDP"),
            (true, None) => ("native", "run tries native XDP and falls back to tc"),
            (false, _) => ("tc", "run meters by tc"),
        };
        Finding::new("mode", Severity::Ok, message).value(mode)
    }

    fn mtu(&self) -> Finding {
        let (mtu, name) = (self.interface.mtu, &self.interface.name);
        let frags = self.frags && self.device.xdp.is_none_or(XdpFeatures::frags);
        let finding = if mtu <= ONE_BUFFER_MTU {
            Finding::new("mtu", Severity::Ok, format!("{mtu}: every frame fits into one buffer"))
        } else if frags {
            let message =
                format!("{mtu}: larger than a buffer (about {ONE_BUFFER_MTU}); XDP accepts multi-buffer frames");
            Finding::new("mtu", Severity::Ok, message)
        } else if self.device.xdp.is_some_and(|features| !features.native()) {
            Finding::new("mtu", Severity::Ok, format!("{mtu}: tc accepts frames of any size"))
        } else {
            let message = format!(
                "{mtu}: larger than a buffer (about {ONE_BUFFER_MTU}), and native XDP does not accept multi-buffer \
                 frames here: run meters by tc"
            );
            Finding::new("mtu", Severity::Warning, message).fix(format!("ip link set dev {name} mtu 1500"))
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
            let message = "the card merges packets: native XDP may be refused, and lengths are those of merged packets";
            Finding::new(check, Severity::Warning, message)
                .fix(format!("ethtool -K {} {flag} off", self.interface.name))
        } else {
            Finding::new(check, Severity::Ok, "off")
        };
        Some(finding.value(on))
    }

    fn vlan(&self) -> Option<Finding> {
        let on = self.device.has("rx-vlan-hw-parse")?;
        let finding = if on && self.takes_native() {
            let message = "the card strips VLAN tags before XDP: flows have no VLAN id";
            let command = format!("ethtool -K {} rxvlan off", self.interface.name);
            Finding::new("vlan", Severity::Note, message).fix(command)
        } else {
            Finding::new(
                "vlan",
                Severity::Ok,
                if on { "the card strips tags; tc gets them as metadata" } else { "tags stay in the frames" },
            )
        };
        Some(finding.value(on))
    }

    fn queues(&self) -> Option<Finding> {
        let (used, most) = self.device.queues?;
        let wanted = self.cpus.min(most);
        let finding = if used < wanted {
            let message =
                format!("{used} of {most} receive queues for {} CPUs: the other CPUs meter no packets", self.cpus);
            let command = format!("ethtool -L {} combined {wanted} (or rx {wanted})", self.interface.name);
            Finding::new("queues", Severity::Note, message).fix(command)
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
            let message = format!(
                "other programs at tc ingress: {}; with tc, flowml meters only what they let pass",
                others.join(", ")
            );
            Finding::new("tcx", Severity::Note, message).fix(format!("bpftool net show dev {}", self.interface.name))
        };
        Some(finding.value(others.iter().map(|name| json!(name)).collect::<Value>()))
    }
}
