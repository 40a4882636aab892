//! Hands the kernel object that `cargo xtask build` left in the target directory to `src/object.rs`, or an empty file. Without the
//! feature `live` there is nothing to do.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    if env::var_os("CARGO_FEATURE_LIVE").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var_os("TARGET").expect("cargo sets TARGET");
    let folder = kernel_folder(&out, &target);

    // The folder is watched, not the file: cargo takes a watched file that is missing for changed at every build.
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", folder.display());

    let object = folder.join("flowml.o");
    let bytes = if object.exists() {
        fs::read(&object).unwrap_or_else(|error| panic!("cannot read {}: {error}", object.display()))
    } else {
        Vec::new()
    };
    let copy = out.join("flowml.o");
    fs::write(&copy, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", copy.display()));
}

/// `<target directory>/kernel`; OUT_DIR is `<target directory>[/<triple>]/<profile>/build/…`.
fn kernel_folder(out: &Path, triple: &OsStr) -> PathBuf {
    let build = out.ancestors().find(|folder| folder.file_name() == Some(OsStr::new("build")));
    let mut target = build
        .and_then(Path::parent)
        .and_then(Path::parent)
        .unwrap_or_else(|| panic!("expected OUT_DIR as <target>/<profile>/build/…, found {}", out.display()));
    if target.file_name() == Some(triple) {
        target = target.parent().unwrap_or(target);
    }
    target.join("kernel")
}
