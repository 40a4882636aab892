//! Makes the labelled corpus, and shows its content.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use flowml_tests::corpus::{self, Equipment, Past, Plan, Report};
use flowml_tests::lab::Lab;

const OPTIONS: [&str; 3] = ["--town", "--live", "--normal"];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (options, arguments): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| OPTIONS.iter().any(|option| argument == option));
    let has = |name: &str| options.iter().any(|option| option == name);
    let Some(plan) = plan(&arguments, has("--live") || has("--normal")) else {
        eprintln!("usage: corpus [{}] FOLDER SECONDS SEED [CLASS]...", OPTIONS.join("] ["));
        return ExitCode::from(2);
    };
    let town =
        || if has("--town") { show_false(&corpus::make_town(Lab::new()?, &plan)?, "the town", &plan) } else { Ok(()) };
    let all = || show(&plan).and_then(|()| town());
    match if has("--normal") { show_normal(&plan) } else { all() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[OsString], live: bool) -> Option<Plan> {
    let [folder, seconds, seed, classes @ ..] = arguments else { return None };
    let normal = Duration::from_secs(seconds.to_str()?.parse().ok()?);
    let seed = seed.to_str()?.parse().ok()?;
    let classes = classes.iter().map(|class| class.to_string_lossy().into_owned()).collect();
    Some(Plan { folder: folder.into(), normal, seed, equipment: Equipment::Corpus, classes, live })
}

fn show(plan: &Plan) -> Result<()> {
    let made = corpus::make(&Lab::new()?, plan)?;
    let pasts = &made.attacks;
    if pasts.is_empty() {
        bail!("there are no attacks");
    }
    println!("{:<6}{:<19}{:>8}{:>7}  {:<25}{:>8}  tool", "part", "class", "packets", "flows", "begun", "seconds");
    for past in pasts {
        println!(
            "{:<6}{:<19}{:>8}{:>7}  {:<25}{:>8.1}  {}",
            past.part.name(),
            past.attack.class,
            past.seen.packets,
            past.seen.flows,
            past.began()?,
            past.lasted.as_secs_f64(),
            past.attack.tool
        );
    }
    if plan.live {
        show_reports(pasts);
    }
    show_false(&made.false_reports, "the sites", plan)
}

/// Shows the agents' reports of each attack.
fn show_reports(pasts: &[Past]) {
    println!("\n{:<6}{:<19}{:<9}{:<24}incidents", "part", "class", "agent", "after");
    for past in pasts {
        for view in ["ingress", "both"] {
            let own: Vec<&Report> = past.reports.iter().filter(|report| report.view == view).collect();
            let is_right = |report: &&&Report| past.attack.kinds.contains(&report.incident.kind.as_str());
            let after = own.iter().find(is_right).map_or("not found".to_owned(), |report| {
                format!("{:.1} s", report.incident.reported_ms.saturating_sub(past.began_ms) as f64 / 1000.0)
            });
            let kinds: Vec<&str> = own.iter().map(|report| report.incident.kind.as_str()).collect();
            println!("{:<6}{:<19}{view:<9}{after:<24}{}", past.part.name(), past.attack.class, kinds.join(", "));
        }
    }
}

/// Shows the agents' reports during normal traffic of all places at once. Fails if there is a report.
fn show_normal(plan: &Plan) -> Result<()> {
    let places = corpus::watch_normal(plan)?;
    places.iter().try_for_each(|(place, reports)| show_false(reports, place, plan))?;
    match places.iter().map(|(_, reports)| reports.len()).sum::<usize>() {
        0 => Ok(()),
        false_incidents => bail!("{false_incidents} incidents in normal traffic"),
    }
}

/// Shows the agents' reports during normal traffic.
fn show_false(reports: &[Report], place: &str, plan: &Plan) -> Result<()> {
    if plan.live {
        println!("\nfalse incidents in {} s of normal traffic of {place}: {}", plan.normal.as_secs(), reports.len());
        for Report { at, view, incident } in reports {
            println!("  {at}, {view}: {incident:?}");
        }
    }
    Ok(())
}
