//! The folder in a BPF file system through which a table and its links outlive the agent: its contents and its lock.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::mem::offset_of;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use bytemuck::Pod;
use flowml_common::handover::{Account, Handover, LAYOUT, MAGIC};
use flowml_common::table::{Count, Head};
use rustix::fs::{FlockOperation, flock, statfs};

use super::attach::Mode;
use super::error::{CaptureError, chain};
use super::handover::settled;
use super::kernel::size::EPOCHS;
use super::pin_error::PinError;
use super::shared::SharedArray;

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPFFS: u64 = 0xcafe_4a11;

/// The maps that outlive an agent, with the names of their files. The table is complete when the last one is pinned.
pub(super) const KEPT: [(&str, &str); 9] = [
    ("HEADS", "heads"),
    ("STRAYS", "strays"),
    ("TAGS", "tags"),
    ("ENTRIES", "entries"),
    ("COLD", "cold"),
    ("CHUNKS", "chunks"),
    ("OUTERS", "outers"),
    (".data.epoch", "epoch"),
    ("HANDOVER", WHOLE),
];

const WHOLE: &str = "handover";

/// The prefix of the names of links. The hook and the number of the interface follow.
const LINK: &str = "link_";

/// A link that is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkPin {
    /// The hook: the name of a mode, or `egress`.
    pub(super) hook: String,
    /// The number of its interface.
    pub(super) index: u32,
}

impl LinkPin {
    fn of_name(name: &str) -> Option<Self> {
        let (hook, index) = name.strip_prefix(LINK)?.rsplit_once('_')?;
        Some(Self { hook: hook.to_owned(), index: index.parse().ok()? })
    }

    fn name(&self) -> String {
        format!("{LINK}{}_{}", self.hook, self.index)
    }
}

/// The result of [`Pins::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Number of programs that were attached.
    pub links: usize,
    /// Number of maps.
    pub maps: usize,
    /// The packets and bytes in the table that no agent had read. `None` if the table has another layout.
    pub unread: Option<Count>,
    /// The packets and bytes that agents took from the table. `None` if it has another layout.
    pub account: Option<Account>,
}

/// The folder. This process holds its lock until the value is dropped.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    /// The lock is on the folder, because files of a BPF file system cannot be opened.
    lock: File,
    /// Whether this process created the folder.
    made: bool,
}

impl Pins {
    /// Opens and locks the folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// If the folder is not in a BPF file system, or if another process has locked it.
    pub fn open(folder: &Path) -> Result<Self, PinError> {
        let refused = |error| PinError::Folder { folder: folder.to_owned(), error };
        let made = !folder.try_exists().map_err(refused)?;
        if made {
            require_bpffs(parent(folder), folder)?;
            DirBuilder::new().mode(0o700).create(folder).map_err(refused)?;
        }
        Self::lock(folder, made)
    }

    /// Opens and locks the folder without creating it. `None` if it does not exist but could be created.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(folder: &Path) -> Result<Option<Self>, PinError> {
        match folder.try_exists() {
            Ok(false) => require_bpffs(parent(folder), folder).map(|()| None),
            Ok(true) => Self::lock(folder, false).map(Some),
            Err(error) => Err(PinError::Folder { folder: folder.to_owned(), error }),
        }
    }

    /// Opens and locks the folder, which must contain pins.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if there are no pins.
    pub fn existing(folder: &Path) -> Result<Self, PinError> {
        let pins = Self::lock(folder, false)?;
        if pins.names()?.is_empty() {
            return Err(PinError::Nothing { folder: folder.to_owned() });
        }
        Ok(pins)
    }

    fn lock(folder: &Path, made: bool) -> Result<Self, PinError> {
        require_bpffs(folder, folder)?;
        let refused = |error| PinError::Folder { folder: folder.to_owned(), error };
        let lock = File::open(folder).map_err(refused)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder: folder.to_owned(), lock, made }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(PinError::InUse { folder: folder.to_owned() }),
            Err(error) => Err(refused(error.into())),
        }
    }

    /// The path of the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a map or link.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of a link.
    pub(super) fn link_path(&self, link: &LinkPin) -> PathBuf {
        self.path(&link.name())
    }

    /// The state of the table in the folder, if there is a table.
    ///
    /// # Errors
    /// If this version or this namespace cannot continue the table, or if files are missing.
    pub fn table(&self) -> Result<Option<Handover>, CaptureError> {
        let names = self.names()?;
        if !names.iter().any(|name| name == WHOLE) {
            return Ok(None);
        }
        let folder = || self.folder.clone();
        let [magic, layout] = self.start()?;
        if magic != MAGIC {
            return Err(PinError::Damaged { folder: folder(), what: "the handover is missing".to_owned() }.into());
        }
        if layout != LAYOUT {
            return Err(PinError::Layout { folder: folder(), found: layout }.into());
        }
        if let Some((_, missing)) = KEPT.iter().find(|(_, file)| !names.iter().any(|name| name == file)) {
            return Err(PinError::Damaged { folder: folder(), what: format!("no {missing}") }.into());
        }
        let handover = self.handover()?;
        if handover.namespace != namespace()? {
            return Err(PinError::Namespace { folder: folder() }.into());
        }
        Ok(Some(handover))
    }

    /// Removes the files of an agent that was killed before its table was complete.
    pub(super) fn forget_unfinished(&self) -> Result<(), PinError> {
        self.names()?.iter().try_for_each(|name| self.remove_file(name))
    }

    /// Whether a complete table is pinned.
    pub(super) fn is_whole(&self) -> bool {
        self.path(WHOLE).exists()
    }

    /// The packets and bytes that agents took from the table in the folder, if there is a table.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn account(&self) -> Result<Option<Account>, CaptureError> {
        Ok(self.table()?.as_ref().map(settled))
    }

    /// The metered interfaces: the number of each, and the name of its mode.
    ///
    /// # Errors
    /// If the folder cannot be read, or contains a file that is not flowml's.
    pub fn modes(&self) -> Result<Vec<(u32, String)>, PinError> {
        let ingress = |link: &LinkPin| Mode::ALL.iter().any(|mode| mode.name() == link.hook);
        Ok(self.links()?.into_iter().filter(ingress).map(|link| (link.index, link.hook)).collect())
    }

    /// The number of the epoch that the programs write to.
    pub(super) fn epoch(&self) -> Result<u32, CaptureError> {
        let epoch: Array<MapData, u32> = Map::from_map_data(self.map("epoch")?)?.try_into()?;
        Ok(epoch.get(&0, 0)?)
    }

    /// All pinned links.
    pub(super) fn links(&self) -> Result<Vec<LinkPin>, PinError> {
        Ok(self.names()?.iter().filter_map(|name| LinkPin::of_name(name)).collect())
    }

    /// Pins a map.
    pub(super) fn pin(&self, name: &str, map: &Map) -> Result<(), PinError> {
        let path = self.path(name);
        map.pin(&path).map_err(|error| PinError::Object { path, reason: chain(&error) })
    }

    /// Removes a link. The kernel detaches its program from the interface.
    pub(super) fn remove_link(&self, link: &LinkPin) -> Result<(), PinError> {
        self.remove_file(&link.name())
    }

    /// Removes all files, and the folder.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn remove(mut self) -> Result<Removed, CaptureError> {
        let links = self.links()?;
        links.iter().try_for_each(|link| self.remove_link(link))?;
        // From here on no program counts.
        let readable = self.start().is_ok_and(|start| start == [MAGIC, LAYOUT]);
        let handover = if readable { Some(self.handover()?) } else { None };
        let unread = handover.map(|handover| self.unread(&handover)).transpose()?;
        let names = self.names()?;
        // The file that marks the table as complete is removed first.
        self.remove_file(WHOLE)?;
        names.iter().filter(|name| *name != WHOLE).try_for_each(|name| self.remove_file(name))?;
        self.made = true;
        let account = handover.as_ref().map(settled);
        Ok(Removed { links: links.len(), maps: names.len(), unread, account })
    }

    /// The packets and bytes in the table, without those of an epoch that was committed but not cleared.
    fn unread(&self, handover: &Handover) -> Result<Count, CaptureError> {
        let partitions = handover.constants.cpus * EPOCHS;
        let heads: SharedArray<Head> = self.shared("heads", partitions as usize)?;
        let strays: SharedArray<Count> = self.shared("strays", EPOCHS as usize)?;
        let mut unread = Count::default();
        let counted =
            |epoch: &u32| handover.committed == handover.cleared || u64::from(*epoch) == handover.committed & 1;
        for epoch in (0..EPOCHS).filter(counted) {
            for partition in (epoch..partitions).step_by(EPOCHS as usize) {
                let [packets, bytes] = counts(&heads, partition as usize, offset_of!(Head, received));
                unread.add(packets, bytes);
            }
            let [packets, bytes] = counts(&strays, epoch as usize, 0);
            unread.add(packets, bytes);
        }
        Ok(unread)
    }

    fn start(&self) -> Result<[u64; 2], CaptureError> {
        let start: SharedArray<[u64; 2]> = self.shared(WHOLE, 1)?;
        Ok([0, 8].map(|offset| start.load_u64(0, offset)))
    }

    fn handover(&self) -> Result<Handover, CaptureError> {
        let shared: SharedArray<Handover> = self.shared(WHOLE, 1)?;
        // SAFETY: only agents write to this map, and this process has locked the folder.
        Ok(unsafe { shared.slice(0, 1)[0] })
    }

    fn shared<T: Pod>(&self, name: &'static str, len: usize) -> Result<SharedArray<T>, CaptureError> {
        SharedArray::map(self.map(name)?.fd(), len).map_err(|error| CaptureError::Map { name, error })
    }

    fn map(&self, name: &str) -> Result<MapData, PinError> {
        let path = self.path(name);
        MapData::from_pin(&path).map_err(|error| PinError::Object { path, reason: chain(&error) })
    }

    /// The names of the files in the folder. All of them must be flowml's.
    fn names(&self) -> Result<Vec<String>, PinError> {
        let refused = |error| PinError::Folder { folder: self.folder.clone(), error };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name().to_string_lossy().into_owned();
            let known = KEPT.iter().any(|(_, file)| *file == name) || LinkPin::of_name(&name).is_some();
            if !known {
                return Err(PinError::Foreign { folder: self.folder.clone(), name });
            }
            names.push(name);
        }
        Ok(names)
    }

    fn remove_file(&self, name: &str) -> Result<(), PinError> {
        let path = self.path(name);
        // Without this descriptor the kernel may defer the detachment. With it, the program is detached when it is
        // dropped.
        let held: Option<FdLink> = PinnedLink::from_pin(&path).ok().map(FdLink::from);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(PinError::Folder { folder: self.folder.clone(), error })
            }
            _ => {
                drop(held);
                Ok(())
            }
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // Succeeds only if the folder is empty: a start that failed leaves nothing.
        if self.made {
            let _ = fs::remove_dir(&self.folder);
        }
        // A copy of the descriptor in a child process that has not called `exec` yet would keep the lock. This fails only
        // for a descriptor that is not open.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

fn parent(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A counter of packets and bytes, which programs may be changing.
fn counts<T: Pod>(of: &SharedArray<T>, n: usize, offset: usize) -> [u64; 2] {
    let (packets, bytes) = (offset_of!(Count, packets), offset_of!(Count, bytes));
    [packets, bytes].map(|field| of.load_u64(n, offset + field))
}

fn require_bpffs(there: &Path, folder: &Path) -> Result<(), PinError> {
    let found = statfs(there).map_err(|error| PinError::Folder { folder: folder.to_owned(), error: error.into() })?;
    if found.f_type as u64 == BPFFS { Ok(()) } else { Err(PinError::NotBpffs { folder: folder.to_owned() }) }
}

/// The inode number of this thread's network namespace.
pub(super) fn namespace() -> Result<u64, CaptureError> {
    const FILE: &str = "/proc/thread-self/ns/net";
    fs::metadata(FILE).map(|file| file.ino()).map_err(|error| CaptureError::File { file: FILE, error })
}
