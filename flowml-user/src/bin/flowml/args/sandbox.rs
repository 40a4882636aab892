//! The option that turns the sandbox on or off.

use clap::{Args, ValueEnum};

/// The argument that turns the sandbox on or off.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct SandboxArguments {
    /// Sandbox (Landlock, seccomp): the command can access only the files and ports that its options name, and make
    /// only the system calls that it needs. Use 'off' to find out whether the sandbox causes a failure
    #[arg(long = "sandbox", value_name = "SWITCH", value_enum, default_value_t)]
    switch: Switch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// The sandbox is active
    #[default]
    On,
    /// No sandbox: the command has all permissions of its user
    Off,
}

impl SandboxArguments {
    /// Whether the sandbox is on.
    #[must_use]
    pub(crate) fn is_on(self) -> bool {
        self.switch == Switch::On
    }
}
