//! What is made of the definition of the command line: man pages, and completions for shells.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;

/// The shells for which there are completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// The arguments of `flowml pages`.
#[derive(Args, Clone, Debug)]
pub struct Pages {
    /// Folder to write them to
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl Pages {
    /// Writes a page for the program and for each command, and a file of completions for each shell.
    ///
    /// # Errors
    /// Where the folder cannot be written to.
    pub fn write(&self) -> io::Result<()> {
        let folder: &Path = &self.folder;
        fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Arguments::command(), folder)?;
        for shell in SHELLS {
            clap_complete::generate_to(shell, &mut Arguments::command(), "flowml", folder)?;
        }
        Ok(())
    }
}
