//! The severity of an incident in the words and numbers of the receivers.

/// A severity.
#[derive(Debug, PartialEq)]
pub(super) struct Level {
    /// The label of alerts.
    pub(super) alert: &'static str,
    /// Syslog's severity (RFC 5424 §6.2.1).
    pub(super) syslog: u8,
    /// `event.severity` of ECS, as in Elastic's detection rules.
    pub(super) ecs: u8,
    /// `severity_id` and `severity` of OCSF.
    pub(super) ocsf: (u8, &'static str),
    /// `confidence_id` and `confidence` of OCSF.
    pub(super) confidence: (u8, &'static str),
    /// The largest probability of the incident in normal traffic.
    most: f64,
}

/// The severities, the highest first.
const LEVELS: [Level; 3] = [
    Level { alert: "critical", syslog: 2, ecs: 73, ocsf: (4, "High"), confidence: (3, "High"), most: 1e-6 },
    Level { alert: "warning", syslog: 4, ecs: 47, ocsf: (3, "Medium"), confidence: (2, "Medium"), most: 1e-4 },
    Level { alert: "info", syslog: 5, ecs: 21, ocsf: (2, "Low"), confidence: (1, "Low"), most: f64::INFINITY },
];

impl Level {
    /// The severity of an incident with this probability in normal traffic.
    pub(super) fn of(probability: f64) -> &'static Self {
        let [first @ .., last] = &LEVELS;
        first.iter().find(|level| probability <= level.most).unwrap_or(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::golden;

    #[test]
    fn the_severity_falls_with_the_probability() {
        let of = |probability| Level::of(probability).alert;
        assert_eq!(
            [1e-9, 1e-6, 1.1e-6, 1e-4, 2e-4, f64::NAN].map(of),
            ["critical", "critical", "warning", "warning", "info", "info"]
        );
    }

    #[test]
    fn the_document_lists_the_severities() {
        let row = |level: &Level| {
            let most = if level.most.is_finite() { format!("at most {:e}", level.most) } else { "larger".to_owned() };
            let Level { alert, syslog, ecs, ocsf: (id, name), confidence: (confidence, _), .. } = level;
            format!("| {most} | `{alert}` | {syslog} | {ecs} | {id} ({name}) | {confidence} |\n")
        };
        let table = format!(
            "| `probability` | label `severity` of an alert | syslog | ECS `event.severity` | OCSF `severity_id` | OCSF `confidence_id` |\n\
             | --- | --- | --- | --- | --- | --- |\n{}",
            LEVELS.iter().map(row).collect::<String>()
        );
        let document = golden::replaced(&golden::read("../docs/ALARMS.md"), "severities", &table);
        golden::assert_is("../docs/ALARMS.md", &document);
    }
}
