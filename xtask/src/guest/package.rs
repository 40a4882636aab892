//! Fetches a kernel from its Debian package, which is unpacked and not installed.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::workspace::Workspace;

const PREFIX: &str = "linux-image-";

/// The kernels for virtual machines, which are the smallest.
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel that can be booted.
pub(super) struct Kernel {
    /// The package that contains it.
    pub(super) package: String,
    /// The release, as in `uname -r`.
    pub(super) release: String,
    /// The folder of the unpacked package.
    folder: PathBuf,
}

impl Kernel {
    /// The kernel of a version or of a package. It is fetched unless it is there.
    pub(super) fn fetch(workspace: &Workspace, wanted: &str) -> Result<Self> {
        let package = match wanted.strip_prefix(PREFIX) {
            Some(_) => wanted.to_owned(),
            None => newest(wanted)?,
        };
        let folder = workspace.kernels().join(&package);
        if !folder.exists() {
            // Unpacked under another name and then renamed, so that an existing folder is complete.
            let part = folder.with_extension("part");
            if part.exists() {
                fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
            }
            apt::unpack(&package, &part)?;
            fs::rename(&part, &folder).with_context(|| format!("cannot move {} to its place", part.display()))?;
        }
        let release = release(&folder.join("boot"));
        let release =
            release.with_context(|| format!("{package} holds no kernel: expected a package that is none of others"))?;
        Ok(Self { package, release, folder })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.folder.join("boot").join(format!("config-{}", self.release))
    }

    /// The folder that contains `lib/modules`.
    pub(super) fn base(&self) -> PathBuf {
        let merged = self.folder.join("usr");
        if merged.join("lib/modules").exists() { merged } else { self.folder.clone() }
    }

    pub(super) fn modules(&self) -> PathBuf {
        self.base().join("lib/modules").join(&self.release)
    }
}

/// The release of the kernel in a folder.
fn release(boot: &Path) -> Option<String> {
    let names = boot.read_dir().ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned)).next()
}

/// apt's newest package for a version, which may have any number of parts.
fn newest(version: &str) -> Result<String> {
    let pattern = format!("^{PREFIX}.*{FLAVOUR}$");
    let mut packages = apt::search(&pattern);
    if choose(&packages, version).is_none() {
        apt::update()?;
        packages = apt::search(&pattern);
    }
    if let Some(package) = choose(&packages, version) {
        return Ok(package.to_owned());
    }
    let there: Vec<&str> = packages.iter().filter(|package| numbers(package).len() > 2).map(String::as_str).collect();
    bail!("apt has no kernel {version}; it has {}", there.join(", "))
}

/// The newest of the packages for this version. A name without a third number belongs to another kind of package.
fn choose<'a>(packages: &'a [String], version: &str) -> Option<&'a str> {
    let wanted = numbers(version);
    let of_version = packages.iter().filter(|package| {
        let numbers = numbers(package);
        package.ends_with(FLAVOUR) && numbers.len() > 2 && !wanted.is_empty() && numbers.starts_with(&wanted)
    });
    of_version.min_by_key(|package| Reverse(numbers(package))).map(String::as_str)
}

/// The numbers in the name of a release, without the one of its architecture.
fn numbers(name: &str) -> Vec<u32> {
    let release = name.trim_start_matches(PREFIX).trim_end_matches(FLAVOUR);
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_version_is_chosen() {
        let packages = [
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-58-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.100+deb12-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.11.10+bpo-cloud-amd64",
            "linux-image-cloud-amd64",
        ]
        .map(str::to_owned);
        let chosen = |version| choose(&packages, version);
        assert_eq!(chosen("6.1"), Some("linux-image-6.1.0-57-cloud-amd64"));
        assert_eq!(chosen("6.1.0-9"), Some("linux-image-6.1.0-9-cloud-amd64"));
        assert_eq!(chosen("6.12"), Some("linux-image-6.12.100+deb12-cloud-amd64"));
        assert_eq!(chosen("6.12.99"), Some("linux-image-6.12.99+deb12-cloud-amd64"));
        assert_eq!(chosen("6"), Some("linux-image-6.12.100+deb12-cloud-amd64"));
        assert_eq!((chosen("5.15"), chosen("newest")), (None, None));
    }
}
