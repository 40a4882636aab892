//! `cargo xtask corpus`: labelled captures of ordinary traffic and attacks, made in a laboratory of network namespaces.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::setup::Need;
use crate::workspace::{Profile, Workspace};
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
    /// Also run agents meanwhile, at the server and at a client, each of what comes in and of both directions, and show what they
    /// report: each attack should be one incident, and ordinary traffic none
    #[arg(long)]
    live: bool,
    /// Train the models that ship with flowml from it, and from the traffic in which the tests are set
    #[arg(long)]
    models: bool,
}

/// The models that ship with flowml, by the ends of the captures that they are learnt from.
const MODELS: [(&str, &str); 2] = [("both.json", ".pcap"), ("ingress.json", "-ingress.pcap")];

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut corpus = demo::program(workspace, "corpus", &[Need::Corpus])?;
    let folder = arguments.folder.clone().unwrap_or_else(|| workspace.corpus());
    corpus.args((arguments.models || arguments.live).then_some("--town"));
    corpus.args(arguments.live.then_some("--live")).arg(&folder);
    corpus.args([arguments.seconds.to_string(), arguments.seed.to_string()]).args(&arguments.only);
    if !arguments.models {
        return Err(shell::become_command(&mut corpus));
    }
    shell::run(&mut corpus)?;
    let train = folder.join("train");
    for (model, end) in MODELS {
        let mut flowml = Command::new(workspace.binary(Profile::Release, "flowml"));
        flowml.arg("train").args(["ordinary", "town"].map(|name| train.join(format!("{name}{end}"))));
        shell::run(flowml.arg("--model").arg(workspace.root().join("flowml-user/models").join(model)))?;
    }
    Ok(())
}
