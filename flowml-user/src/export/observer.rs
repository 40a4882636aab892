//! Observers of a run: they show or count its progress (console, terminal UI, metrics).

use std::error::Error;
use std::ops::ControlFlow;

use flowml_common::flow::PartialFlow;

use super::recorded::RecordedFlow;
use super::report::{Began, IntervalReport, OutputLine, RowCounts, Totals};
use crate::features::HostWindow;
use crate::incident::{Incident, State};
use crate::learning::Verdict;
use crate::session::Standing;

/// Observes a run. All methods are called on the thread that processes flows, so none may block. An observer implements
/// those that it needs.
pub trait Observer: Send {
    /// Metering begins: all interfaces are attached and all outputs are open.
    ///
    /// # Errors
    /// If the run cannot be observed; it ends then.
    fn begin(&mut self, _began: &Began) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    /// A partial flow was drained. It is traffic, not a record.
    fn partial_flow(&mut self, _partial: &PartialFlow, _standing: Standing) {}

    /// A flow was scored. Whether its hosts are `in_incident` counts for anomalies.
    fn flow(&mut self, _flow: RecordedFlow, _verdict: &Verdict, _in_incident: bool) {}

    /// A host window was scored.
    fn host(&mut self, _window: &HostWindow, _verdict: &Verdict) {}

    /// An incident was opened or closed.
    fn incident(&mut self, _state: State, _incident: &Incident) {}

    /// An interval has ended.
    fn interval(&mut self, _report: &IntervalReport, _rows: &RowCounts, _outputs: &[OutputLine]) {}

    /// Something happened that users may want to know.
    fn notice(&mut self, _text: &str) {}

    /// Something happened that users must know.
    fn warn(&mut self, _text: &str) {}

    /// The run was woken, because there is something new for this observer outside the run, such as a key. Breaks if the
    /// run is to end.
    fn wake(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// The run is about to end. The remaining work may take a while.
    fn ending(&mut self) {}

    /// The run has ended.
    fn finish(&mut self, _totals: &Totals, _rows: &RowCounts, _outputs: &[OutputLine]) {}
}
