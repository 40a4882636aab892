//! flowml's tasks: `cargo xtask TASK`.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod build;
mod ci;
mod corpus;
mod demo;
mod dist;
mod figures;
mod fleet;
mod fuzz;
mod guest;
mod libtest;
mod lint;
mod miri;
mod rules;
mod run;
mod setup;
mod shell;
mod soak;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Sets up, builds, runs, tests and measures flowml.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Run(run::Arguments),
    Test(test::Arguments),
    /// Check formatting, warnings, documentation, the order of the modules, and licences of the dependencies.
    Lint,
    /// Run all checks that a change must pass before it is merged: the lock file, what `lint` checks, and every test.
    Ci,
    Bench(bench::Arguments),
    Demo(demo::Arguments),
    Soak(soak::Arguments),
    Corpus(corpus::Arguments),
    Figures(figures::Arguments),
    Fleet(fleet::Arguments),
    Fuzz(fuzz::Arguments),
    /// Run the tests of the code with `unsafe` in Miri, which finds undefined behaviour. It needs a rustup nightly with miri.
    Miri,
    Dist(dist::Arguments),
}

fn main() -> ExitCode {
    let Arguments { task } = Arguments::parse();
    let done = Workspace::find().and_then(|workspace| match task {
        Task::Setup(arguments) => setup::task(&workspace, &arguments),
        Task::Build(arguments) => build::task(&workspace, &arguments),
        Task::Run(arguments) => run::task(&workspace, &arguments),
        Task::Test(arguments) => test::task(&workspace, &arguments),
        Task::Lint => lint::task(&workspace),
        Task::Ci => ci::task(&workspace),
        Task::Bench(arguments) => bench::task(&workspace, &arguments),
        Task::Demo(arguments) => demo::task(&workspace, &arguments),
        Task::Soak(arguments) => soak::task(&workspace, &arguments),
        Task::Corpus(arguments) => corpus::task(&workspace, &arguments),
        Task::Figures(arguments) => figures::task(&workspace, &arguments),
        Task::Fleet(arguments) => fleet::task(&workspace, &arguments),
        Task::Fuzz(arguments) => fuzz::task(&workspace, &arguments),
        Task::Miri => miri::task(&workspace),
        Task::Dist(arguments) => dist::task(&workspace, &arguments),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
