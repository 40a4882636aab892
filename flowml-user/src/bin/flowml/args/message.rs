//! clap's errors as flowml's messages.

use clap::error::ErrorKind;

/// Whether clap's error is a requested text (help or version), which is printed unchanged.
pub(super) fn is_question(error: &clap::Error) -> bool {
    let kind = error.kind();
    matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
        || kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// clap's error in one line, with the prefix of all of flowml's errors.
pub(super) fn one_line(error: &clap::Error) -> String {
    format!("flowml: {} (see 'flowml help')", without_usage(error))
}

/// clap's error without its usage paragraphs, in one line.
pub(super) fn without_usage(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let message =
        message.filter(|words| !words.is_empty() && !words.starts_with("Usage:") && !words.starts_with("For more"));
    let message = message.collect::<Vec<_>>().join("; ");
    message.strip_prefix("error: ").unwrap_or(&message).to_owned()
}
