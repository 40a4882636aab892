//! Whether a command is confined.

use clap::{Args, ValueEnum};

/// The argument by which a command is confined.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct SandboxArguments {
    /// Access only the files and ports that are named, and make only the system calls that the command needs (Landlock, seccomp);
    /// use 'off' to find out whether the sandbox is the reason of a failure
    #[arg(long = "sandbox", value_name = "SWITCH", value_enum, default_value_t)]
    switch: Switch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// The command has access only to what it needs
    #[default]
    On,
    /// The command has all permissions of its user
    Off,
}

impl SandboxArguments {
    /// Whether the command keeps itself from what it does not need.
    #[must_use]
    pub(crate) fn is_on(self) -> bool {
        self.switch == Switch::On
    }
}
