//! Whether a command is confined.

use clap::{Args, ValueEnum};

/// The argument by which a command is confined.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SandboxArguments {
    /// Reach no files and ports but those that are named, and make no system calls that the work does not need (Landlock,
    /// seccomp); 'off' is for finding out whether that is why something fails
    #[arg(long = "sandbox", value_name = "SWITCH", value_enum, default_value_t)]
    switch: Switch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// The command keeps itself from what it does not need
    #[default]
    On,
    /// It may do what its user may do
    Off,
}

impl SandboxArguments {
    /// Whether the command keeps itself from what it does not need.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.switch == Switch::On
    }
}
