//! Frames for the property tests, and the packets that the parser makes of them.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]
#![expect(clippy::expect_used, reason = "a frame that cannot be made is a defect of the test")]

use flowml_common::headers::protocol;
use flowml_common::packet::{Frame, Hook, Packet, Segments};
use flowml_common::parse::parse;
use proptest::prelude::*;

/// Length of Ethernet, IPv4 and TCP headers, in bytes.
pub(crate) const HEADERS: u32 = 14 + 20 + 20;

/// A TCP segment, or a UDP datagram, between 10.0.0.1 and 10.0.0.2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time_ns: u64,
    pub(crate) protocol: u8,
    pub(crate) from_upper: bool,
    pub(crate) port: u16,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) ttl: u8,
    pub(crate) service: u8,
    pub(crate) payload: u16,
    pub(crate) hook: Hook,
    /// Last byte of the MAC address of the sending NIC.
    pub(crate) mac: u8,
}

impl Sample {
    /// The bytes of the frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header: u16 = if self.protocol == protocol::TCP { 20 } else { 8 };
        let (source, destination) = if self.from_upper { (2, 1) } else { (1, 2) };
        let [client, server] = [self.port.to_be_bytes(), 443u16.to_be_bytes()];
        let ports = if self.from_upper { [server, client] } else { [client, server] };
        let length = (20 + header + self.payload).to_be_bytes();
        let mut bytes = vec![2, 0, 0, 0, 0, self.mac, 2, 0, 0, 0, 1, self.mac, 8, 0];
        bytes.extend([0x45, self.service, length[0], length[1], 0, 0, 0, 0, self.ttl, self.protocol, 0, 0]);
        bytes.extend([10, 0, 0, source, 10, 0, 0, destination]);
        bytes.extend(ports.concat());
        if self.protocol == protocol::TCP {
            let window = self.window.to_be_bytes();
            bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, self.flags, window[0], window[1], 0, 0, 0, 0]);
        } else {
            bytes.extend([0; 4]);
        }
        bytes.resize(bytes.len() + usize::from(self.payload), 0);
        bytes
    }

    /// The properties of the frame that are not in its bytes.
    pub(crate) fn frame(&self) -> Frame {
        Frame {
            time_ns: self.time_ns,
            length: self.bytes().len() as u32,
            interface: 1,
            hook: self.hook,
            stripped_vlan: None,
            segments: None,
        }
    }

    /// The packet that the parser returns.
    pub(crate) fn packet(&self) -> Packet {
        parse(&self.frame(), self.bytes().as_slice()).expect("a frame that the parser takes")
    }

    /// The same buffer, to be segmented into `size` bytes of payload each.
    pub(crate) fn super_packet(&self, size: u32) -> Packet {
        let frame = Frame { segments: Some(Segments { count: 0, size }), ..self.frame() };
        parse(&frame, self.bytes().as_slice()).expect("a frame that the parser takes")
    }
}

/// Inter-arrival times within one ns, within one µs, and far apart.
fn gap_ns() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 2 => 1..3000u64, 4 => 1000..10_000_000u64, 1 => 1_000_000_000..100_000_000_000u64]
}

/// Packets of one flow, in the order of time.
pub(crate) fn flow(packets: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Packet>> {
    let hook = prop_oneof![Just(Hook::Xdp), Just(Hook::Egress)];
    let sample = (gap_ns(), any::<bool>(), any::<u8>(), any::<u16>(), 1..5u8, 0..3u8, 0..1400u16, hook, 0..3u8);
    prop::collection::vec(sample, packets).prop_map(|samples| {
        let mut time_ns = 1_000;
        let packet = |(gap_ns, from_upper, flags, window, ttl, service, payload, hook, mac)| {
            time_ns += gap_ns;
            let protocol = protocol::TCP;
            // So that many packets have the same length.
            let payload = if payload < 700 { 0 } else { payload };
            Sample { time_ns, protocol, from_upper, port: 5000, flags, window, ttl, service, payload, hook, mac }
                .packet()
        };
        samples.into_iter().map(packet).collect()
    })
}
