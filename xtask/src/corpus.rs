//! `cargo xtask corpus`: makes labelled captures of normal traffic and attacks, in a laboratory of network namespaces.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::setup::Need;
use crate::workspace::{Profile, Workspace};
use crate::{demo, shell};

/// Make the labelled corpus: captures of normal traffic and of attacks by real tools, in network namespaces of its own,
/// with rules for `flowml label`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder for `train` and `test` [default: target/corpus]
    folder: Option<PathBuf>,
    /// Duration of the capture of normal traffic alone, in each part
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    seconds: u32,
    /// Seed of hosts, rates and all other random choices
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Make only attacks of this class; can be repeated
    #[arg(long, value_name = "CLASS")]
    only: Vec<String>,
    /// Also run four agents, at the server and at a client, each for ingress and for both directions, and show their
    /// reports: each attack should be one incident, and normal traffic none
    #[arg(long)]
    live: bool,
    /// Only run the agents on normal traffic of all places at once, as server and as client, ingress and both; fail if
    /// one reports an incident. Makes no captures and no attacks
    #[arg(long, conflicts_with_all = ["live", "models", "only"])]
    normal: bool,
    /// Train the models that ship with flowml, from this corpus and from the traffic that the tests generate
    #[arg(long)]
    models: bool,
}

/// The models that ship with flowml, each with the file name suffix of the captures that it is trained from.
const MODELS: [(&str, &str); 2] = [("both.json", ".pcap"), ("ingress.json", "-ingress.pcap")];

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut corpus = demo::program(workspace, "corpus", &[Need::Corpus])?;
    let folder = arguments.folder.clone().unwrap_or_else(|| workspace.corpus());
    corpus.args((arguments.models || arguments.live).then_some("--town"));
    corpus.args(arguments.live.then_some("--live")).args(arguments.normal.then_some("--normal")).arg(&folder);
    corpus.args([arguments.seconds.to_string(), arguments.seed.to_string()]).args(&arguments.only);
    if !arguments.models {
        return Err(shell::become_command(&mut corpus));
    }
    shell::run(&mut corpus)?;
    let train = folder.join("train");
    for (model, end) in MODELS {
        let mut flowml = Command::new(workspace.binary(Profile::Release, "flowml"));
        flowml.arg("train").args(["normal", "town"].map(|name| train.join(format!("{name}{end}"))));
        shell::run(flowml.arg("--model").arg(workspace.root().join("flowml-user/models").join(model)))?;
    }
    Ok(())
}
