//! The agent: parses the command line and runs the command.
//!
//! The modules have an order (ARCHITECTURE.md). Each imports only from modules to its left.

mod args;
mod commands;
mod console;
mod evaluation;
#[cfg(test)]
#[path = "../../export/golden.rs"]
mod golden;
mod inputs;
mod report;
#[cfg(test)]
#[path = "../../export/sample.rs"]
mod sample;
mod telemetry;
mod tui;
mod ui;

use std::process::ExitCode;

use flowml_user::process::journal::{Priority, prioritized};
use flowml_user::process::plain;

use crate::args::{Arguments, Command};
use crate::commands::confinement::confine_reader;
use crate::commands::{doctor, evaluate, features, feedback, fleet, label, pages, read, run, train, unpin};
use crate::ui::outward::print_last;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Arguments::of_this_process().command;
    confine_reader(&command);
    let done = match command {
        Command::Run(run) => run::run(&run).await,
        Command::Read(arguments) => read::run(&arguments),
        Command::Label(arguments) => label::run(&arguments),
        Command::Train(arguments) => train::run(&arguments).await,
        Command::Score(arguments) => train::score(&arguments),
        Command::Eval(arguments) => evaluate::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Unpin(arguments) => unpin::run(&arguments),
        Command::Feedback(arguments) => feedback::run(&arguments),
        Command::Fleet(arguments) => fleet::run(&arguments),
        Command::Model(arguments) => train::show(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments).await,
        Command::Features(arguments) => features::run(arguments),
        Command::Pages(arguments) => pages::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_last(&prioritized(Priority::Error, &plain::lines(&format!("flowml: {error:#}\n"))));
            ExitCode::FAILURE
        }
    }
}
