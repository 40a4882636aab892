//! `cargo xtask figures`: how well attacks are told in labelled captures, beside scikit-learn on NFStream's features.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Need};
use crate::workspace::{Profile, Workspace};
use crate::{build, shell};

/// Print how well flowml tells attacks in captures, and how well scikit-learn does on NFStream's features.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of `cargo xtask corpus` [default: target/corpus, where neither is named]
    #[arg(long, value_name = "FOLDER")]
    corpus: Option<PathBuf>,
    /// A folder of captures with labels.csv (file, label)
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
}

/// What is compared; the ensemble is of some of the others.
const DETECTORS: &str = "kmeans,isolation-forest,one-class-svm,gaussian-mixture,ensemble";

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::ensure(workspace, &[Need::Kernel, Need::Peers])?;
    build::agent(workspace, Profile::Release)?;
    let own = arguments.corpus.clone().or_else(|| arguments.captures.is_none().then(|| workspace.corpus()));
    if let Some(folder) = own {
        let [train, test] = ["train", "test"].map(|part| folder.join(part));
        ensure!(test.is_dir(), "{}: expected the corpus that 'cargo xtask corpus' makes", folder.display());
        let mut eval = eval(workspace);
        eval.args(["attacks.pcap", "ordinary.pcap"].map(|name| test.join(name)));
        eval.arg("--train").arg(train.join("ordinary.pcap")).arg("--labels").arg(test.join("attacks.toml"));
        shell::run(&mut eval)?;
        shell::run(peer(workspace).arg("corpus").arg(&folder))?;
    }
    if let Some(folder) = &arguments.captures {
        let mut eval = eval(workspace);
        eval.args(captures(folder)?).arg("--labels").arg(folder.join("labels.csv"));
        shell::run(eval.args(["--division", "input", "--folds", "3"]))?;
        shell::run(peer(workspace).arg("captures").arg(folder))?;
    }
    Ok(())
}

fn eval(workspace: &Workspace) -> Command {
    let mut flowml = Command::new(workspace.binary(Profile::Release, "flowml"));
    flowml.args(["eval", "--benign", "benign", "--detector", DETECTORS]);
    flowml
}

fn peer(workspace: &Workspace) -> Command {
    let mut python = Command::new(workspace.peers().join("bin/python"));
    python.arg(workspace.root().join("tests/peers/nfstream_detectors.py"));
    python
}

/// The captures of a folder and of those in it, those nearer to it first.
fn captures(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut entries = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let mut all: Vec<PathBuf> =
        files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "pcap")).collect();
    for folder in folders {
        all.extend(captures(&folder)?);
    }
    Ok(all)
}
