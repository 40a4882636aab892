//! Reading the file of `--config`: TOML whose keys are the flags of `flowml run`. The keys are converted to arguments,
//! so the definition of the command line is the only list of flags and values.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args as _, Command, FromArgMatches as _};
use flowml_user::dataset::Position;
use flowml_user::process::whole;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::configuration::{Configuration, Key};
use super::message::without_usage;
use super::run::Run;

/// The longest configuration, bytes.
const LONGEST: u64 = 1 << 20;

/// The position in the text, and the expected value.
type Wrong = (usize, String);

/// The file that a command line of `flowml run` names, and the command line with the content of the file in it. Other
/// command lines of `program` are returned as they are.
pub(super) fn with_file(
    program: Command,
    command_line: Vec<OsString>,
) -> Result<(Option<Configuration>, Vec<OsString>), String> {
    let tolerant = program.ignore_errors(true).try_get_matches_from(&command_line);
    let Ok(Some((Run::NAME, run))) = tolerant.as_ref().map(|matches| matches.subcommand()) else {
        return Ok((None, command_line));
    };
    let Some(path) = run.try_get_one::<PathBuf>(Run::CONFIG).ok().flatten() else {
        return Ok((None, command_line));
    };
    let is_given = |id: &str| run.value_source(id) == Some(ValueSource::CommandLine);
    let overruled: Vec<String> =
        flags(&definition()).filter(|(_, flag)| is_given(flag.get_id().as_str())).map(|(name, _)| name).collect();
    let mut file = read(path)?;
    file.keys.retain(|key| !overruled.contains(&key.name));
    let (begin, rest) = command_line.split_at(2);
    let of_file = file.keys.iter().flat_map(|key| key.arguments.iter().cloned());
    let joined = begin.iter().cloned().chain(of_file).chain(rest.iter().cloned()).collect();
    Ok((Some(file), joined))
}

fn read(path: &Path) -> Result<Configuration, String> {
    let text = whole::read_text(path, LONGEST);
    let text = text.map_err(|error| format!("cannot read the configuration {}: {error}", path.display()))?;
    let keys = parse(&text).and_then(beside_each_other);
    let keys = keys.map_err(|(at, wrong)| format!("{}:{}: {wrong}", path.display(), Position::of(&text, at)))?;
    Ok(Configuration { path: path.to_owned(), keys })
}

/// The flags of `flowml run`.
fn definition() -> Command {
    Run::augment_args(Command::new(Run::NAME).no_binary_name(true))
}

/// The valid keys: the names of all flags except `--config`.
fn flags(definition: &Command) -> impl Iterator<Item = (String, &Arg)> {
    let flags = definition.get_arguments().filter(|flag| flag.get_id() != Run::CONFIG);
    flags.filter_map(|flag| Some((flag.get_long()?.to_owned(), flag)))
}

/// The keys in the order of the file, with their positions.
fn parse(text: &str) -> Result<Vec<(usize, Key)>, Wrong> {
    let table = DeTable::parse(text)
        .map_err(|error| (error.span().map_or(0, |span| span.start), error.message().replace('\n', "; ")))?;
    let definition = definition();
    let mut keys = Vec::new();
    for (name, value) in table.get_ref() {
        let place = name.span().start;
        let flag = flags(&definition).find(|(flag, _)| flag == name.get_ref());
        let Some((name, flag)) = flag else {
            return Err((place, format!("unknown key '{}': {}", name.get_ref(), meant(name.get_ref()))));
        };
        let arguments = arguments(&name, flag, value)?;
        keys.push((place, Key { name, arguments }));
    }
    keys.sort_unstable_by_key(|(place, _)| *place);
    Ok(keys)
}

/// The most similar key, by clap's suggestion for a flag, or all keys.
fn meant(unknown: &str) -> String {
    let mut known: Vec<String> = flags(&definition()).map(|(name, _)| name).collect();
    let error = definition().try_get_matches_from([format!("--{unknown}")]).err();
    let like = error.and_then(|error| match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(flag)) => Some(flag.trim_start_matches("--").to_owned()),
        _ => None,
    });
    if let Some(like) = like.filter(|like| known.contains(like)) {
        return format!("did you mean '{like}'?");
    }
    known.sort_unstable();
    format!("expected one of {}", known.join(", "))
}

/// Checks that no key conflicts with an earlier one. An argument that a key requires may be on the command line.
fn beside_each_other(keys: Vec<(usize, Key)>) -> Result<Vec<Key>, Wrong> {
    let mut before: Vec<Key> = Vec::new();
    for (place, key) in keys {
        before.push(key);
        let arguments = before.iter().flat_map(|key| &key.arguments);
        let wrong = match definition().try_get_matches_from(arguments) {
            Ok(matches) => Run::from_arg_matches(&matches).ok().and_then(|run| run.contradiction()),
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => None,
            Err(error) => Some(without_usage(&error)),
        };
        if let Some(wrong) = wrong {
            return Err((place, wrong));
        }
    }
    Ok(before)
}

/// The command-line arguments that are equivalent to a value.
fn arguments(name: &str, flag: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<OsString>, Wrong> {
    let alone = || OsString::from(format!("--{name}"));
    match (flag.get_action(), value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(wanted)) => Ok(wanted.then(alone).into_iter().collect()),
        (ArgAction::SetTrue, _) => Err(expected(name, "true or false", value)),
        (ArgAction::Count, DeValue::Integer(times)) => {
            let times = u8::from_str_radix(times.as_str(), times.radix());
            times
                .map(|times| vec![alone(); times.into()])
                .map_err(|_| expected(name, "a whole number, 0 to 255", value))
        }
        (ArgAction::Count, _) => Err(expected(name, "a whole number, 0 to 255", value)),
        (ArgAction::Append, DeValue::Array(values)) => values.iter().map(|value| argument(name, flag, value)).collect(),
        _ => Ok(vec![argument(name, flag, value)?]),
    }
}

/// The command-line argument that is equivalent to one value, with the same checks.
fn argument(name: &str, flag: &Arg, value: &Spanned<DeValue<'_>>) -> Result<OsString, Wrong> {
    let text = match (TomlType::of(flag.get_value_parser()), value.get_ref()) {
        (TomlType::Text, DeValue::String(text)) => text.to_string(),
        (TomlType::Integer | TomlType::Number, DeValue::Integer(number)) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix());
            decimal.map_or_else(|_| number.to_string(), |number| number.to_string())
        }
        (TomlType::Number, DeValue::Float(number)) => number.as_str().to_owned(),
        (kind, _) => return Err(expected(name, kind.words(), value)),
    };
    let argument = OsString::from(format!("--{name}={text}"));
    match definition().try_get_matches_from([&argument]) {
        // Conflicts between two keys are checked when all keys are known.
        Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
            Err((value.span().start, without_usage(&error)))
        }
        _ => Ok(argument),
    }
}

fn expected(name: &str, what: &str, value: &Spanned<DeValue<'_>>) -> Wrong {
    (value.span().start, format!("'{name}' is of type {}: expected {what}", value.get_ref().type_str()))
}

/// The TOML type of a flag's value.
#[derive(Clone, Copy)]
enum TomlType {
    Text,
    Integer,
    Number,
}

impl TomlType {
    fn of(parser: &ValueParser) -> Self {
        let integers = [TypeId::of::<u8>(), TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>()];
        match parser.type_id() {
            kind if integers.iter().any(|integer| kind == *integer) => Self::Integer,
            kind if kind == TypeId::of::<f64>() => Self::Number,
            _ => Self::Text,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Text => "a string in quotes",
            Self::Integer => "a whole number",
            Self::Number => "a number",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flowml_user::capture::selection::Selector;
    use tempfile::TempDir;

    use super::*;
    use crate::args::Arguments;
    use crate::args::message::one_line;

    /// Reads a command line of `flowml run` with a file of this text.
    fn run_with(text: &str, arguments: &str) -> Result<Run, String> {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("c.toml");
        fs::write(&path, text).expect("a file");
        let words = ["flowml", "run", "--config", path.to_str().expect("UTF-8")];
        let words = words.into_iter().chain(arguments.split_whitespace()).map(OsString::from);
        match Arguments::read(words) {
            Ok(Arguments { command: crate::args::Command::Run(run) }) => Ok(*run),
            Ok(other) => panic!("expected a run: {other:?}"),
            Err(error) => {
                assert_eq!(error.exit_code(), 2);
                let line = one_line(&error);
                Err(line.replace(path.to_str().expect("UTF-8"), "c.toml"))
            }
        }
    }

    /// The arguments of a run, without the file that contained them.
    fn described(run: Run) -> String {
        format!("{:?}", Run { config: None, configuration: None, ..run })
    }

    #[test]
    fn a_file_gives_the_same_run_as_the_same_flags() {
        let text = r#"
            interface = ["eth0", "eth1"]
            xdp-mode = "tc"
            interval = "2s"
            flow-capacity = 0x100
            alpha = 1e-3
            seed = 7
            learn = true
            quiet = 2
            payload = 64
            match = "sql=(?i)union"
            output = ["csv=f.csv"]
            metrics = "[::1]:9750"
        "#;
        let line = "flowml run -i eth0 -i eth1 --xdp-mode tc --interval 2s --flow-capacity 256 --alpha 1e-3 --seed 7 \
                    --learn -qq --payload 64 --match sql=(?i)union -o csv=f.csv --metrics [::1]:9750";
        let Ok(Arguments { command: crate::args::Command::Run(run) }) =
            Arguments::read(line.split_whitespace().map(OsString::from))
        else {
            panic!("{line}");
        };
        assert_eq!(described(run_with(text, "").expect("all of it is good")), described(*run));
    }

    #[test]
    fn the_file_that_is_packaged_names_every_flag_with_a_value_that_it_takes() {
        let packaged = include_str!("../../../../../packaging/flowml.toml");
        assert!(run_with(packaged, "").is_ok());
        let uncommented = |line: &'static str| {
            let key = line
                .strip_prefix("# ")
                .filter(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')));
            [key.unwrap_or(line), "\n"]
        };
        let whole: String = packaged.lines().flat_map(uncommented).collect();
        let mut named: Vec<String> = parse(&whole).expect("keys").into_iter().map(|(_, key)| key.name).collect();
        let mut known: Vec<String> = flags(&definition()).map(|(name, _)| name).collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn the_command_line_comes_first() {
        let text = "interface = [\"eth0\", \"eth1\"]\ninterval = \"2s\"\nquiet = 2\npayload = 64\n";
        let run = run_with(text, "-i lo --interval 3s -q --match a=b").expect("all of it is good");
        assert_eq!(run.interfaces, [Selector::Name("lo".to_owned())]);
        assert_eq!((run.interval.as_secs(), run.quiet, run.rows.content.matches.len()), (3, 1, 1));
        let message = run_with("", "--match a=b").expect_err("--payload is missing");
        assert!(message.contains("--payload"), "{message}");
    }

    #[test]
    fn an_error_states_its_position() {
        let cases = [
            ("\n  intervall = '1s'", "c.toml:2:3: unknown key 'intervall': did you mean 'interval'?"),
            ("xdp_mode = 'tc'", "c.toml:1:1: unknown key 'xdp_mode': did you mean 'xdp-mode'?"),
            ("colour = 1", "c.toml:1:1: unknown key 'colour': expected one of active-timeout, agent-id"),
            ("config = 'x'", "c.toml:1:1: unknown key 'config': expected one of active-timeout, agent-id"),
            ("learn = false\ninterval = '5ms'", "c.toml:2:12: invalid value '5ms' for '--interval <DURATION>'"),
            ("interval = 1", "c.toml:1:12: 'interval' is of type integer: expected a string in quotes"),
            ("seed = '7'", "c.toml:1:8: 'seed' is of type string: expected a whole number"),
            ("seed = 1.5", "c.toml:1:8: 'seed' is of type float: expected a whole number"),
            ("seed = -1", "c.toml:1:8: invalid value '-1'"),
            ("alpha = 2", "c.toml:1:9: invalid value '2' for '--alpha <P>': expected a number between 0 and 1"),
            ("learn = 1", "c.toml:1:9: 'learn' is of type integer: expected true or false"),
            ("quiet = true", "c.toml:1:9: 'quiet' is of type boolean: expected a whole number, 0 to 255"),
            ("quiet = 256", "c.toml:1:9: 'quiet' is of type integer: expected a whole number, 0 to 255"),
            ("interface = ['é', 'a/b']", "c.toml:1:19: invalid value 'a/b' for '--interface <IFACE>'"),
            ("model = ['a', 'b']", "c.toml:1:9: 'model' is of type array: expected a string in quotes"),
            ("[model]\nfile = 'x'", "c.toml:1:1: 'model' is of type table"),
            ("output = ['xml=a']", "c.toml:1:11: invalid value 'xml=a'"),
            ("xdp-mode = 'hardware'", "c.toml:1:12: invalid value 'hardware' for '--xdp-mode <MODE>'"),
            ("learn = true\nlearn = true", "c.toml:2:1: duplicate key"),
            ("learn = ", "c.toml:1:"),
            ("alpha = 0.1\n\nfalse-alarms = '1/day'", "c.toml:3:1: the argument '--"),
            ("tui = true\nquiet = 1", "c.toml:2:1: the argument '--"),
            ("seed = 1\noutput = ['csv=a', 'jsonl=a']", "c.toml:2:1: a was given to two outputs"),
            ("interface = ['lo', 'lo']", "c.toml:1:1: interface 'lo' was given twice"),
            (
                "metrics = 'localhost:9750'",
                "c.toml:1:11: invalid value 'localhost:9750' for '--metrics <ADDR>': expected an",
            ),
        ];
        for (text, expected) in cases {
            let message = run_with(text, "").expect_err(text);
            let is_one_line = message.starts_with("flowml: ") && !message.contains('\n');
            assert!(is_one_line && message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn the_keys_that_changed_are_named() {
        let configuration = |text| run_with(text, "-q").expect(text).configuration.expect("a file was named");
        let one = configuration("alpha = 0.1\nseed = 1\nlearn = true\nquiet = 2");
        let other = configuration("alpha = 0.2\nseed = 1\ninterval = '2s'\nquiet = 0");
        assert_eq!(one.changed(&other), ["alpha", "interval", "learn",]);
        assert_eq!(one.changed(&one), [""; 0]);
    }
}
