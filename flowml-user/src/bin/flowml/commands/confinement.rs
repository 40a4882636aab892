//! Restricts a command to the files and ports that its arguments name, and to the system calls that it needs.

use std::env;
use std::path::{Path, PathBuf};

use flowml_user::engine::learners::is_file;
use flowml_user::process::sandbox::{self, Confined, Reach};

use crate::args::{Command, Fleet, FleetCommand, Run, SandboxArguments};

/// Restricts a command that reads files to the files it was given, before its first thread starts. Missing kernel
/// support is not reported here: `flowml doctor` reports it.
pub(crate) fn confine_reader(command: &Command) {
    let Some((arguments, reach)) = reach_of_reader(command) else { return };
    if arguments.is_on() {
        sandbox::confine(&reach);
    }
    // Libraries may be loaded to resolve a collector's name, so `read` filters its calls after its outputs are open.
    if !matches!(command, Command::Read(_)) {
        filter_calls(arguments);
    }
}

/// Restricts this thread, and those that it starts later, to the files and ports of a run that may also save to
/// `saves`. There must be no other thread. Returns what the sandbox allows if it is enforced, and a description of
/// missing kernel support.
pub(super) fn confine(run: &Run, saves: Option<&Path>) -> (Option<Reach>, Option<String>) {
    if !run.sandbox.is_on() {
        return (None, None);
    }
    let reach = reach_of_run(run, saves);
    let Confined { enforced, missing } = sandbox::confine(&reach);
    (enforced.then_some(reach), missing)
}

/// Filters the system calls of all threads. Programs and libraries must be loaded before. Returns a reason if that is
/// not possible.
pub(super) fn filter_calls(arguments: SandboxArguments) -> Option<String> {
    if arguments.is_on() { sandbox::filter_calls().err() } else { None }
}

fn reach_of_run(run: &Run, saves: Option<&Path>) -> Reach {
    let mut reach = Reach::system();
    if let Some(file) = &run.config {
        // SIGHUP reads it again, and editors replace the file.
        reach.read_beside(file);
    }
    run.model.as_deref().filter(|path| is_file(path)).into_iter().chain(saves).for_each(|path| reach.write(path));
    if let Some(model) = run.fleet.model() {
        // The same as for the configuration.
        reach.read_beside(&model.path);
    }
    run.output.reach(&mut reach);
    if let Some(address) = run.metrics {
        reach.listen(address.port());
    }
    if let Some(file) = &run.state {
        reach.write(file);
    }
    if let Some(folder) = &run.pin {
        // Pins are created there, and removed when an interface disappears or the start fails.
        reach.write_in(folder);
        reach.remove(folder);
    }
    if run.tui {
        // The size of the terminal is queried from it.
        reach.write(Path::new("/dev/tty"));
    }
    if env::var_os("NOTIFY_SOCKET").is_some_and(|name| name.as_encoded_bytes().starts_with(b"@")) {
        reach.send_to_abstract_sockets();
    }
    reach
}

/// The files that a reading command names. Captures become tables in a temporary folder.
fn reach_of_reader(command: &Command) -> Option<(SandboxArguments, Reach)> {
    let mut reach = Reach::system();
    reach.write_temporary();
    let arguments = match command {
        Command::Read(read) => {
            let model = read.model.iter().filter(|path| is_file(path));
            let fleet_model = read.fleet.model().map(|model| model.path);
            name(&mut reach, read.files.iter().chain(&fleet_model), model);
            read.output.reach(&mut reach);
            read.sandbox
        }
        Command::Label(label) => {
            let inputs = label.inputs.iter().chain(&label.rules).chain(&label.labels);
            name(&mut reach, inputs, [&label.output].into_iter().chain(&label.report));
            label.sandbox
        }
        Command::Train(train) if train.interfaces.is_empty() => {
            name(&mut reach, train.inputs.iter().chain(&train.table.labels), [&train.model]);
            train.sandbox
        }
        Command::Score(score) => {
            name(&mut reach, score.inputs.iter().chain(&score.model), [&score.output]);
            score.sandbox
        }
        Command::Eval(eval) => {
            let inputs = eval.inputs.iter().chain(&eval.train).chain(&eval.model).chain(&eval.table.labels);
            name(&mut reach, inputs, eval.output.iter().chain(&eval.report));
            eval.sandbox
        }
        Command::Report(report) => {
            name(&mut reach, report.inputs.iter().chain(&report.model).chain(&report.labels), [&report.output]);
            report.sandbox
        }
        Command::Feedback(feedback) => {
            name(&mut reach, [&feedback.records], [&feedback.model]);
            feedback.sandbox
        }
        Command::Fleet(Fleet { command: FleetCommand::Merge(merge) }) => {
            let parent = Some(&merge.parent).filter(|path| is_file(path));
            name(&mut reach, merge.inputs.iter().chain(parent), [&merge.output]);
            merge.sandbox
        }
        Command::Run(_)
        | Command::Train(_)
        | Command::Model(_)
        | Command::Doctor(_)
        | Command::Features(_)
        | Command::Unpin(_)
        | Command::Pages(_) => return None,
    };
    Some((arguments, reach))
}

/// Adds files to read and files to write, except `-`.
fn name<'a>(
    reach: &mut Reach,
    read: impl IntoIterator<Item = &'a PathBuf>,
    written: impl IntoIterator<Item = &'a PathBuf>,
) {
    let is_named = |path: &&PathBuf| path.as_path() != Path::new("-");
    read.into_iter().filter(is_named).for_each(|path| reach.read(path));
    written.into_iter().filter(is_named).for_each(|path| reach.write(path));
}
