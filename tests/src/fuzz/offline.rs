//! Runs the stages of `flowml read` that do not depend on files.
//!
//! Packet accounting must be consistent, and every row can be written.

use std::time::Duration;

use flowml_common::table::Storage as _;
use flowml_user::capture::file::Captured;
use flowml_user::capture::vectors::VecTable;
use flowml_user::engine::Pipeline;
use flowml_user::engine::epochs::Epochs;
use flowml_user::engine::offline::Offline;
use flowml_user::export::{Destination, Pace, Sinks, Target};
use flowml_user::features::{FlowColumns, RowColumns};
use flowml_user::record::Inspector;
use flowml_user::session::Timeouts;

/// An inspector of payload without patterns.
pub(super) fn inspector() -> Inspector {
    Inspector::new(&[]).expect("no pattern is too large")
}

/// A run over frames.
pub(super) struct Run(Offline<VecTable>);

impl Run {
    /// Starts a run whose rows are formatted in all line formats and discarded.
    pub(super) fn begin(table: VecTable, timeouts: Timeouts, interval: Duration) -> Self {
        let inspector = Some(inspector());
        let tunnels = table.tunnels().is_some();
        let columns = RowColumns { flows: FlowColumns::of(inspector.as_ref()), tunnels };
        let nowhere = || Destination::File("/dev/null".into());
        let targets = [Target::Jsonl(nowhere()), Target::Csv(nowhere())];
        let sinks = Sinks::open(&targets, columns, Pace::Offline);
        let sinks = sinks.expect("nowhere is always there");
        let pipeline = Pipeline::new(timeouts, Vec::new(), None, sinks, 0, 0).with_inspector(inspector);
        let pipeline = pipeline.with_tunnels(tunnels);
        let epochs = Epochs::new(interval, timeouts.idle);
        Self(Offline::new(table, pipeline, epochs).expect("there is a thread"))
    }

    /// Counts a frame.
    pub(super) fn count(&mut self, captured: &Captured<'_>) {
        let flow = self.0.count(captured).expect("memory does not fail");
        assert!(flow.is_continue(), "no reader can close its end");
    }

    /// Ends the run.
    pub(super) fn finish(self) {
        let finished = self.0.finish().expect("memory does not fail");
        finished.outputs.expect("nowhere takes everything");
        assert!(finished.conserved, "received = in flows + skipped");
    }
}
