//! The soak test: runs the agent for a long time under traffic, attacks and faults, and accounts for every packet.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use flowml_tests::lab::Lab;
use flowml_tests::screen::{Screen, is_interrupted, red, watch_signals};
use flowml_tests::soak::{Plan, run};
use flowml_user::process::amounts;

/// The allowed durations of a soak test.
const LENGTHS: std::ops::RangeInclusive<Duration> = Duration::from_secs(15)..=Duration::from_secs(7 * 86_400);

/// The exit code of shells after SIGINT.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let plan = match plan(&arguments) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("soak: {error}\nusage: soak FOLDER LENGTH SEED");
            return ExitCode::from(2);
        }
    };
    let screen = Screen::new();
    match watch_signals().and_then(|()| run(Lab::new()?, &plan, &screen)) {
        Ok(failures) if failures.is_empty() => {
            screen.line("only the faults that must lose rows lost some, and nothing grew");
            if is_interrupted() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS }
        }
        Ok(failures) => {
            failures.iter().for_each(|failure| screen.line(&red(failure)));
            screen.line(&format!("{} failures", failures.len()));
            ExitCode::FAILURE
        }
        Err(_) if is_interrupted() => {
            eprintln!("\nstopped; the namespaces, the traffic and the agent were removed");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[OsString]) -> Result<Plan, String> {
    let [folder, length, seed] = arguments else { return Err("expected three arguments".to_owned()) };
    let (length, seed) = (length.to_string_lossy(), seed.to_string_lossy());
    Ok(Plan {
        folder: folder.into(),
        length: amounts::duration(&length, LENGTHS).map_err(|error| format!("the length {length}: {error}"))?,
        seed: seed.parse().map_err(|_| format!("the seed {seed}: expected a whole number"))?,
    })
}
