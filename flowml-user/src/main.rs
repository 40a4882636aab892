//! The agent: parses the command line and runs the command.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use flowml_user::cli::{Arguments, Command, Features, ListFormat};
use flowml_user::pipeline::confinement::confine_reader;
use flowml_user::pipeline::{doctor, evaluate, feedback, label, read, report, run, train, unpin};
use flowml_user::process::journal::{Priority, told};
use flowml_user::process::plain;
use flowml_user::sink::{catalogue, tell_last};

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
        Command::Model(arguments) => train::show(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments).await,
        Command::Features(features) => list(features),
        Command::Pages(pages) => pages.write().context("cannot write pages and completions"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell_last(&told(Priority::Error, &plain::lines(&format!("flowml: {error:#}\n"))));
            ExitCode::FAILURE
        }
    }
}

/// Prints the columns of the records. A closed standard output is not an error.
fn list(Features { format }: Features) -> Result<()> {
    let mut stream = BufWriter::new(io::stdout().lock());
    let written = match format {
        ListFormat::Text => catalogue::write_text(&mut stream),
        ListFormat::Json => catalogue::write_json(&mut stream),
    };
    match written.and_then(|()| stream.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}
