//! Community ID, version 1: an identifier of a flow that many tools share (github.com/corelight/community-id-spec).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flowml_common::flow::{Endpoint, FlowKey};
use flowml_common::headers::protocol;
use sha1::{Digest, Sha1};

/// `1:` and the base64 of a SHA-1 over seed, both addresses, protocol, a zero byte and both ports, all in network byte
/// order.
///
/// The smaller endpoint comes first. For an ICMP message without a reply type, its sender comes first, the first of `ends`.
/// For ICMP, type and code take the place of the ports. Protocols without ports omit them.
pub(super) fn id(key: &FlowKey, mut ends: [Endpoint; 2], seed: u16) -> String {
    let is_one_way = key.is_icmp() && !key.is_icmp_exchange();
    if !is_one_way {
        ends.sort_unstable();
    }
    let mut hash = Sha1::new();
    hash.update(seed.to_be_bytes());
    for end in ends {
        match end.address.to_ip() {
            std::net::IpAddr::V4(address) => hash.update(address.octets()),
            std::net::IpAddr::V6(address) => hash.update(address.octets()),
        }
    }
    hash.update([key.protocol(), 0]);
    if has_ports(key) {
        for end in ends {
            hash.update(end.port.to_be_bytes());
        }
    }
    format!("1:{}", BASE64_STANDARD.encode(hash.finalize()))
}

fn has_ports(key: &FlowKey) -> bool {
    let ported = matches!(key.protocol(), protocol::TCP | protocol::UDP | protocol::SCTP) || key.is_icmp();
    ported && !key.later_fragment()
}
