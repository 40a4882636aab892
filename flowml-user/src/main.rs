//! The agent: reads the command line and does what it says.

use std::process::ExitCode;

use flowml_user::cli::{Arguments, Command};
use flowml_user::pipeline::live;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Command::Run(run) = Arguments::of_this_process().command;
    match live::run(&run).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flowml: {error:#}");
            ExitCode::FAILURE
        }
    }
}
