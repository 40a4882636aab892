//! Community ID, version 1: a name for a flow that tools agree on (github.com/corelight/community-id-spec).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flowml_common::flow::FlowKey;
use flowml_common::headers::protocol;
use flowml_common::packet::Sender;
use sha1::{Digest, Sha1};

/// `1:` and base64 of SHA-1 over seed, both addresses, protocol, a zero and both ports, all in network order.
///
/// The smaller end stands first, as in the key; but an ICMP message that has no answer keeps its direction, type and
/// code standing in for the ports. Protocols without ports leave these out.
pub(super) fn id(key: &FlowKey, opener: Sender, seed: u16) -> String {
    let is_one_way = key.is_icmp() && !key.is_icmp_exchange();
    let first = if is_one_way { opener } else { Sender::Lower };
    let ends = [first, first.opposite()].map(|end| key.endpoint(end));
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
