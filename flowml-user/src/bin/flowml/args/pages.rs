//! The arguments of `flowml pages`.

use std::path::PathBuf;

use clap::Args;

/// The arguments of `flowml pages`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Pages {
    /// Folder to write them to
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
