//! A fleet for demonstration: agents with a broker and an engine, a scan and a beacon, and the answers of the engine.

use std::ffi::OsString;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flowml_tests::fleet::{Fleet, Outcome, Plan};
use flowml_tests::lab::Lab;
use flowml_tests::peers::Peers;
use flowml_tests::screen::{Screen, bold, ensure_not_interrupted, is_interrupted, red, watch_signals, words};
use flowml_user::process::amounts;
use serde_json::Value;

/// The allowed durations of normal traffic.
const LENGTHS: std::ops::RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(3600);

/// The length of a window of the detections, in seconds: short, so that the demonstration is too.
const WINDOW_S: u64 = 10;

/// The number of rows of each answer that are shown, and the width of a column.
const SHOWN: usize = 5;
const WIDTH: usize = 18;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (agents, normal) = match plan(&arguments) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("fleet: {error}\nusage: fleet AGENTS LENGTH");
            return ExitCode::from(2);
        }
    };
    match watch_signals().and_then(|()| show(agents, normal)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if is_interrupted() => {
            eprintln!("\nstopped; the namespaces, the traffic, the agents, the broker and the engine were removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[OsString]) -> Result<(usize, Duration), String> {
    let [agents, length] = arguments else { return Err("expected two arguments".to_owned()) };
    let (agents, length) = (agents.to_string_lossy(), length.to_string_lossy());
    let number = agents.parse().ok().filter(|number| (16..=200).contains(number));
    let number = number.ok_or_else(|| format!("{agents} agents: expected 16 to 200"))?;
    Ok((number, amounts::duration(&length, LENGTHS).map_err(|error| format!("the length {length}: {error}"))?))
}

fn show(agents: usize, normal: Duration) -> Result<()> {
    let screen = Screen::new();
    screen.line(&bold("flowml: a fleet in network namespaces"));
    screen.text(0, &format!(
        "{agents} hosts have an agent each. The agents send their rows to NATS JetStream; a loader writes them to ClickHouse's \
         engine (chDB) and evaluates docs/fleet/detect every few seconds."
    ));
    let plan = Plan { agents, window_s: WINDOW_S, pace: 8.0 / agents as f64, disturbed: false };
    let mut fleet = Fleet::start(Lab::new()?, &Peers::engines()?, plan)?;
    screen.event(&format!("{agents} agents meter; normal traffic begins"));
    fleet.begin_traffic(normal + Duration::from_secs(600))?;
    let end = Instant::now() + normal;
    while Instant::now() < end {
        ensure_not_interrupted()?;
        screen.progress(&format!("normal traffic: {} s left", (end - Instant::now()).as_secs()));
        thread::sleep(Duration::from_millis(200));
    }
    screen.event(&format!("normal traffic: {} incidents of the fleet", fleet.incidents()?.len()));
    fleet.wait_for_window()?;
    let scanner = fleet.scan()?;
    screen.event(&bold(&format!("scan: {scanner} has sent one SYN to each host")));
    let called = fleet.beacon()?;
    screen.event(&bold(&format!("beacon: 5 hosts have called {called} eight times each, every second")));
    ensure_not_interrupted()?;
    screen.progress("the agents end, and the engine reads what is left");
    let outcome = fleet.finish()?;
    screen.clear();
    answers(&screen, &outcome)?;
    incidents(&screen, &outcome)?;
    delivery(&screen, &outcome)
}

/// Shows the first rows that each query answers.
fn answers(screen: &Screen, outcome: &Outcome) -> Result<()> {
    let queries = outcome.report["queries"].as_object().context("the queries")?;
    for (name, answer) in queries {
        screen.line("");
        screen.line(&bold(&format!("docs/fleet/queries/{name}.sql")));
        // The first line has the names of the columns.
        let lines = answer.as_array().context("the lines of an answer")?;
        if lines.len() <= 1 {
            screen.line("  no rows");
            continue;
        }
        for line in lines.iter().take(1 + SHOWN).filter_map(Value::as_array) {
            screen.line(&line.iter().map(|value| format!("{:>WIDTH$}", cell(value))).collect::<String>());
        }
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(WIDTH - 1).collect(),
        Value::Number(number) if number.is_f64() => format!("{:.3e}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn incidents(screen: &Screen, outcome: &Outcome) -> Result<()> {
    screen.line("");
    screen.line(&bold("Incidents of the fleet"));
    for incident in outcome.rows("incidents")? {
        let text = |name: &str| incident[name].as_str().unwrap_or_default().to_owned();
        screen.line(&red(&format!(
            "{} (at most {:.0e} by chance)",
            words(&text("kind")),
            incident["probability"].as_f64().unwrap_or(1.0)
        )));
        screen.text(4, &text("summary"));
    }
    let own = outcome.rows("agents_incidents")?.len();
    screen.line(&format!("The agents by themselves reported {own} incidents."));
    Ok(())
}

fn delivery(screen: &Screen, outcome: &Outcome) -> Result<()> {
    let sum = |name: &str| -> Result<u64> {
        Ok(outcome.rows("deliveries")?.iter().filter_map(|delivery| delivery[name].as_u64()).sum())
    };
    let printed: u64 = outcome.printed.iter().flat_map(|printed| printed.types.values()).sum();
    screen.line("");
    screen.text(
        0,
        &format!(
            "The agents made {printed} rows; {} are in the engine, {} are missing.",
            sum("received")?,
            sum("missing")?
        ),
    );
    Ok(())
}
