//! The techniques of MITRE ATT&CK that incidents have, with the names of techniques and tactics.

use crate::sequential::Kind;

/// A technique, or a technique with its sub-technique.
pub(super) struct Technique {
    /// The number of the technique.
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// The number and the name of the sub-technique.
    pub(super) sub: Option<(&'static str, &'static str)>,
    pub(super) tactic: Tactic,
}

/// A tactic: its number and its name.
#[derive(Clone, Copy)]
pub(super) struct Tactic(pub(super) &'static str, pub(super) &'static str);

/// The version of ATT&CK that these names are from.
pub(super) const VERSION: &str = "15";

const DISCOVERY: Tactic = Tactic("TA0007", "Discovery");
const CREDENTIAL_ACCESS: Tactic = Tactic("TA0006", "Credential Access");
const COMMAND_AND_CONTROL: Tactic = Tactic("TA0011", "Command and Control");
const EXFILTRATION: Tactic = Tactic("TA0010", "Exfiltration");
const IMPACT: Tactic = Tactic("TA0040", "Impact");

const NETWORK_FLOOD: &str = "Network Denial of Service";
const ENDPOINT_FLOOD: &str = "Endpoint Denial of Service";

const fn technique(
    id: &'static str,
    name: &'static str,
    sub: Option<(&'static str, &'static str)>,
    tactic: Tactic,
) -> Technique {
    Technique { id, name, sub, tactic }
}

const TECHNIQUES: [Technique; 10] = [
    technique("T1018", "Remote System Discovery", None, DISCOVERY),
    technique("T1046", "Network Service Discovery", None, DISCOVERY),
    technique("T1048", "Exfiltration Over Alternative Protocol", None, EXFILTRATION),
    technique("T1071", "Application Layer Protocol", None, COMMAND_AND_CONTROL),
    technique("T1110", "Brute Force", None, CREDENTIAL_ACCESS),
    technique("T1498", NETWORK_FLOOD, Some(("T1498.001", "Direct Network Flood")), IMPACT),
    technique("T1498", NETWORK_FLOOD, Some(("T1498.002", "Reflection Amplification")), IMPACT),
    technique("T1499", ENDPOINT_FLOOD, Some(("T1499.001", "OS Exhaustion Flood")), IMPACT),
    technique("T1499", ENDPOINT_FLOOD, Some(("T1499.002", "Service Exhaustion Flood")), IMPACT),
    technique("T1572", "Protocol Tunneling", None, COMMAND_AND_CONTROL),
];

impl Technique {
    /// The technique of a kind of incident, if it has one.
    pub(super) fn of(kind: Kind) -> Option<&'static Self> {
        let number = kind.technique()?;
        TECHNIQUES.iter().find(|technique| technique.number() == number)
    }

    /// The number of the sub-technique if there is one, else of the technique.
    pub(super) fn number(&self) -> &'static str {
        self.sub.map_or(self.id, |(id, _)| id)
    }

    /// The page about it.
    pub(super) fn url(&self) -> String {
        format!("https://attack.mitre.org/techniques/{}", self.number().replace('.', "/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_with_a_technique_has_its_names() {
        for kind in Kind::all() {
            assert_eq!(Technique::of(kind).map(Technique::number), kind.technique());
        }
        let flood = Technique::of(Kind::SynFlood).expect("a technique");
        assert_eq!(flood.url(), "https://attack.mitre.org/techniques/T1499/001");
    }
}
