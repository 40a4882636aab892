//! `cargo xtask corpus`: labelled captures of ordinary traffic and attacks, made in a laboratory of network namespaces.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::Need;
use crate::workspace::Workspace;
use crate::{demo, shell};

/// Make the labelled corpus: captures of ordinary traffic and of attacks by their real tools, in network namespaces of
/// its own, with rules for `flowml label`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the folders `train` and `test` go [default: target/corpus]
    folder: Option<PathBuf>,
    /// For how long ordinary traffic is captured alone, in each part
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    seconds: u32,
    /// For hosts, rates and everything else that is random
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Only attacks of this class; may be given several times
    #[arg(long, value_name = "CLASS")]
    only: Vec<String>,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut corpus = demo::program(workspace, "corpus", &[Need::Corpus])?;
    corpus.arg(arguments.folder.clone().unwrap_or_else(|| workspace.corpus()));
    corpus.args([arguments.seconds.to_string(), arguments.seed.to_string()]).args(&arguments.only);
    Err(shell::become_command(&mut corpus))
}
