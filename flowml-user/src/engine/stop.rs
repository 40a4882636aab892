//! Reasons to end a run early: signals, and the end of `--duration`.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::options::Hangup;

/// Waits for the end of a run: SIGINT, SIGTERM, or the end of its time, and SIGHUP if that ends the run.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
    end: Option<tokio::time::Instant>,
}

impl Stop {
    pub(super) fn new(hangup: Hangup) -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: (hangup == Hangup::Ends).then(|| listen(SignalKind::hangup())).transpose()?,
            end: None,
        })
    }

    /// Ends the run after `duration` from now, if given.
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
            () = received(self.hangup.as_mut()) => {}
            () = time => {}
        }
    }
}

/// Waits for the signal. Waits forever if there is no signal.
pub(super) async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
