//! A BPF file system for one test, in a folder that is removed with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

const PREFIX: &str = "flowml-bpffs-";

/// A mounted BPF file system. Dropping it unmounts it, which removes everything that is pinned there.
#[derive(Debug)]
pub struct Bpffs(PathBuf);

impl Bpffs {
    /// Mounts a BPF file system. Removes what earlier, killed runs left behind.
    pub fn mount() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_stale()?;
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mounted =
            Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&folder).status().context("running mount")?;
        ensure!(mounted.success(), "a BPF file system could not be mounted at {}", folder.display());
        Ok(Self(folder))
    }

    /// A folder in the file system. It is not created.
    pub fn folder(&self) -> Folder {
        Folder(self.0.join("pins"))
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A folder for pins.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path as a command line argument.
    pub fn argument(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The names in the folder, or none if it does not exist.
    pub fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).into_iter().flatten().flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn unmount(folder: &Path) {
    // Lazily: a process may still have a folder open, and the file system goes when the last one is closed.
    let _ = Command::new("umount").arg("--lazy").arg(folder).status();
    let _ = fs::remove_dir(folder);
}

fn remove_stale() -> Result<()> {
    for entry in fs::read_dir(std::env::temp_dir()).context("listing temporary files")? {
        let path = entry.context("listing temporary files")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            unmount(&path);
        }
    }
    Ok(())
}
