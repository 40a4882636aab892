//! Writes the fuzzer's initial inputs into a folder for each target: `seeds FOLDER`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use flowml_tests::fuzz::seeds;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: seeds FOLDER")?);
    for seed in seeds() {
        let folder = folder.join(seed.target);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(&seed.name);
        fs::write(&path, &seed.bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
