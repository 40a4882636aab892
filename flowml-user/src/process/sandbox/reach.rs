//! The files and ports that a process may reach (Landlock, landlock(7)).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{FileType, fstat};

/// The requested features, used where the kernel has them: files from Linux 5.13 on, TCP from 6.7, scopes from 6.12.
const WANTED: ABI = ABI::V6;

/// Folders with information on the system that a run reads: processors, memory, types of the kernel, this process.
const SYSTEM: [&str; 2] = ["/proc", "/sys"];

/// Folders with the files that libraries read or load to resolve the address of a host. Folders instead of files,
/// because such files are replaced by others with the same name.
const RESOLVER: [&str; 6] = ["/etc", "/run", "/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Folders with the certificates of authorities in Debian, Fedora and SUSE, and of the links in them.
const AUTHORITIES: [&str; 6] = [
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
];

/// The environment variables that name other certificates (SSL_CTX_set_default_verify_paths(3)).
const AUTHORITIES_BY_VARIABLE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The port of name servers. They are asked by TCP if a reply is long.
const DNS: u16 = 53;

/// The permitted operations in a folder that is written to. Executing files and making links, devices or sockets is not
/// permitted.
const WRITE: [AccessFs; 7] = [
    AccessFs::ReadFile,
    AccessFs::ReadDir,
    AccessFs::WriteFile,
    AccessFs::Truncate,
    AccessFs::MakeReg,
    AccessFs::MakeDir,
    AccessFs::RemoveFile,
];

/// The permitted operations on a device or a pipe that is written to.
const DEVICE: [AccessFs; 3] = [AccessFs::ReadFile, AccessFs::WriteFile, AccessFs::IoctlDev];

/// The files and ports that a process may reach. Only existing files can be named. For a new file its folder is named.
#[derive(Debug, Default)]
pub struct Reach {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    devices: Vec<PathBuf>,
    temporary: Option<PathBuf>,
    removed_from: Option<PathBuf>,
    connect: Vec<u16>,
    listen: Vec<u16>,
    /// Whether abstract sockets may be used. Their names ('@' in front) are not paths, so Landlock cannot distinguish
    /// them.
    abstract_sockets: bool,
}

impl Reach {
    /// The files of the system that every run reads.
    #[must_use]
    pub fn system() -> Self {
        let own = env::current_exe();
        // After a panic the symbols of this program are read.
        let read = SYSTEM.map(PathBuf::from).into_iter().chain(own).collect();
        Self { read, ..Self::default() }
    }

    /// Permits reading this file, or all files in this folder.
    pub fn read(&mut self, path: &Path) {
        self.read.push(path.to_owned());
    }

    /// Permits reading this file, and a file that replaces it.
    pub fn read_beside(&mut self, path: &Path) {
        self.read.push(folder_of(path).to_owned());
        self.read.extend(path.canonicalize());
    }

    /// Permits reading and writing all files in this folder. The folder is created if it does not exist, because only
    /// existing folders can be named. If that fails, opening a file in it fails later and reports the reason.
    pub fn write_in(&mut self, folder: &Path) {
        let _ = fs::create_dir_all(folder);
        self.write.push(folder.to_owned());
    }

    /// Permits making and removing folders and files in the folder for temporary files.
    pub fn write_temporary(&mut self) {
        self.temporary = Some(env::temp_dir());
    }

    /// Permits removing this folder.
    pub fn remove(&mut self, folder: &Path) {
        self.removed_from = Some(folder_of(folder).to_owned());
    }

    /// Permits making this file and others beside it, and reading the target if it is a link. If it is a device or a
    /// pipe, permits only writing to it.
    pub fn write(&mut self, path: &Path) {
        match is_device(path) {
            true => self.devices.push(path.to_owned()),
            false => {
                self.write.push(folder_of(path).to_owned());
                self.read.extend(path.canonicalize());
            }
        }
    }

    /// Permits writing to the existing file, also through a link.
    pub(crate) fn write_through(&mut self, path: &Path) {
        let behind = path.canonicalize();
        self.write(behind.as_deref().unwrap_or(path));
    }

    /// Permits connecting to this TCP port.
    pub fn connect(&mut self, port: u16) {
        self.connect.push(port);
    }

    /// Permits listening on this TCP port.
    pub fn listen(&mut self, port: u16) {
        self.listen.push(port);
    }

    /// Permits resolving the addresses of hosts.
    pub(crate) fn resolve(&mut self) {
        self.read.extend(RESOLVER.map(PathBuf::from));
        self.connect(DNS);
    }

    /// Permits resolving the address of this host, if it is a name.
    pub(crate) fn resolve_name(&mut self, host: &str) {
        if host.parse::<IpAddr>().is_err() {
            self.resolve();
        }
    }

    /// Permits reading the certificates of the authorities that this host trusts.
    pub(crate) fn trust(&mut self) {
        self.read.extend(AUTHORITIES.map(PathBuf::from));
        self.read.extend(AUTHORITIES_BY_VARIABLE.iter().filter_map(env::var_os).map(PathBuf::from));
    }

    /// Permits sending to abstract sockets.
    pub fn send_to_abstract_sockets(&mut self) {
        self.abstract_sockets = true;
    }

    /// Whether a file of this name could be read and written: its folder is among those that are written to.
    #[must_use]
    pub fn includes(&self, path: &Path) -> bool {
        let Ok(folder) = folder_of(path).canonicalize() else { return false };
        self.write.iter().filter_map(|known| known.canonicalize().ok()).any(|known| folder.starts_with(known))
    }

    /// Restricts this thread, and the threads that it starts from now on, to the permitted files and ports.
    ///
    /// # Errors
    /// If the kernel refuses. A feature that an older kernel lacks is not an error.
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

/// Adds a rule for an existing file. No rule is possible for a missing file, or for one that Landlock cannot name (a
/// pipe behind /dev/stdout). Opening such a file later reports an error, if there is one.
fn permit(ruleset: &mut RulesetCreated, path: &Path, access: BitFlags<AccessFs>) {
    let Ok(there) = PathFd::new(path) else { return };
    let is_folder = fstat(&there).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    let access = if is_folder { access } else { access & AccessFs::from_file(WANTED) };
    let _ = ruleset.add_rule(PathBeneath::new(there, access));
}

/// Whether the path exists and is neither a file nor a folder.
fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The version of Landlock's interface in this kernel. `None` if the kernel lacks Landlock or has it disabled.
#[must_use]
pub fn version() -> Option<i32> {
    // SAFETY: with this flag the kernel reads no attribute.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, CREATE_RULESET_VERSION)
    };
    i32::try_from(version).ok().filter(|version| *version > 0)
}

/// LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
const CREATE_RULESET_VERSION: u32 = 1;
