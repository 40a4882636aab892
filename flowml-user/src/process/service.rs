//! What a service manager is told of the run (sd_notify(3), <https://systemd.io/> on `$NOTIFY_SOCKET`).

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, io, process};

/// How often the manager hears how the run stands.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The service manager that waits for news of this process, if there is one. It is told and never asked; what cannot be
/// sent is lost, as it would change nothing here.
#[derive(Debug, Default)]
pub struct Service {
    notify: Option<(UnixDatagram, SocketAddr)>,
    /// Within which time it wants to hear from us (`WatchdogSec=`).
    watchdog: Option<Duration>,
}

impl Service {
    /// The one that the environment names.
    #[must_use]
    pub fn of_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // The watchdog may be meant for a process that started this one.
        let meant = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process::id()));
        Self {
            notify: name.and_then(|name| Some((UnixDatagram::unbound().ok()?, address(&name).ok()?))),
            watchdog: number("WATCHDOG_USEC").filter(|us| meant && *us > 0).map(Duration::from_micros),
        }
    }

    /// How often [`alive`](Self::alive) is due, if anybody listens: twice within the watchdog's time.
    #[must_use]
    pub fn beat(&self) -> Option<Duration> {
        self.notify.as_ref()?;
        Some(self.watchdog.map_or(STATUS_EVERY, |limit| STATUS_EVERY.min(limit / 2)))
    }

    /// Metering has begun, or goes on after [`reloading`](Self::reloading).
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// What can be read anew is being read, at this time on the monotonic clock.
    pub fn reloading(&self, monotonic_ns: u64) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_ns / 1000));
    }

    /// Metering goes on.
    pub fn alive(&self, status: &str) {
        self.tell(&format!("WATCHDOG=1\nSTATUS={status}"));
    }

    /// The run comes to its end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, news: &str) {
        if let Some((socket, manager)) = &self.notify {
            let _ = socket.send_to_addr(news.as_bytes(), manager);
        }
    }
}

/// A path, or with '@' in front a name without one.
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
    fn the_manager_is_told_under_whichever_address() {
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
