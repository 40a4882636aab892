//! `cargo xtask figures`: measures how well flowml and scikit-learn detect attacks in captures and tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Need};
use crate::workspace::{Profile, Workspace};
use crate::{build, shell};

/// Measure how well flowml and scikit-learn detect attacks in captures and tables.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder of `cargo xtask corpus` [default: target/corpus]
    #[arg(long, value_name = "FOLDER")]
    corpus: Option<PathBuf>,
    /// A folder of captures with labels.csv (file, label), in three folds
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
    /// A capture of that folder that is in the training set of every fold and is never scored; can be repeated
    #[arg(long, value_name = "FILE", requires = "captures")]
    trained_on: Vec<PathBuf>,
    /// A folder of tables: nsl_kdd (KDDTrain+_20Percent.txt, KDDTest+.txt), adbench (16_http.npz)
    #[arg(long, value_name = "FOLDER")]
    tables: Option<PathBuf>,
    /// A folder with benign and labelled captures; the incidents of each capture are measured separately
    #[arg(long, value_name = "FOLDER")]
    incidents: Option<PathBuf>,
}

/// The detectors that are compared. The ensemble consists of some of the others.
const DETECTORS: &str = "kmeans,isolation-forest,one-class-svm,gaussian-mixture,ensemble";

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::ensure(workspace, &[Need::Kernel, Need::Peers])?;
    build::agent(workspace, Profile::Release)?;
    let corpus = arguments.corpus.clone().unwrap_or_else(|| workspace.corpus());
    ensure!(corpus.join("test").is_dir(), "{}: expected the folder that 'cargo xtask corpus' makes", corpus.display());
    of_corpus(workspace, &corpus)?;
    of_false_alarms(workspace, &corpus)?;
    if let Some(folder) = &arguments.captures {
        of_captures(workspace, folder, &[])?;
        if !arguments.trained_on.is_empty() {
            of_captures(workspace, folder, &arguments.trained_on)?;
        }
    }
    if let Some(folder) = &arguments.incidents {
        begin("Incidents of captures, each by itself, by the model that ships with flowml");
        let flowml = workspace.binary(Profile::Release, "flowml");
        shell::run(peer(workspace, "incidents.py").arg(&flowml).arg(folder))?;
        begin(
            "Captures of networks that were not learnt from: flowml, and scikit-learn on NFStream's columns and the same host windows",
        );
        shell::run(peer(workspace, "unseen.py").arg(&flowml).arg(folder))?;
    }
    if let Some(folder) = &arguments.tables {
        of_nsl_kdd(workspace, &folder.join("nsl_kdd"))?;
        of_adbench(workspace, &folder.join("adbench/16_http.npz"))?;
    }
    Ok(())
}

fn of_corpus(workspace: &Workspace, corpus: &Path) -> Result<()> {
    begin("The corpus: trained on its normal training traffic, evaluated on its test part");
    let test = corpus.join("test");
    let mut eval = eval(workspace, DETECTORS, "benign");
    eval.args(["attacks.pcap", "normal.pcap"].map(|name| test.join(name)));
    eval.arg("--train").arg(normal(corpus)).arg("--labels").arg(test.join("attacks.toml"));
    shell::run(&mut eval)?;
    begin("The same by scikit-learn, on NFStream's features");
    shell::run(peer(workspace, "nfstream_detectors.py").arg("corpus").arg(corpus))
}

/// Uses a model of traffic without further training.
fn of_false_alarms(workspace: &Workspace, corpus: &Path) -> Result<()> {
    begin("False alarms: trained on the corpus's normal training traffic, evaluated on that of the test part");
    let model = scratch(workspace, "normal.json")?;
    shell::run(flowml(workspace).arg("train").arg(normal(corpus)).arg("--model").arg(&model).arg("--quiet"))?;
    for unit in ["flows", "hosts"] {
        let mut eval = flowml(workspace);
        eval.arg("eval").arg(corpus.join("test/normal.pcap")).arg("--model").arg(&model);
        shell::run(eval.args(["--unit", unit]))?;
    }
    Ok(())
}

fn of_captures(workspace: &Workspace, folder: &Path, trained_on: &[PathBuf]) -> Result<()> {
    let names: Vec<_> = trained_on.iter().map(|path| path.display().to_string()).collect();
    let besides = if names.is_empty() { String::new() } else { format!(" and {}", names.join(", ")) };
    begin(&format!("Captures in three folds: trained on the normal ones of two{besides}, evaluated on the third"));
    let trained_on: Vec<PathBuf> = trained_on.iter().map(|path| folder.join(path)).collect();
    let mut eval = eval(workspace, DETECTORS, "benign");
    eval.args(captures(folder)?.iter().filter(|path| !trained_on.contains(path)));
    eval.arg("--labels").arg(folder.join("labels.csv")).args(["--division", "input", "--folds", "3"]);
    if !trained_on.is_empty() {
        eval.arg("--train").args(&trained_on);
    }
    shell::run(&mut eval)?;
    begin("The same by scikit-learn, on NFStream's features");
    shell::run(peer(workspace, "nfstream_detectors.py").arg("captures").arg(folder).args(trained_on))
}

fn of_nsl_kdd(workspace: &Workspace, folder: &Path) -> Result<()> {
    let [train, test] = ["KDDTrain+_20Percent.txt", "KDDTest+.txt"].map(|name| folder.join(name));
    for (what, all_rows) in [("trained on benign rows", None), ("trained on all rows", Some("--all-rows"))] {
        begin(&format!("NSL-KDD: {what}"));
        let mut eval = eval(workspace, "kmeans", "normal");
        eval.arg(&test).args(["--no-header", "--label-column", "42", "--ignore", "43"]);
        // With `--all-rows`, a detector scores the rows that it was trained on, unless `--train` gives others.
        shell::run(eval.args(all_rows).arg("--train").arg(&train))?;
    }
    begin("NSL-KDD: classifiers");
    let mut eval = flowml(workspace);
    eval.args(["eval", "--benign", "normal", "--classifier", "naive-bayes,decision-tree"]).arg(&test);
    shell::run(eval.args(["--no-header", "--label-column", "42", "--ignore", "43"]).arg("--train").arg(&train))
}

fn of_adbench(workspace: &Workspace, dataset: &Path) -> Result<()> {
    begin("ADBench http: trained and evaluated on all rows");
    let table = scratch(workspace, "http.csv")?;
    shell::run(peer(workspace, "adbench_table.py").args([dataset, &table]))?;
    shell::run(eval(workspace, "kmeans", "0").arg(&table).args(["--label-column", "label", "--all-rows"]))
}

fn begin(what: &str) {
    println!("\n== {what}");
}

fn flowml(workspace: &Workspace) -> Command {
    Command::new(workspace.binary(Profile::Release, "flowml"))
}

fn eval(workspace: &Workspace, detectors: &str, benign: &str) -> Command {
    let mut flowml = flowml(workspace);
    flowml.args(["eval", "--benign", benign, "--detector", detectors]);
    flowml
}

fn peer(workspace: &Workspace, script: &str) -> Command {
    let mut python = Command::new(workspace.peers().join("bin/python"));
    python.arg(workspace.root().join("tests/peers").join(script));
    python
}

/// The normal traffic of the corpus's training part.
fn normal(corpus: &Path) -> PathBuf {
    corpus.join("train/normal.pcap")
}

/// The path of a file for intermediate results.
fn scratch(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.figures();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(name))
}

/// The captures of a folder and of its subfolders, those of the folder itself first.
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
