//! Packets and partial flows for the tests. The parser makes each of them from a frame.
#![expect(clippy::expect_used, reason = "a sample that cannot be made is a defect of the test")]

use std::net::{IpAddr, SocketAddr};

use flowml_common::counts::FlowValue;
use flowml_common::flow::{FlowKey, PartialFlow};
use flowml_common::headers::protocol;
use flowml_common::packet::{Frame, Hook, Packet};
use flowml_common::parse::parse;

use super::{EndReason, Ended, Initiator};

/// Number of bytes before the IP header of a frame.
const ETHERNET: usize = 14;

/// The properties of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time_ns: u64,
    /// For ICMP the port is the type.
    pub(crate) source: SocketAddr,
    /// For ICMP the port is the code.
    pub(crate) destination: SocketAddr,
    pub(crate) protocol: u8,
    pub(crate) flags: u8,
    pub(crate) payload: u16,
    pub(crate) ttl: u8,
    pub(crate) window: u16,
    pub(crate) sequence: u32,
    pub(crate) hook: Hook,
}

/// A TCP packet without payload.
pub(crate) fn tcp(time_ns: u64, source: &str, destination: &str, flags: u8) -> Sample {
    let end = |text: &str| text.parse().expect("an address with a port");
    Sample {
        time_ns,
        source: end(source),
        destination: end(destination),
        protocol: protocol::TCP,
        flags,
        payload: 0,
        ttl: 64,
        window: 64_240,
        sequence: 0,
        hook: Hook::File,
    }
}

/// A UDP packet.
pub(crate) fn udp(time_ns: u64, source: &str, destination: &str, payload: u16) -> Sample {
    Sample { protocol: protocol::UDP, payload, ..tcp(time_ns, source, destination, 0) }
}

impl Sample {
    /// The packet that the parser returns.
    pub(crate) fn packet(&self) -> Packet {
        self.parsed(&self.frame())
    }

    /// This packet as an ICMP error that quotes `about`, with its bytes.
    pub(crate) fn quoting(self, about: &Self) -> (Packet, Vec<u8>) {
        let quote = about.frame().split_off(ETHERNET);
        let error = Self { payload: 4 + quote.len() as u16, ..self };
        let mut bytes = error.frame();
        let begin = bytes.len() - quote.len();
        bytes[begin..].copy_from_slice(&quote);
        (error.parsed(&bytes), bytes)
    }

    fn parsed(&self, bytes: &[u8]) -> Packet {
        let frame = Frame {
            time_ns: self.time_ns,
            length: bytes.len() as u32,
            interface: 1,
            hook: self.hook,
            stripped_vlan: None,
            segments: None,
        };
        parse(&frame, bytes).expect("a frame that the parser takes")
    }

    fn frame(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([8, 0, 0x45, 0]);
                bytes.extend((20 + transport.len() as u16).to_be_bytes());
                bytes.extend([0, 0, 0, 0, self.ttl, self.protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend((transport.len() as u16).to_be_bytes());
                bytes.extend([self.protocol, self.ttl]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            _ => panic!("two addresses of one version"),
        }
        bytes.extend(transport);
        bytes
    }

    fn transport(&self) -> Vec<u8> {
        let ports = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        let mut bytes = match self.protocol {
            protocol::TCP => {
                let [high, low] = self.window.to_be_bytes();
                let sequence = self.sequence.to_be_bytes();
                [&ports[..], &sequence, &[0, 0, 0, 0, 0x50, self.flags, high, low, 0, 0, 0, 0]].concat()
            }
            protocol::UDP => [&ports[..], &(8 + self.payload).to_be_bytes(), &[0, 0]].concat(),
            protocol::SCTP => [&ports[..], &[0; 8]].concat(),
            protocol::ICMP | protocol::ICMPV6 => {
                vec![self.source.port() as u8, self.destination.port() as u8, 0, 0]
            }
            _ => Vec::new(),
        };
        bytes.resize(bytes.len() + usize::from(self.payload), 0);
        bytes
    }
}

/// The counters of one CPU for these samples of one flow.
pub(crate) fn counted_of(samples: &[Sample]) -> (FlowKey, FlowValue) {
    counted(&samples.iter().map(Sample::packet).collect::<Vec<_>>())
}

/// The counters of one CPU for these packets of one flow.
pub(crate) fn counted(packets: &[Packet]) -> (FlowKey, FlowValue) {
    let key = packets[0].key;
    assert!(packets.iter().all(|packet| packet.key == key), "packets of one flow");
    (key, FlowValue::of_all(packets).expect("a packet"))
}

/// The partial flow of these packets.
pub(crate) fn partial(packets: &[Packet]) -> PartialFlow {
    let (key, value) = counted(packets);
    value.counted(&key).partial_flow()
}

/// The partial flow of these samples.
pub(crate) fn partial_of(samples: &[Sample]) -> PartialFlow {
    partial(&samples.iter().map(Sample::packet).collect::<Vec<_>>())
}

/// The record of a flow of these samples that ended by the idle timeout.
pub(crate) fn ended(samples: &[Sample]) -> Ended {
    let PartialFlow { key, stats } = partial_of(samples);
    let initiator = Initiator::of(&key, &stats);
    let reason = EndReason::IdleTimeout;
    Ended { key, stats, contents: None, tunnel: None, windows: None, initiator, reason, continues: false }
}
