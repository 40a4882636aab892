//! The argument of the filter of packets.

use clap::Args;
use flowml_user::capture::filter::PacketFilter;

/// The filter option.
#[derive(Args, Clone, Debug)]
pub(crate) struct FilterArguments {
    /// Count only packets for which EXPR is true in flows, in the language of tcpdump, as in 'tcp port 443 and not net
    /// 10.0.0.0/8'. The others are counted as 'filtered'. Fields of headers can be compared, bytes of packets cannot. With
    /// '--tunnels inner' EXPR applies to the packet inside of the tunnel
    #[arg(long = "filter", value_name = "EXPR")]
    pub(crate) packets: Option<PacketFilter>,
}
