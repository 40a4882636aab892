//! `cargo xtask test`: builds and checks everything, runs every test, and ends with one line of results.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::libtest::{Tally, accounted, watch};
use crate::setup::{self, Need};
use crate::workspace::{Profile, Workspace};
use crate::{build, guest, lint, shell};

/// Set up, build, lint, and run every test: unit, property, integration and documentation tests.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Run only unit and property tests. They need no root, no kernel program and no other program.
    #[arg(long, conflicts_with_all = ["long", "kernel"])]
    quick: bool,

    /// Also run the tests that take minutes or depend on timing. The machine must do nothing else.
    #[arg(long)]
    long: bool,

    /// Instead, run the tests that depend on the kernel under a Debian kernel in a virtual machine: the newest one of a
    /// version (6.1) for virtual machines, or that of a package (linux-image-6.1.0-57-rt-amd64). Can be repeated.
    #[arg(long, value_name = "VERSION|PACKAGE")]
    kernel: Vec<String>,

    /// Arguments of the tests, after `--`: a part of their names, or a flag of libtest.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// The group of examples in documentation.
const DOCUMENTATION: &str = "documentation tests";

/// The tests in groups of build targets. All groups select the same packages, so that nothing is compiled twice.
const GROUPS: &[Group] = &[
    Group { name: "unit tests", targets: &["--lib", "--bins", "--examples"], arguments: &[] },
    // They share the machine's CPUs, its clock and its count of kernel programs.
    Group { name: "integration tests", targets: &["--test", "*"], arguments: &["--test-threads=1"] },
    Group { name: DOCUMENTATION, targets: &["--doc"], arguments: &[] },
];

struct Group {
    name: &'static str,
    targets: &'static [&'static str],
    arguments: &'static [&'static str],
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    let total = if !arguments.kernel.is_empty() {
        guest::run(workspace, &arguments.kernel, &arguments.of_libtest())?
    } else if arguments.quick {
        quick(workspace, arguments)?
    } else {
        here(workspace, arguments)?
    };
    eprintln!("{} s, builds included; {} tests are marked `#[ignore]`", begun.elapsed().as_secs(), total.ignored);
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    if total.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

impl Arguments {
    /// The arguments of every test executable.
    fn of_libtest(&self) -> Vec<String> {
        let included = self.long.then(|| "--include-ignored".to_owned());
        self.filter.iter().cloned().chain(included).collect()
    }
}

/// Runs all tests under the running kernel.
fn here(workspace: &Workspace, arguments: &Arguments) -> Result<Tally> {
    setup::require_root("cargo xtask test")?;
    setup::ensure(
        workspace,
        &[
            Need::Kernel,
            Need::Lint,
            Need::Traffic,
            Need::Peers,
            Need::Engines,
            Need::Readers,
            Need::Collectors,
            Need::Package,
            Need::Installed,
        ],
    )?;
    build::agent(workspace, Profile::Dev)?;
    lint::task(workspace)?;
    let mut total = Tally::default();
    for group in GROUPS {
        eprintln!("{}:", group.name);
        total += run(workspace, group, arguments)?;
    }
    Ok(total)
}

/// Runs the tests that need nothing but the compiler.
fn quick(workspace: &Workspace, arguments: &Arguments) -> Result<Tally> {
    let mut cargo = workspace.cargo("test");
    cargo.args(["--no-fail-fast", "--lib", "--bins"]);
    for name in property_tests(workspace)? {
        cargo.args(["--test", &name]);
    }
    cargo.arg("--").args(arguments.of_libtest());
    eprintln!("$ {}", shell::words(&cargo));
    let (tally, succeeded) = watch(&mut cargo, |_| {})?;
    Ok(accounted(tally, succeeded))
}

/// The names of the test files beside the sources of parser, flow table and agent. Unlike those of `tests`, they run without
/// a laboratory.
fn property_tests(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for member in ["flowml-common", "flowml-user"] {
        let folder = workspace.root().join(member).join("tests");
        for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            let is_test = path.extension().is_some_and(|extension| extension == "rs");
            names.extend(path.file_stem().filter(|_| is_test).map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs one group, and shows the output of its tests.
fn run(workspace: &Workspace, group: &Group, arguments: &Arguments) -> Result<Tally> {
    let mut cargo = workspace.cargo("test");
    cargo.arg("--no-fail-fast").args(group.targets).arg("--").args(group.arguments);
    // Ignored examples in documentation are no tests.
    if group.name == DOCUMENTATION {
        cargo.args(&arguments.filter);
    } else {
        cargo.args(arguments.of_libtest());
    }
    workspace.announce(Profile::Dev, &mut cargo);
    // With this variable, a test that cannot run fails instead of returning.
    cargo.env("FLOWML_REQUIRE_LAB", "1");
    eprintln!("$ {}", shell::words(&cargo));
    let (tally, succeeded) = watch(&mut cargo, |_| {})?;
    Ok(accounted(tally, succeeded))
}
