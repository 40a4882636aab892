//! Tests of the command line: defaults, values, and error messages.

use std::time::Duration;

use flowml_common::content::PayloadLimit;
use flowml_common::tunnel::TunnelKind;
use flowml_user::capture::attach::{Mode, Wanted};
use flowml_user::capture::selection::Selector;
use flowml_user::engine::{AlarmLevel, Direction};
use flowml_user::record::Pattern;
use flowml_user::session::{InitiatorRule, Timeouts};
use glob::Pattern as NamePattern;

use super::values::DAY;
use super::*;

fn read(arguments: &str) -> Result<Run, String> {
    let words = std::iter::once("flowml").chain(arguments.split_whitespace()).map(OsString::from);
    match Arguments::read(words) {
        Ok(Arguments { command: Command::Run(run) }) => Ok(*run),
        Ok(other) => panic!("expected a run: {other:?}"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{error}");
            Err(one_line(&error))
        }
    }
}

#[test]
fn the_definition_holds_together() {
    Arguments::command().debug_assert();
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let run = read("run").expect("no argument is required");
    assert!(run.interfaces.is_empty() && run.output.targets.is_empty());
    assert_eq!((run.xdp_mode, run.direction), (Wanted::Auto, Direction::Ingress));
    assert_eq!(run.interval, Duration::from_secs(1));
    assert_eq!(run.idle_timeout, Duration::from_secs(15));
    assert_eq!(run.active_timeout, Duration::from_secs(120));
    assert_eq!((run.duration, run.model.clone()), (None, None));
    assert_eq!(run.verbosity(), Verbosity::Tables);
    assert_eq!(run.rows.content.limit(), None);
    assert!(run.sandbox.is_on());
}

#[test]
fn every_flag_is_read() {
    let line = "run -i eth0 -i veth* -i any --exclude veth1* --exclude br0 --xdp-mode tc --direction both --interval 10ms --flow-capacity 64 \
                --idle-timeout 2m --active-timeout 1h --model m.json -o jsonl=- -o csv=f.csv --duration 1d \
                --metrics [::1]:9750 --sandbox off --memory-max 64MB --alpha 1e-3 --seed 7 --payload 256 --match sql=(?i)union --match x=^x";
    let run = read(line).expect("all of it is good");
    assert_eq!(run.interfaces.iter().map(ToString::to_string).collect::<Vec<_>>(), ["eth0", "veth*", "any"]);
    assert!(matches!(&run.interfaces[..], [Selector::Name(_), Selector::Pattern(_), Selector::Any]));
    assert_eq!(run.exclude.iter().map(NamePattern::as_str).collect::<Vec<_>>(), ["veth1*", "br0"]);
    assert_eq!((run.xdp_mode, run.direction, run.flow_capacity), (Wanted::Only(Mode::Tc), Direction::Both, Some(64)));
    assert_eq!(run.interval, Duration::from_millis(10));
    assert_eq!((run.idle_timeout, run.active_timeout), (Duration::from_secs(120), Duration::from_secs(3600)));
    assert_eq!(run.model, Some("m.json".into()));
    assert_eq!((run.output.targets.len(), run.options().memory_limit()), (2, 64_000_000));
    assert_eq!((run.metrics, run.sandbox.is_on()), ("[::1]:9750".parse().ok(), false));
    assert_eq!((run.duration, run.rows.seed), (Some(Duration::from_secs(DAY)), 7));
    assert_eq!(run.rows.alarms.level(), Some(AlarmLevel::Probability(1e-3)));
    assert_eq!(run.rows.content.limit(), PayloadLimit::new(256));
    assert_eq!(run.rows.content.matches.iter().map(Pattern::name).collect::<Vec<_>>(), ["sql", "x"]);
}

#[test]
fn ports_of_tunnels_replace_the_default_ones_of_their_kind() {
    let ports = |line: &str| read(line).expect(line).options().tunnels.map(|list| list.ports().collect::<Vec<_>>());
    let (vxlan, geneve, gtpu) = (TunnelKind::Vxlan, TunnelKind::Geneve, TunnelKind::Gtpu);
    for (line, expected) in [
        ("run", None),
        ("run --tunnels outer", None),
        ("run --tunnels inner", Some(vec![(vxlan, 4789), (vxlan, 8472), (geneve, 6081), (gtpu, 2152)])),
        (
            "run --tunnels inner --tunnel-port vxlan=7 --tunnel-port geneve=8",
            Some(vec![(vxlan, 7), (geneve, 8), (gtpu, 2152)]),
        ),
    ] {
        assert_eq!(ports(line), expected, "{line}");
    }
    let many = (1..=8).map(|port| format!(" --tunnel-port vxlan={port}")).collect::<String>();
    for (line, expected) in [
        ("run --tunnels both", "inner"),
        ("run --tunnel-port vxlan=7", "'--tunnels inner'"),
        ("run --tunnels inner --tunnel-port gre=7", "vxlan, geneve, gtpu"),
        ("run --tunnels inner --tunnel-port vxlan=0", "1 to 65535"),
        ("run --tunnels inner --tunnel-port vxlan=2152", "a port twice"),
        (&format!("run --tunnels inner{many}"), "more than 8"),
    ] {
        let message = read(line).expect_err(line);
        assert!(message.contains(expected) && !message.contains('\n'), "{line}: {message}");
    }
}

#[test]
fn metrics_are_off_or_on_loopback_unless_an_address_is_named() {
    let address = |line: &str| read(line).expect(line).metrics.map(|address| address.to_string());
    let cases =
        [("run", None), ("run --metrics 9750", Some("127.0.0.1:9750")), ("run --metrics 0.0.0.0:1", Some("0.0.0.0:1"))];
    for (line, expected) in cases {
        assert_eq!(address(line).as_deref(), expected, "{line}");
    }
}

#[test]
fn lists_are_for_people_unless_asked_for_otherwise() {
    let read = |line: &str| Arguments::read(line.split(' ').map(OsString::from)).map(|arguments| arguments.command);
    for (line, expected) in [("flowml features", ListFormat::Text), ("flowml features --format json", ListFormat::Json)]
    {
        let command = read(line).expect(line);
        assert!(matches!(command, Command::Features(Features { format }) if format == expected), "{line}");
    }
}

fn read_files(arguments: &str) -> Result<Read, String> {
    let words = std::iter::once("flowml").chain(arguments.split_whitespace()).map(OsString::from);
    match Arguments::read(words) {
        Ok(Arguments { command: Command::Read(read) }) => Ok(read),
        Ok(other) => panic!("expected a reading: {other:?}"),
        Err(error) => Err(one_line(&error)),
    }
}

#[test]
fn files_are_read_by_the_same_rules_unless_a_profile_or_a_flag_changes_them() {
    let seconds = |seconds| Duration::from_secs(seconds);
    let cases = [
        ("read a.pcap", (15, 120, true)),
        ("read - b --profile flowml --idle-timeout 1m", (60, 120, true)),
        ("read a --profile nfstream", (120, 1800, false)),
        ("read a --profile nfstream --active-timeout 1h", (120, 3600, false)),
    ];
    for (line, (idle, active, end_by_flags)) in cases {
        // A profile sets all of its options.
        let initiator = if end_by_flags { InitiatorRule::Evidence } else { InitiatorRule::FirstPacket };
        let active_slots = if end_by_flags { 16 } else { 1024 };
        let expected = Timeouts { idle: seconds(idle), active: seconds(active), end_by_flags, active_slots, initiator };
        assert_eq!(read_files(line).map(|read| read.timeouts()), Ok(expected), "{line}");
    }
    let read = read_files("read a.pcap -q -o csv=-").expect("all of it is good");
    assert_eq!((read.verbosity(), read.shows_progress(), read.interval), (Verbosity::Errors, false, seconds(1)));
    for (line, expected) in [
        ("read", "<FILE>..."),
        ("read - a -", "standard input was given twice"),
        ("read a -o jsonl=- -o csv=-", "standard output was given to two outputs"),
        ("read a --profile cisco", "nfstream"),
        ("read a --learn --model m.json", "cannot be used with"),
        ("read a --alpha 0.01", "--learn"),
        ("read a --false-alarms 1/day", "--learn"),
    ] {
        let message = read_files(line).expect_err(line);
        assert!(message.contains(expected) && !message.contains('\n'), "{line}: {message}");
    }
}

#[test]
fn less_is_shown_where_it_would_disturb() {
    let cases = [
        ("run -o jsonl=f", Verbosity::Tables),
        ("run --tui", Verbosity::Tables),
        ("run -o jsonl=-", Verbosity::Summary),
        ("run -q", Verbosity::Summary),
        ("run -qq", Verbosity::Errors),
        ("run -q -q -o csv=-", Verbosity::Errors),
    ];
    for (line, expected) in cases {
        assert_eq!(read(line).map(|run| run.verbosity()), Ok(expected), "{line}");
    }
}

#[test]
fn an_error_is_one_line_with_flag_value_and_expectation() {
    let cases: [(&str, &[&str]); 39] = [
        ("run --interval 5ms", &["--interval", "'5ms'", "10ms to 1h"]),
        ("run --interval 2h", &["--interval", "'2h'", "10ms to 1h"]),
        ("run --interval 1", &["--interval", "'1'", "its unit (ms, s, m, h, d)"]),
        ("run --interval s", &["--interval", "'s'", "a whole number"]),
        ("run --interval 99999999999999999999s", &["--interval", "10ms to 1h"]),
        ("run --duration 18446744073709551615d", &["--duration", "10ms to 365d"]),
        ("run --idle-timeout 1ms", &["--idle-timeout", "100ms to 1d"]),
        ("run --flow-capacity 63", &["--flow-capacity", "63", "64..=16777216"]),
        ("run --flow-capacity x", &["--flow-capacity", "'x'"]),
        ("run --memory-max 100", &["--memory-max", "'100'", "its unit (KB, MB, GB, KiB, MiB, GiB)"]),
        ("run --memory-max 1KB", &["--memory-max", "'1KB'", "1MiB to 1024GiB"]),
        ("run --alpha 0", &["--alpha", "'0'", "between 0 and 1"]),
        ("run --alpha NaN", &["--alpha", "'NaN'", "between 0 and 1"]),
        ("run --false-alarms 1/year", &["--false-alarms", "'1/year'", "as in 1/day"]),
        ("run --alpha 0.1 --false-alarms 1/day", &["--alpha", "--false-alarms", "cannot be used with"]),
        ("run -i eth[0", &["--interface", "'eth[0'", "invalid range pattern", "'veth*'"]),
        ("run -i eth0 --exclude veth*", &["--exclude", "'any'"]),
        ("run -i a/b", &["--interface", "'a/b'", "1 to 15 bytes"]),
        ("run -i sixteen-letters-", &["--interface", "1 to 15 bytes"]),
        ("run -i lo -i lo", &["--interface", "'lo'", "each name once"]),
        ("run -o xml=a", &["--output", "'xml=a'", "jsonl=PATH, csv=PATH, parquet=DIR, ipfix=HOST:PORT, webhook=URL"]),
        ("run -o webhook=me:secret@a", &["--output", "'webhook=…'", "http://HOST[:PORT][/PATH]"]),
        ("run -o alertmanager=http://a?b=c", &["--output", "'alertmanager=…'", "without a query"]),
        ("run -o syslog=/dev/log", &["--output", "'syslog=/dev/log'", "unix:/PATH, udp:HOST:PORT or tcp:HOST:PORT"]),
        ("run -o webhook=http://a -o webhook=http://a", &["webhook http://a", "--output", "a different one"]),
        ("run --metrics 97500", &["--metrics", "'97500'", "an IP address and a port, as in 127.0.0.1:9750"]),
        ("run -o ipfix=collector", &["--output", "'collector'", "HOST:PORT", "tcp://HOST:PORT"]),
        ("run -o jsonl=- -o csv=-", &["standard output", "--output", "a different one"]),
        ("run -o jsonl=x -o csv=./x", &["./x", "--output", "a different one"]),
        ("run --tui -q", &["--tui", "--quiet"]),
        ("run --tui -o csv=x -o jsonl=-", &["--tui", "standard output", "a file or a collector"]),
        ("run --payload 257", &["--payload", "257", "0..=256"]),
        ("run --payload x", &["--payload", "'x'"]),
        ("run --match a=b", &["--payload <N>", "not provided"]),
        ("run --payload 0 --match a=b", &["--match", "--payload 0", "1 to 256"]),
        ("run --payload 9 --match a=(", &["--match", "'a=('", "not a valid regular expression: unclosed group"]),
        ("run --payload 9 --match A=b", &["--match", "'A' is not a valid name", "a-z, 0-9 and _"]),
        ("run --payload 9 --match a=b --match a=c", &["--match", "'a'", "two patterns"]),
        ("run --xdp-mode hardware", &["--xdp-mode", "'hardware'", "native", "generic", "tc", "auto"]),
    ];
    for (line, expected) in cases {
        let message = read(line).expect_err(line);
        assert!(message.starts_with("flowml: ") && !message.contains('\n'), "{message}");
        for words in expected {
            assert!(message.contains(words), "{line}: no {words:?} in {message:?}");
        }
    }
}

#[test]
fn a_typing_error_is_answered_with_a_suggestion() {
    let message = read("run --intervall 1s").expect_err("there is no such flag");
    assert!(message.contains("'--intervall'") && message.contains("'--interval'"), "{message}");
    assert!(read("ruin").is_err_and(|message| message.contains("'ruin'") && message.contains("'run'")));
    assert!(read("run eth0").is_err_and(|message| message.contains("'eth0'")));
}
