//! What ends a run before its work is done.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends a run: SIGINT, SIGTERM, or its time.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    end: Option<tokio::time::Instant>,
}

impl Stop {
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())?, end: None })
    }

    /// Ends the run after `duration` from now, if there is one.
    pub(super) fn after(&mut self, duration: Option<Duration>) {
        self.end = duration.map(|duration| tokio::time::Instant::now() + duration);
    }

    pub(super) async fn wait(&mut self) {
        let end = self.end;
        let time = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = time => {}
        }
    }
}
