//! Errors of folders with pins.

use std::io;
use std::path::PathBuf;

use flowml_common::handover::LAYOUT;
use thiserror::Error;

/// An error that prevents using a folder, or continuing the table in it.
#[derive(Debug, Error)]
pub enum PinError {
    /// The folder is not in a BPF file system, and pins are files of a BPF file system.
    #[error(
        "{folder:?} is not in a BPF file system: expected a folder in one, as in /sys/fs/bpf/flowml (mount -t bpf bpf /sys/fs/bpf)"
    )]
    NotBpffs {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused access to the folder.
    #[error("cannot use the folder {folder:?}: {error}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// Another agent uses the table. A table has one agent.
    #[error("another flowml uses {folder:?}: stop it first, or name another folder")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder contains a file that is not flowml's. Only known files are removed.
    #[error("{folder:?} contains {name:?}, which is not a pin of flowml: expected a folder for flowml only")]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The name of the file.
        name: String,
    },
    /// The folder contains no pins.
    #[error("{folder:?} contains no pins of flowml")]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
    /// The table has the layout of another version.
    #[error(
        "the flow table in {folder:?} has layout {found}, and this flowml reads layout {}: remove it with \
         'flowml unpin {}', or continue with the version that made it", LAYOUT, .folder.display()
    )]
    Layout {
        /// The folder.
        folder: PathBuf,
        /// The number of the found layout.
        found: u64,
    },
    /// The table belongs to another network namespace, where interface numbers have other meanings.
    #[error(
        "the flow table in {folder:?} is of another network namespace: run flowml in that namespace, or remove the table with 'flowml unpin {}'",
        .folder.display()
    )]
    Namespace {
        /// The folder.
        folder: PathBuf,
    },
    /// The table was made with other parameters.
    #[error("the flow table in {folder:?} was made with {kept}: use the same options, or remove the table with 'flowml unpin {}'", .folder.display())]
    Contradiction {
        /// The folder.
        folder: PathBuf,
        /// The option and its value.
        kept: String,
    },
    /// The files in the folder are inconsistent: something else changed them.
    #[error("the pins in {folder:?} are inconsistent ({what}): remove them with 'flowml unpin {}'", .folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// The inconsistency.
        what: String,
    },
    /// The interface is metered through a tc filter, which cannot be pinned.
    #[error(
        "{interface} can be metered only while an agent runs, because tc programs have no bpf_link before Linux 6.6: leave \
         out '--pin', or meter only ingress by XDP"
    )]
    NoLink {
        /// The interface.
        interface: String,
    },
    /// BPF_OBJ_PIN or BPF_OBJ_GET failed.
    #[error("cannot pin or open {path:?}: {reason}")]
    Object {
        /// The path of the pin.
        path: PathBuf,
        /// The error of the kernel.
        reason: String,
    },
}
