//! Formats findings as text: one line per finding, and below it the command that fixes it.

use super::{Finding, HOST, Severity};
use crate::ui::text::{Style, wrap};

/// Width of a line, characters.
const WIDTH: usize = 80;

/// Column at which the text begins, after severity and check.
const INDENT: usize = 26;

pub(super) fn render(findings: &[Finding], colours: bool) -> String {
    let style = Style { colours };
    let mut lines = Vec::new();
    let mut subject = None;
    for finding in findings {
        if subject.replace(&finding.subject) != Some(&finding.subject) {
            let name = if finding.subject == HOST { "this host" } else { &finding.subject };
            lines.extend((!lines.is_empty()).then(String::new));
            lines.push(style.heading(name));
        }
        lines.extend(words(finding, style));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn words(finding: &Finding, style: Style) -> Vec<String> {
    let (word, painted) = match finding.severity {
        Severity::Ok => ("ok", style.aside("ok")),
        Severity::Note => ("note", "note".to_owned()),
        Severity::Warning => ("warning", style.heading("warning")),
        Severity::Problem => ("PROBLEM", style.alarm("PROBLEM")),
    };
    let head = format!("  {painted}{:1$}{2}", "", 9 - word.len(), finding.check);
    let gap = INDENT - 2 - 9 - finding.check.len();
    let mut message = wrap(&finding.message, WIDTH, [INDENT, INDENT]);
    message[0] = format!("{head}{:gap$}{}", "", message[0].trim_start());
    let fix = finding.fix.as_ref().map(|command| wrap(&format!("→ {command}"), WIDTH, [INDENT, INDENT + 2]));
    message.into_iter().chain(fix.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_longer_than_a_terminal() {
        let long = "the card merges packets: native XDP may be refused, and lengths are those of merged packets";
        let findings = [
            Finding::new("kernel", Severity::Ok, "Linux 6.12"),
            Finding::new("lro", Severity::Warning, long).fix("ethtool -K eth0 lro off").of("eth0"),
            Finding::new("xdp-program", Severity::Problem, "no").of("eth0"),
        ];
        let expected = "\
this host
  ok       kernel         Linux 6.12

eth0
  warning  lro            the card merges packets: native XDP may be refused,
                          and lengths are those of merged packets
                          → ethtool -K eth0 lro off
  PROBLEM  xdp-program    no
";
        assert_eq!(render(&findings, false), expected);
        assert!(render(&findings, true).contains("\x1b[1;31mPROBLEM\x1b[0m  xdp-program"));
    }
}
