//! Lists the kernel programs and maps that a process holds, and checks whether they still exist after its end.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use anyhow::{Context, Result, ensure};

/// The kind of a BPF object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ObjectKind {
    Program,
    Map,
}

// include/uapi/linux/bpf.h: `enum bpf_cmd`.
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_MAP_GET_FD_BY_ID: libc::c_long = 14;

impl ObjectKind {
    /// The kind whose id has this name in /proc/PID/fdinfo (`bpf_prog_show_fdinfo`, `bpf_map_show_fdinfo`).
    fn from_fdinfo(name: &str) -> Option<Self> {
        match name {
            "prog_id" => Some(Self::Program),
            "map_id" => Some(Self::Map),
            _ => None,
        }
    }

    fn open_command(self) -> libc::c_long {
        match self {
            Self::Program => BPF_PROG_GET_FD_BY_ID,
            Self::Map => BPF_MAP_GET_FD_BY_ID,
        }
    }
}

/// Programs and maps by their ids. The kernel assigns ids cyclically, so the id of a removed object is not reused soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects(BTreeSet<(ObjectKind, u32)>);

impl Objects {
    /// The objects that a process has open. A link counts as its program. Fails unless there is at least one program
    /// and one map.
    pub fn held_by(process: u32) -> Result<Self> {
        let directory = format!("/proc/{process}/fdinfo");
        let mut held = BTreeSet::new();
        for file in fs::read_dir(&directory).with_context(|| format!("listing {directory}"))? {
            // The descriptor may have been closed since the listing.
            let Ok(info) = fs::read_to_string(file?.path()) else { continue };
            let named = info.lines().filter_map(|line| line.split_once(':'));
            held.extend(named.filter_map(|(name, id)| Some((ObjectKind::from_fdinfo(name)?, id.trim().parse().ok()?))));
        }
        for kind in [ObjectKind::Program, ObjectKind::Map] {
            ensure!(held.iter().any(|(held, _)| *held == kind), "process {process} holds no {kind:?}");
        }
        Ok(Self(held))
    }

    /// The objects that still exist, whichever process holds them.
    pub fn existing(&self) -> Result<Self> {
        let mut existing = BTreeSet::new();
        for &(kind, id) in &self.0 {
            if exists(kind, id)? {
                existing.insert((kind, id));
            }
        }
        Ok(Self(existing))
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn exists(kind: ObjectKind, id: u32) -> Result<bool> {
    // The part of `union bpf_attr` that both commands use: id, next id, flags.
    let attributes = [id, 0, 0];
    // SAFETY: the kernel reads `attributes` within the size given.
    let opened =
        unsafe { libc::syscall(libc::SYS_bpf, kind.open_command(), attributes.as_ptr(), size_of_val(&attributes)) };
    if let Ok(fd) = i32::try_from(opened)
        && fd >= 0
    {
        // SAFETY: `fd` was opened above and has no other owner.
        unsafe { libc::close(fd) };
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(false),
        _ => Err(error).with_context(|| format!("asking for {kind:?} {id}")),
    }
}
