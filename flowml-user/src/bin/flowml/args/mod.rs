//! The command line: its commands and their arguments.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use flowml_user::process::journal::{Priority, prioritized};
use flowml_user::process::plain;

/// The exit codes, for the help of the program and of each command. A macro, because `concat!` takes no constant.
macro_rules! exit_codes {
    () => {
        "Exit codes: 0 success (also after SIGINT or SIGTERM, or when standard output was closed), 1 failure, 2 wrong usage."
    };
}

mod alarms;
mod config_file;
mod configuration;
mod content;
mod doctor;
mod eval;
mod features;
mod feedback;
mod filter;
mod fleet;
mod label;
mod learning;
mod message;
mod model;
mod outputs;
mod pages;
mod pin;
mod read;
mod report;
mod rows;
mod run;
mod sandbox;
mod score;
mod tables;
mod train;
mod tunnels;
mod values;
mod verbosity;

#[cfg(test)]
mod tests;

pub(crate) use self::configuration::Configuration;
pub(crate) use self::doctor::Doctor;
pub(crate) use self::eval::Eval;
pub(crate) use self::features::{Features, ListFormat};
pub(crate) use self::feedback::Feedback;
pub(crate) use self::fleet::{Fleet, FleetCommand, MergeArguments};
pub(crate) use self::label::Label;
pub(crate) use self::model::{Model, ModelCommand};
pub(crate) use self::pages::Pages;
pub(crate) use self::pin::Unpin;
pub(crate) use self::read::Read;
pub(crate) use self::report::Report;
pub(crate) use self::run::Run;
pub(crate) use self::sandbox::SandboxArguments;
pub(crate) use self::score::Score;
pub(crate) use self::tables::{InputArguments, Unit};
pub(crate) use self::train::Train;
pub(crate) use self::verbosity::Verbosity;

use self::config_file::with_file;
use self::message::{is_question, one_line, without_usage};
use self::values::interface_twice;

/// A network flow meter for Linux that learns normal traffic and reports anomalies.
#[derive(Debug, Parser)]
#[command(name = "flowml", version, after_help = exit_codes!(), subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Meter live interfaces.
    #[command(about = run::RUN_ABOUT, long_about = run::RUN_HELP, after_help = run::RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Read captures.
    #[command(about = read::READ_ABOUT, long_about = read::READ_HELP, after_help = read::READ_EXAMPLES)]
    Read(Read),
    /// Label flow records by rules or from another table, and clean them
    #[command(long_about = label::LABEL_HELP, after_help = label::LABEL_EXAMPLES)]
    Label(Label),
    /// Train a model on captures, live traffic or tables
    #[command(long_about = train::TRAIN_HELP, after_help = train::TRAIN_EXAMPLES)]
    Train(Train),
    /// Score the rows of tables, or the flows of captures, with a model of 'flowml train'
    #[command(long_about = score::SCORE_HELP, after_help = score::SCORE_EXAMPLES)]
    Score(Score),
    /// Measure detectors and classifiers on labelled tables and captures
    #[command(long_about = eval::EVAL_HELP, after_help = eval::EVAL_EXAMPLES)]
    Eval(Eval),
    /// Check whether 'flowml run' works on this host, and print the commands that fix problems
    #[command(long_about = doctor::DOCTOR_HELP, after_help = doctor::DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Remove what 'flowml run --pin' keeps in the kernel: programs, links and maps
    #[command(long_about = pin::UNPIN_HELP, after_help = pin::UNPIN_EXAMPLES)]
    Unpin(Unpin),
    /// Write an HTML report of captures or records, with charts
    #[command(long_about = report::REPORT_HELP, after_help = report::REPORT_EXAMPLES)]
    Report(Report),
    /// Store in a model of traffic that an incident was benign, or that it was an attack
    #[command(long_about = feedback::FEEDBACK_HELP, after_help = feedback::FEEDBACK_EXAMPLES)]
    Feedback(Feedback),
    /// Make the model of a fleet of agents
    #[command(after_help = exit_codes!())]
    Fleet(Fleet),
    /// Show what a model file contains
    #[command(after_help = exit_codes!())]
    Model(Model),
    /// Print the meaning of every column of the records
    #[command(after_help = exit_codes!())]
    Features(Features),
    /// Write the man pages and the shell completions, for packages
    #[command(hide = true)]
    Pages(Pages),
}

impl Arguments {
    /// Reads the arguments of a process, the program's name first.
    ///
    /// # Errors
    /// clap's error for an invalid command line. clap also returns an error when help or the version was requested.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let wrong = |message| Self::command().error(ErrorKind::ValueValidation, message);
        let (configuration, arguments) = with_file(Self::command(), arguments.into_iter().collect()).map_err(wrong)?;
        let mut read = Self::try_parse_from(arguments)?;
        if let Command::Run(run) = &mut read.command {
            run.configuration = configuration;
        }
        let contradiction = match &read.command {
            Command::Run(run) => run.contradiction(),
            Command::Read(read) => read.contradiction(),
            Command::Eval(eval) => eval.contradiction(),
            Command::Doctor(doctor) => interface_twice(&doctor.interfaces),
            Command::Fleet(Fleet { command: FleetCommand::Merge(merge) }) => merge.contradiction(),
            Command::Features(_)
            | Command::Label(_)
            | Command::Train(_)
            | Command::Score(_)
            | Command::Report(_)
            | Command::Unpin(_)
            | Command::Feedback(_)
            | Command::Model(_)
            | Command::Pages(_) => None,
        };
        match contradiction {
            Some(message) => Err(Self::command().error(ErrorKind::ArgumentConflict, message)),
            None => Ok(read),
        }
    }

    /// The command line of this process, with the current content of its configuration file.
    ///
    /// # Errors
    /// If the file is invalid: one line that states why.
    pub(crate) fn of_this_run() -> Result<Run, String> {
        match Self::read(std::env::args_os()) {
            Ok(Self { command: Command::Run(run) }) => Ok(*run),
            Ok(_) => Err("the arguments of this process are not those of 'flowml run'".to_owned()),
            Err(error) => Err(without_usage(&error)),
        }
    }

    /// The arguments of this process. Ends the process if they are invalid (exit code 2, one line on standard error) or
    /// if they request help or the version.
    #[must_use]
    pub(crate) fn of_this_process() -> Self {
        let read = Self::read(std::env::args_os()).and_then(|read| match &read.command {
            Command::Run(run) => match run.unfit() {
                Some(message) => Err(Self::command().error(ErrorKind::Io, message)),
                None => Ok(read),
            },
            _ => Ok(read),
        });
        read.unwrap_or_else(|error| {
            if is_question(&error) {
                error.exit();
            }
            eprintln!("{}", prioritized(Priority::Error, &plain::line(&one_line(&error))));
            std::process::exit(error.exit_code());
        })
    }
}
