//! `flowml pages`: writes man pages and completions for shells, from the definition of the command line.

use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Arguments, Pages};

/// The shells for which there are completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes a page for the program and for each command, and a file of completions for each shell.
///
/// # Errors
/// If the folder cannot be written to.
pub(crate) fn run(arguments: &Pages) -> Result<()> {
    write(&arguments.folder).context("cannot write the man pages and completions")
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Arguments::command(), "flowml", folder)?;
    }
    Ok(())
}
