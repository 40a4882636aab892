//! `flowml fleet merge`: makes the next model of a fleet from statistics.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use flowml_user::learning::fleet::{Merge, Merged, MergedLearner};
use flowml_user::process::plain::print_lines;
use flowml_user::process::words::counted;

use super::traffic;
use crate::args::{Fleet, FleetCommand, MergeArguments};

/// Runs a subcommand.
///
/// # Errors
/// If the statistics are not valid, or a file cannot be read or written.
pub(crate) fn run(arguments: &Fleet) -> Result<()> {
    let FleetCommand::Merge(arguments) = &arguments.command;
    merge(arguments)
}

fn merge(MergeArguments { inputs, parent, output, .. }: &MergeArguments) -> Result<()> {
    let mut merge = Merge::new(traffic::content(parent)?)?;
    for path in inputs {
        if path.as_os_str() == "-" {
            merge.add("standard input", io::stdin().lock())?;
        } else {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            merge.add(&path.display().to_string(), BufReader::new(file))?;
        }
    }
    let merged = merge.finish()?;
    merged.write(output)?;
    print_lines(&describe(&merged, output));
    Ok(())
}

/// What was merged, and the identity of the next model.
fn describe(merged: &Merged, output: &Path) -> String {
    let Merged { identity, learners, taken, doubled, other, agents, .. } = merged;
    let of_agents = if *agents > 0 { format!(" of {}", counted(*agents as u64, "agent")) } else { String::new() };
    let mut lines = vec![
        format!("flowml: {} is model {} of the fleet", output.display(), identity.number),
        format!(
            "  {}{of_agents} added; {doubled} doubled and {other} of other types left out",
            counted(*taken, "statistics row")
        ),
    ];
    lines.extend(learners.iter().map(|MergedLearner { name, rows, is_new, rescaled }| {
        let rows = counted(*rows, "row");
        match is_new {
            true => format!("  {name}: {rows}; {} with a new scale", counted(*rescaled as u64, "column")),
            false => format!("  {name}: {rows}, which is too few: its model is that of the parent"),
        }
    }));
    lines.push(format!("  sha256 {}", identity.hash));
    lines.join("\n") + "\n"
}
