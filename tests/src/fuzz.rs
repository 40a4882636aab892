//! The fuzzer's targets: each is a function of bytes that panics if an invariant is broken.
//!
//! `cargo xtask fuzz` calls them with inputs that are guided by coverage (their entry points are in tests/fuzz). `cargo
//! xtask test` calls them with the inputs that were found that way (tests/fuzz/corpus).

mod captures;
mod configuration;
mod flows;
mod input;
mod learning;
mod learnt;
mod memory_file;
mod models;
mod offline;
mod parquet;
mod parser;
mod rules;
mod seeds;
mod tables;
mod training;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use configuration::read as read_configuration;
pub use seeds::{Seed, seeds};

/// A function that accepts any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its entry point, and of the folder of its inputs.
    pub name: &'static str,
    /// Runs one input. Panics if an invariant is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target { name: "flows", run: flows::run },
    Target { name: "captures", run: captures::run },
    Target { name: "tables", run: tables::run },
    Target { name: "rules", run: rules::run },
    Target { name: "parser", run: parser::run },
    Target { name: "parquet", run: parquet::run },
    Target { name: "models", run: models::run },
    Target { name: "configuration", run: configuration::run },
    Target { name: "training", run: training::run },
];

/// Runs an input of the target with this name.
///
/// # Panics
/// If an invariant is broken, or if there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(bytes);
}

/// The paths of a target's committed inputs.
///
/// # Errors
/// If the folder of the target cannot be read.
pub fn corpus(target: &Target) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
