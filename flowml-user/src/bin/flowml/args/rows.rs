//! The arguments of the rows that `flowml run` and `flowml read` make of packets.

use clap::Args;
use flowml_user::features::{FlowColumns, RowColumns};
use flowml_user::record::Inspector;

use super::alarms::AlarmArguments;
use super::content::ContentArguments;
use super::filter::FilterArguments;
use super::tunnels::TunnelArguments;

/// The arguments that decide what rows contain: the alarm level, the seed, the payload, the tunnels and the filter.
#[derive(Args, Clone, Debug)]
pub(crate) struct RowArguments {
    /// The alarm level.
    #[command(flatten)]
    pub(crate) alarms: AlarmArguments,

    /// Seed of all random choices: the same seed and records give the same clusters and scores [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) seed: u64,

    /// The payload options.
    #[command(flatten)]
    pub(crate) content: ContentArguments,

    /// The tunnel options.
    #[command(flatten)]
    pub(crate) tunnels: TunnelArguments,

    /// The filter option.
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
}

impl RowArguments {
    /// The columns of the rows of flows that `inspector` inspects.
    #[must_use]
    pub(crate) fn columns(&self, inspector: Option<&Inspector>) -> RowColumns {
        RowColumns { flows: FlowColumns::of(inspector), tunnels: self.tunnels.has_columns() }
    }

    pub(super) fn contradiction(&self) -> Option<String> {
        let filter =
            self.filter.packets.as_ref().filter(|filter| filter.needs_tunnels() && !self.tunnels.has_columns());
        let unread = filter.map(|_| {
            "'tunnel' in '--filter' needs tunnels that are looked into: expected '--tunnels inner' as well".to_owned()
        });
        self.content.contradiction().or_else(|| self.tunnels.contradiction()).or(unread)
    }
}
