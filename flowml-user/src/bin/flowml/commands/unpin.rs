//! `flowml unpin`: removes what agents have pinned in the kernel.

use std::io::{self, Write};

use anyhow::{Context, Result};
use flowml_user::capture::pins::{Pins, Removed};
use flowml_user::process::plain;
use flowml_user::process::words::counted;

use crate::args::Unpin;

/// Removes the pins, and prints what was removed.
///
/// # Errors
/// If there are none, if an agent uses them, or if the system refuses.
pub(crate) fn run(arguments: &Unpin) -> Result<()> {
    let folder = arguments.folder.display();
    let removed = Pins::existing(&arguments.folder)?.remove().with_context(|| format!("cannot unpin {folder}"))?;
    let written = writeln!(io::stdout(), "{}", plain::line(&format!("{folder}: {}", describe(&removed))));
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

fn describe(removed: &Removed) -> String {
    let Removed { links, maps, unread, account } = removed;
    let what = format!("removed {} and {}", counted(*links as u64, "link"), counted(*maps as u64, "map"));
    let (Some(unread), Some(account)) = (unread, account) else {
        return format!(
            "{what}; the packets in the table cannot be counted, because it is incomplete or of another version"
        );
    };
    let taken = counted(account.received.packets, "packet");
    let of_these = match account.unreported.packets {
        0 => String::new(),
        lost => format!(" (at most {} of them in no record)", counted(lost, "packet")),
    };
    let unread = counted(unread.packets, "packet");
    format!("{what}; agents drained {taken}{of_these}; never read: {unread}")
}
