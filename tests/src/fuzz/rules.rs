//! Parses any bytes as rules for labels: rules, or an error that states its position.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flowml_user::dataset::keys::{End, Key};
use flowml_user::dataset::rules::{Rules, RulesError};

use super::memory_file::MemoryFile;

pub(super) fn run(bytes: &[u8]) {
    let file = MemoryFile::new(bytes);
    match Rules::read(&file.path()) {
        Ok(rules) => check(&rules),
        Err(RulesError::Malformed { line, column, message, .. }) => {
            let lines = bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>();
            let text = lines.get(line - 1).unwrap_or_else(|| panic!("line {line} of {}", lines.len()));
            assert!(column <= text.len() + 1, "column {column} of line {line}");
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        }
        Err(RulesError::Read { source, .. }) => {
            assert!(std::str::from_utf8(bytes).is_err(), "text that cannot be read: {source}");
        }
    }
}

/// Checks that a label belongs to a rule, and is the same each time.
fn check(rules: &Rules) {
    let addresses: [IpAddr; 3] =
        [Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(172, 16, 0, 1).into(), Ipv6Addr::LOCALHOST.into()];
    for source in addresses {
        for destination in addresses {
            for (protocol, port, start_ms) in [(6, 80, 1_499_343_600_000), (17, 53, 0), (1, 0, i64::MIN)] {
                let key = Key {
                    source: End { address: source, port: 40_000 },
                    destination: End { address: destination, port },
                    protocol,
                    start_ms,
                };
                assert_eq!(rules.label(&key), rules.label(&key));
            }
        }
    }
}
