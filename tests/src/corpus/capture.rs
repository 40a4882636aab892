//! Captures packets of an interface by tcpdump.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::lab::{Interface, wait_until};
use crate::process::Process;

/// Bytes of a frame that are kept: all headers. The length on the wire is recorded nevertheless.
const SNAP_LENGTH: &str = "128";

/// Size of the kernel's buffer in KiB.
const BUFFER: &str = "65536";

/// Longest time for tcpdump to start, and to write the rest at its end.
const LIMIT: Duration = Duration::from_secs(20);

/// The direction of captured packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Sent and received packets.
    Both,
    /// Received packets: the packets that a meter by XDP sees.
    Ingress,
}

impl View {
    /// All views, each with the file name suffix of its capture.
    pub(super) const ALL: [(Self, &str); 2] = [(Self::Both, ".pcap"), (Self::Ingress, "-ingress.pcap")];

    /// The name of the direction for tcpdump.
    const fn name(self) -> &'static str {
        match self {
            Self::Both => "inout",
            Self::Ingress => "in",
        }
    }
}

/// A running capture of an interface.
pub(super) struct Capture(Process);

impl Capture {
    pub(super) fn start(at: &Interface, view: View, file: &Path) -> Result<Self> {
        let file = file.to_str().context("the capture's path: expected UTF-8")?;
        let command = [
            "tcpdump",
            "-n",
            "-p",
            "-s",
            SNAP_LENGTH,
            "-B",
            BUFFER,
            "-Z",
            "root",
            "-Q",
            view.name(),
            "-i",
            &at.name,
            "-w",
            file,
        ];
        let capture = Self(at.host.spawn(command)?);
        let begun = || {
            ensure!(capture.0.is_running()?, "it has ended");
            Ok(capture.0.stderr().text().contains("listening on"))
        };
        wait_until(LIMIT, begun).with_context(|| format!("messages of tcpdump: {}", capture.0.stderr().text()))?;
        Ok(capture)
    }

    /// Ends the capture. Fails if packets were lost.
    pub(super) fn stop(self) -> Result<()> {
        // tcpdump reads its buffer once a second.
        thread::sleep(Duration::from_millis(1200));
        self.0.signal(Signal::INT)?;
        let output = self.0.wait(LIMIT)?;
        let message = String::from_utf8_lossy(&output.stderr);
        let whole = output.status.success() && message.contains("\n0 packets dropped by kernel");
        ensure!(whole, "the capture is not whole; messages of tcpdump: {message}");
        Ok(())
    }
}
