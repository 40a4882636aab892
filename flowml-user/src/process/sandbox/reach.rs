//! Which files and ports a process may reach (Landlock, landlock(7)).

use std::path::{Path, PathBuf};
use std::{env, fs};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{FileType, fstat};

/// What is asked for where the kernel has it: files from 5.13 on, TCP from 6.7, scopes from 6.12.
const WANTED: ABI = ABI::V6;

/// What is read of the system at the start of a run and later: processors, memory, types of the kernel, this process.
const SYSTEM: [&str; 2] = ["/proc", "/sys"];

/// What libraries read to find the address of a host, and those that they load for it. Such files are replaced by others of the
/// same name, so that folders are named.
const RESOLVER: [&str; 6] = ["/etc", "/run", "/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// The port of name servers, which are asked by TCP where an answer is long.
const DNS: u16 = 53;

/// What may be done in a folder that is written to. No file may be executed; no link, device or socket made.
const WRITE: [AccessFs; 7] = [
    AccessFs::ReadFile,
    AccessFs::ReadDir,
    AccessFs::WriteFile,
    AccessFs::Truncate,
    AccessFs::MakeReg,
    AccessFs::MakeDir,
    AccessFs::RemoveFile,
];

/// What may be done with a device or a pipe that is written to.
const DEVICE: [AccessFs; 3] = [AccessFs::ReadFile, AccessFs::WriteFile, AccessFs::IoctlDev];

/// The files and ports that are named. What is not there yet cannot be named: of a new file, its folder is.
#[derive(Debug, Default)]
pub struct Reach {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    devices: Vec<PathBuf>,
    temporary: Option<PathBuf>,
    removed_from: Option<PathBuf>,
    connect: Vec<u16>,
    listen: Vec<u16>,
    /// Sockets with a name that is no path ('@' in front), which can be told apart by nothing.
    abstract_sockets: bool,
}

impl Reach {
    /// Files of the system that every run reads.
    #[must_use]
    pub fn system() -> Self {
        let own = env::current_exe();
        // A panic reads the symbols of this program.
        let read = SYSTEM.map(PathBuf::from).into_iter().chain(own).collect();
        Self { read, ..Self::default() }
    }

    /// Reads this file, or what is in this folder.
    pub fn read(&mut self, path: &Path) {
        self.read.push(path.to_owned());
    }

    /// Reads this file, and what takes its place.
    pub fn read_beside(&mut self, path: &Path) {
        self.read.push(folder_of(path).to_owned());
        self.read.extend(path.canonicalize());
    }

    /// Reads and writes what is in this folder. It is made where there is none, as it could not be named; where that fails,
    /// so does opening files in it, which says why.
    pub fn write_in(&mut self, folder: &Path) {
        let _ = fs::create_dir_all(folder);
        self.write.push(folder.to_owned());
    }

    /// Makes and removes folders and files where temporary ones are.
    pub fn write_temporary(&mut self) {
        self.temporary = Some(env::temp_dir());
    }

    /// Takes this folder away once it is empty.
    pub fn remove(&mut self, folder: &Path) {
        self.removed_from = Some(folder_of(folder).to_owned());
    }

    /// Makes this file, and others beside it, and reads what a link in its place leads to; where it is a device or a pipe, writes
    /// to it alone.
    pub fn write(&mut self, path: &Path) {
        match is_device(path) {
            true => self.devices.push(path.to_owned()),
            false => {
                self.write.push(folder_of(path).to_owned());
                self.read.extend(path.canonicalize());
            }
        }
    }

    /// Writes to the file that is there, wherever a link leads to.
    pub fn write_through(&mut self, path: &Path) {
        let behind = path.canonicalize();
        self.write(behind.as_deref().unwrap_or(path));
    }

    /// Connects to TCP ports of this number.
    pub fn connect(&mut self, port: u16) {
        self.connect.push(port);
    }

    /// Listens at TCP ports of this number.
    pub fn listen(&mut self, port: u16) {
        self.listen.push(port);
    }

    /// Finds the addresses of hosts.
    pub fn resolve(&mut self) {
        self.read.extend(RESOLVER.map(PathBuf::from));
        self.connect(DNS);
    }

    /// Sends to sockets that have a name without a file.
    pub fn send_to_abstract_sockets(&mut self) {
        self.abstract_sockets = true;
    }

    /// Whether a file of this name could be read and written: it lies in a folder that is written to.
    #[must_use]
    pub fn includes(&self, path: &Path) -> bool {
        let Ok(folder) = folder_of(path).canonicalize() else { return false };
        self.write.iter().filter_map(|known| known.canonicalize().ok()).any(|known| folder.starts_with(known))
    }

    /// Confines this thread, and those that it starts from now on, to what is named.
    ///
    /// # Errors
    /// Where the kernel refuses; what is missing in older ones is no error.
    pub(super) fn confine(&self) -> Result<RestrictionStatus, RulesetError> {
        let scopes = if self.abstract_sockets { Scope::Signal.into() } else { Scope::from_all(WANTED) };
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(WANTED))?
            .handle_access(AccessNet::from_all(WANTED))?
            .scope(scopes)?
            .create()?;
        for (paths, access) in [
            (&self.read, AccessFs::ReadFile | AccessFs::ReadDir),
            (&self.write, WRITE.into_iter().collect()),
            (&self.devices, DEVICE.into_iter().collect()),
        ] {
            paths.iter().for_each(|path| permit(&mut ruleset, path, access));
        }
        if let Some(folder) = &self.removed_from {
            permit(&mut ruleset, folder, AccessFs::RemoveDir.into());
        }
        if let Some(folder) = &self.temporary {
            permit(&mut ruleset, folder, WRITE.into_iter().collect::<BitFlags<_>>() | AccessFs::RemoveDir);
        }
        for (ports, access) in [(&self.connect, AccessNet::ConnectTcp), (&self.listen, AccessNet::BindTcp)] {
            for port in ports {
                ruleset = ruleset.add_rule(NetPort::new(*port, access))?;
            }
        }
        ruleset.restrict_self()
    }
}

/// Adds a rule for what is there. Where there is nothing, or something of which Landlock knows no names (a pipe behind
/// /dev/stdout), there can be none: opening it later says what is wrong, if anything is.
fn permit(ruleset: &mut RulesetCreated, path: &Path, access: BitFlags<AccessFs>) {
    let Ok(there) = PathFd::new(path) else { return };
    let is_folder = fstat(&there).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    let access = if is_folder { access } else { access & AccessFs::from_file(WANTED) };
    let _ = ruleset.add_rule(PathBeneath::new(there, access));
}

/// Whether it is there, and neither a file nor a folder.
fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The version of Landlock's interface in this kernel; none where it is missing or was not switched on.
#[must_use]
pub fn version() -> Option<i32> {
    // SAFETY: with this flag the kernel takes no attribute.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, CREATE_RULESET_VERSION)
    };
    i32::try_from(version).ok().filter(|version| *version > 0)
}

/// LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
const CREATE_RULESET_VERSION: u32 = 1;
