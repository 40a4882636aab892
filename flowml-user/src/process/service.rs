//! Notifications to the service manager (sd_notify(3), <https://systemd.io/> on `$NOTIFY_SOCKET`).

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, io, process};

/// Interval at which the status of the run is sent.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The service manager of this process, if there is one. Messages to it have no reply. A message that cannot be sent is
/// lost, and the run continues.
#[derive(Debug, Default)]
pub(crate) struct Service {
    notify: Option<(UnixDatagram, SocketAddr)>,
    /// The longest time between two messages (`WatchdogSec=`).
    watchdog: Option<Duration>,
}

impl Service {
    /// The service manager of the environment variables.
    #[must_use]
    pub(crate) fn of_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // The watchdog may be for a process that started this one.
        let meant = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process::id()));
        Self {
            notify: name.and_then(|name| Some((UnixDatagram::unbound().ok()?, address(&name).ok()?))),
            watchdog: number("WATCHDOG_USEC").filter(|us| meant && *us > 0).map(Duration::from_micros),
        }
    }

    /// Interval at which [`alive`](Self::alive) must be called: half of the watchdog's time or less. `None` without a
    /// service manager.
    #[must_use]
    pub(crate) fn beat(&self) -> Option<Duration> {
        self.notify.as_ref()?;
        Some(self.watchdog.map_or(STATUS_EVERY, |limit| STATUS_EVERY.min(limit / 2)))
    }

    /// Reports that metering started, or continues after a reload.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Reports that files are being read again, at this time of the monotonic clock.
    pub(crate) fn reloading(&self, monotonic_ns: u64) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_ns / 1000));
    }

    /// Reports that metering continues.
    pub(crate) fn alive(&self, status: &str) {
        self.send(&format!("WATCHDOG=1\nSTATUS={status}"));
    }

    /// Reports that the run ends.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        if let Some((socket, manager)) = &self.notify {
            let _ = socket.send_to_addr(message.as_bytes(), manager);
        }
    }
}

/// A path, or the name of an abstract socket with '@' in front.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_notified_at_both_kinds_of_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let abstract_name = format!("@flowml-test-{}", process::id());
        for name in [path.as_os_str(), OsStr::new(&abstract_name)] {
            let address = address(name).expect("an address");
            let manager = UnixDatagram::bind_addr(&address).expect("a socket");
            let notify = Some((UnixDatagram::unbound().expect("a socket"), address));
            let service = Service { notify, watchdog: Some(Duration::from_secs(4)) };
            service.ready("metering");
            let mut text = [0; 100];
            let length = manager.recv(&mut text).expect("a message");
            assert_eq!(&text[..length], b"READY=1\nSTATUS=metering");
            assert_eq!(service.beat(), Some(Duration::from_secs(2)));
        }
        let nobody = Service::default();
        nobody.stopping();
        assert_eq!(nobody.beat(), None);
    }
}
