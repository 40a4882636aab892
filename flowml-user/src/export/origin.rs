//! The origin of what outputs send: the agent, and its current start.

use std::fs;
use std::str::FromStr;

use crate::process::unix_time::now_us;

/// The longest identifier of an agent, bytes.
const LONGEST: usize = 128;

/// The agent that sends rows and events. All outputs of a run have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The identifier of the agent.
    pub(super) agent: String,
    /// The start of the agent: its Unix time in µs. Starts of one agent differ, as a start takes longer than that, and a
    /// later start has a larger number if the clock was not set back.
    pub(super) generation: u64,
}

impl Origin {
    /// The origin of a run that starts now. Without an identifier, it is the name of this host.
    #[must_use]
    pub fn starting(agent: Option<&AgentId>) -> Self {
        let agent = agent.map_or_else(host_name, |AgentId(id)| id.clone());
        Self { agent, generation: now_us() }
    }

    /// An agent with this identifier in its first generation, for tests.
    #[cfg(test)]
    pub(super) fn named(agent: &str) -> Self {
        Self { agent: agent.to_owned(), generation: 1 }
    }
}

/// The name of this host.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost" } else { name }.to_owned()
}

/// The identifier of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentId(String);

/// The text is no identifier of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {LONGEST} letters, digits and '-', '_', '.', ':' (ASCII)")]
pub struct InvalidAgentId;

impl FromStr for AgentId {
    type Err = InvalidAgentId;

    fn from_str(text: &str) -> Result<Self, InvalidAgentId> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let is_id = (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_valid);
        if is_id { Ok(Self(text.to_owned())) } else { Err(InvalidAgentId) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_one_word_of_ascii() {
        for text in ["a", "router-1.example", "fd00::1", "a_b", &"x".repeat(LONGEST)] {
            let id: AgentId = text.parse().expect(text);
            assert_eq!(Origin::starting(Some(&id)).agent, text);
        }
        for text in ["", " ", "a b", "ä", "a/b", "a\n", "a\"", &"x".repeat(LONGEST + 1)] {
            assert_eq!(text.parse::<AgentId>(), Err(InvalidAgentId), "{text:?}");
        }
    }

    #[test]
    fn without_an_identifier_the_agent_has_the_name_of_its_host_and_each_start_a_number() {
        let (first, second) = (Origin::starting(None), Origin::starting(None));
        assert!(!first.agent.is_empty() && !first.agent.contains('\n'));
        assert!(first.agent == second.agent && first.generation <= second.generation);
        // An integer that every reader of JSON can represent exactly.
        assert!((1_600_000_000_000_000..1 << 53).contains(&first.generation));
    }
}
