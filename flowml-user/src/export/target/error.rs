//! Errors in the argument of `-o`.

/// An error in the argument of an `-o` option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The argument has no `=`.
    #[error("expected {expected}, as in jsonl=flows.jsonl; PATH '-' is standard output")]
    Grammar {
        /// The valid arguments.
        expected: String,
    },
    /// The text before `=` is not a kind of output.
    #[error("unknown output kind '{kind}'; expected {expected}")]
    OutputKind {
        /// The given kind.
        kind: String,
        /// The valid arguments.
        expected: String,
    },
    /// The path after `=` is empty.
    #[error("expected a path after '{0}=', or '-' for standard output")]
    Path(&'static str),
    /// The text after `=` is not a folder.
    #[error("expected a folder after 'parquet=', as in parquet=flows: this output writes several files")]
    Folder,
    /// The text after `=` is not a collector.
    #[error(
        "invalid collector '{0}'; expected HOST:PORT (by UDP) or tcp://HOST:PORT, an IPv6 address in brackets, as in \
         ipfix=tcp://[2001:db8::1]:4739"
    )]
    Collector(String),
    /// The text after `=` is not a URL. It may contain secrets, so it is not repeated.
    #[error(
        "invalid URL after '{0}=' (not shown, because it may contain secrets); expected http://HOST[:PORT][/PATH] or https://…, \
         with special characters percent-encoded and without a fragment, for Alertmanager also without a query"
    )]
    Url(&'static str),
    /// The text after `=` is not a syslog server.
    #[error(
        "invalid syslog server '{0}'; expected unix:/PATH, udp:HOST:PORT or tcp:HOST:PORT, an IPv6 address in brackets, as in \
         syslog=tcp:[2001:db8::1]:514"
    )]
    Syslog(String),
    /// The text after the address of a receiver is not its option.
    #[error(
        "unknown option '{0}' of a receiver; only format=NAME may follow its address, as in syslog=unix:/dev/log,format=ecs"
    )]
    ReceiverOption(String),
    /// The text after the path is not an option.
    #[error("unknown output option '{option}'; after a path, {valid} may follow, as in csv=flows.csv,{valid}")]
    Option {
        /// The given option.
        option: String,
        /// The valid options.
        valid: String,
    },
    /// An option has an invalid value.
    #[error("invalid value '{value}' for '{name}'; expected {expected}")]
    Value {
        /// The option.
        name: &'static str,
        /// The given value.
        value: String,
        /// A description of valid values.
        expected: String,
    },
    /// An option was given twice.
    #[error("output option '{0}' was given twice")]
    Twice(&'static str),
    /// An option of files was given for a destination that is no file.
    #[error("{0} takes no options: options apply to files only")]
    NoFile(&'static str),
    /// The text after `=` is not a peer that takes rows.
    #[error("invalid address '{place}' after '{kind}='; expected {expected}")]
    Peer {
        /// The kind of output.
        kind: &'static str,
        /// The given address.
        place: String,
        /// A description of valid addresses.
        expected: &'static str,
    },
    /// The text after the address of a peer is not one of its options. Its value is not repeated.
    #[error("unknown option '{option}' of {kind}; expected {valid}")]
    PeerOption {
        /// The kind of output.
        kind: &'static str,
        /// The name of the given option.
        option: String,
        /// The names of the valid options.
        valid: String,
    },
    /// An option was given without another one.
    #[error("output option '{given}' needs {missing} as well")]
    Needs {
        /// The given option.
        given: &'static str,
        /// The missing option.
        missing: &'static str,
    },
}
