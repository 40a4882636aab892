//! Opens reports in a browser: they have no errors, request nothing, and contain their charts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{binary, ensure_refused, flowml};
use flowml_tests::captures::{Pcap, Record};
use flowml_tests::frames::{Frame, Ipv4, Ports};
use flowml_tests::lab::{Host, or_skip, require_lab};
use serde_json::Value;

/// Longest time for the browser to load a page on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A browser in a host without any network.
struct Browser {
    host: Host,
    folder: PathBuf,
}

/// The result of opening a page.
struct Opened {
    /// The document after loading.
    document: String,
    /// The messages of the page's console.
    console: Vec<String>,
    /// The servers to which requests were sent, as `http://host:port`.
    asked: BTreeSet<String>,
}

impl Browser {
    fn open(&self, page: &str, options: &[&str]) -> Result<Opened> {
        let log = self.folder.join("net.json");
        let page = self.folder.join(page);
        let arguments = [
            "chromium".to_owned(),
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-extensions".to_owned(),
            "--enable-logging=stderr".to_owned(),
            format!("--user-data-dir={}", self.folder.join("profile").display()),
            format!("--log-net-log={}", log.display()),
            "--dump-dom".to_owned(),
        ];
        let options = options.iter().map(|option| (*option).to_owned());
        let all = arguments.into_iter().chain(options).chain([format!("file://{}", page.display())]);
        let output = self.host.spawn(all)?.wait(LIMIT)?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{}: {message}", page.display());
        let text = std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
        Ok(Opened {
            document: String::from_utf8(output.stdout)?,
            console: message.lines().filter(|line| is_of_page(line)).map(str::to_owned).collect(),
            asked: asked(&text),
        })
    }
}

/// Whether a line of the browser's log is a message of the page. Pages of the browser itself, such as its start page, are
/// `chrome://` addresses.
fn is_of_page(line: &str) -> bool {
    line.contains(":CONSOLE:") && !line.contains("source: chrome://")
}

/// The origins of all addresses in a browser's network log.
fn asked(log: &str) -> BTreeSet<String> {
    let addresses = log.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let origin = |address: &str| address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    addresses.filter(|address| address.starts_with("http") || address.starts_with("ws")).map(origin).collect()
}

fn done(folder: &Path, line: &str) -> Result<()> {
    let output = flowml(folder, line)?;
    ensure!(output.status.success(), "flowml {line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Time of the first packet in ns.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

fn frame(source: [u8; 4], ports: Ports, payload: usize) -> Vec<u8> {
    let ends = Ipv4 { source: source.into(), destination: [10, 0, 9, 9].into(), ..Ipv4::default() };
    Frame::default().ipv4(&ends).udp(ports).payload(&vec![0; payload]).finish()
}

/// Forty seconds of hosts that send requests to a server. From second 30 on another host probes every port.
fn capture() -> Vec<u8> {
    let normal = (0..2000_u64).map(|n| {
        let ports = Ports { source: 20_000 + n as u16, destination: 53 };
        let payload = 20 + (n * 7 % 40) as usize;
        Record::whole(BEGIN_NS + n * 20_000_000, frame([10, 0, 0, 1 + (n % 5) as u8], ports, payload))
    });
    let scan = (0..2000_u64).map(|n| {
        let ports = Ports { source: 40_000, destination: 1 + n as u16 };
        Record::whole(BEGIN_NS + 30_000_000_000 + n * 1_000_000, frame([10, 0, 0, 66], ports, 0))
    });
    let mut records: Vec<(u64, Record)> = normal.map(|record| (record.time_ns, record)).collect();
    records.extend(scan.map(|record| (record.time_ns, record)));
    records.sort_by_key(|(time_ns, _)| *time_ns);
    Pcap::of(1).write(&records.into_iter().map(|(_, record)| record).collect::<Vec<_>>())
}

const RULES: &str = "[[rule]]\nlabel = \"scan</script><script>alert(1)</script>\"\nsrc_ip = \"10.0.0.66\"\n";

/// The sections of a page by their headings.
fn sections(page: &str) -> Vec<&str> {
    page.split("<h2>").skip(1).filter_map(|rest| rest.split("</h2>").next()).collect()
}

/// Sizes of charts in pixels, texts that extend beyond their chart, and the width in pixels by which the page exceeds
/// the window.
type Layout = (Vec<(f64, f64)>, Vec<String>, f64);

/// A script that reports the layout of a page.
const MEASURE: &str = "<script>
const cut = [], charts = [...document.querySelectorAll('svg')].map(svg => {
  const box = svg.getBoundingClientRect();
  for (const words of svg.querySelectorAll('text')) {
    const own = words.getBoundingClientRect();
    const within = own.left > box.left - 1 && own.right < box.right + 1 && own.top > box.top - 1 && own.bottom < box.bottom + 1;
    if (!within) cut.push(words.textContent.trim());
  }
  return [box.width, box.height];
});
const beyond = document.documentElement.scrollWidth - innerWidth;
document.body.dataset.layout = JSON.stringify([charts, cut, beyond]);
</script>";

/// The layout of a copy of a page in a window of this width.
fn layout(browser: &Browser, page: &str, width: u32) -> Result<Layout> {
    let text = std::fs::read_to_string(browser.folder.join(page))?;
    // The page itself runs no script. Its copy may.
    let may_run = text.replacen("<meta http-equiv=\"Content-Security-Policy\"", "<meta name=\"policy\"", 1);
    ensure!(may_run != text, "the page has no policy");
    std::fs::write(browser.folder.join("copy.html"), may_run.replacen("</body>", &format!("{MEASURE}</body>"), 1))?;
    let copy = browser.open("copy.html", &[&format!("--window-size={width},900")])?.document;
    let (_, rest) = copy.split_once("data-layout=\"").context("the copy measures its charts")?;
    Ok(serde_json::from_str(&rest.split('"').next().unwrap_or_default().replace("&quot;", "\""))?)
}

#[test]
fn reports_are_complete_and_request_nothing() -> Result<()> {
    let (Some(lab), Some(_)) = (require_lab(), or_skip(binary())) else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let browser = Browser { host: lab.host("browser")?, folder: folder.path().to_owned() };
    let folder = folder.path();
    std::fs::write(folder.join("scan.pcap"), capture())?;
    std::fs::write(folder.join("rules.toml"), RULES)?;
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ethernet.pcap");
    std::fs::copy(&real, folder.join("real.pcap"))?;
    done(folder, "read scan.pcap --model builtin -q -o parquet=records -o jsonl=records.jsonl")?;
    done(folder, "read scan.pcap -q -o csv=unjudged.csv")?;
    done(folder, "label records --rules rules.toml -o labelled.csv")?;

    // The requests of the browser itself, and its messages about a faulty page.
    std::fs::write(folder.join("empty.html"), "<!doctype html><title>empty</title>")?;
    let wrong = "<!doctype html><title>wrong</title><img src=\"http://127.0.0.1:9/x.png\"><script>nowhere();</script>";
    std::fs::write(folder.join("wrong.html"), wrong)?;
    let empty = browser.open("empty.html", &[])?;
    let found = browser.open("wrong.html", &[])?;
    ensure!(found.console.iter().any(|line| line.contains("nowhere is not defined")), "{:?}", found.console);
    ensure!(found.asked.contains("http://127.0.0.1:9"), "{:?}", found.asked);
    let own = |asked: &str| empty.asked.contains(asked) || asked.contains(".google");

    let judged = ["Incidents", "Traffic over time", "Hosts and services", "Anomalies", "Clusters of flows"];
    let labelled = [&judged[..], &["Scores and labels"]].concat();
    let unjudged = ["Incidents", "Traffic over time", "Hosts and services", "Clusters of flows"];
    let evaluated = ["Detectors", "By attack", "Benign rows", "Clusters"];
    // Expected charts: time and clusters, and with labels also two curves. The chart that separates clusters is shown
    // if there are several. Rows without clusters of their own are clustered for the report. The shipped model may see
    // only one kind of flow.
    let cases: [(&str, &[&str], usize); 7] = [
        ("report scan.pcap --labels rules.toml -q -o", &labelled, 4),
        ("report records -q -o", &judged, 2),
        ("report records.jsonl -q -o", &judged, 2),
        ("report labelled.csv -q -o", &labelled, 4),
        ("report unjudged.csv -q -o", &unjudged, 3),
        ("report real.pcap -q -o", &judged, 2),
        (
            "eval scan.pcap --train real.pcap --labels rules.toml --benign benign -q --detector kmeans,isolation-forest \
             --report",
            &evaluated,
            2,
        ),
    ];
    for (number, (line, expected, charts)) in cases.into_iter().enumerate() {
        let page = format!("page{number}.html");
        done(folder, &format!("{line} {page}"))?;
        let text = std::fs::read_to_string(folder.join(&page))?;
        ensure!(sections(&text) == expected, "flowml {line}: {:?}", sections(&text));
        ensure!(!text.contains("<script") && !text.contains("NaN"), "flowml {line}: {text}");
        let dark = browser.open(&page, &["--blink-settings=preferredColorScheme=0"])?;
        ensure!(dark.console.is_empty(), "flowml {line}: {:?}", dark.console);
        let asked: Vec<&String> = dark.asked.iter().filter(|asked| !own(asked)).collect();
        ensure!(asked.is_empty(), "flowml {line}: {asked:?}");
        ensure!(dark.document.matches("<svg").count() >= charts, "flowml {line}: too few charts");
        for width in [1200, 500] {
            let (sizes, cut, beyond) = layout(&browser, &page, width)?;
            let small = sizes.iter().any(|(width, height)| *width < 300.0 || *height < 60.0);
            let is_good = sizes.len() >= charts && !small && cut.is_empty() && beyond <= 0.0;
            ensure!(is_good, "flowml {line}, {width} pixels wide: {sizes:?}, cut: {cut:?}, {beyond} too wide");
        }
    }
    Ok(())
}

#[test]
fn a_report_shows_the_values_of_the_records() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::write(folder.join("scan.pcap"), capture())?;
    std::fs::write(folder.join("rules.toml"), RULES)?;
    let output = flowml(folder, "report scan.pcap --labels rules.toml -o -")?;
    let page = String::from_utf8(output.stdout)?;
    // 4,000 flows of one packet each, with 28 bytes of headers and the payload.
    let bytes: u64 = (0..2000).map(|n| 28 + 20 + n * 7 % 40).sum::<u64>() + 2000 * 28;
    for expected in [
        "<dd>4,000</dd>",
        "4.00k<small>4,000</small>",
        &format!("{:.0} kB", bytes as f64 / 1000.0),
        "40.0 s<small>from 2023-11-14 22:13:20 UTC</small>",
        "10.0.0.66",
        "udp 53",
        "scan&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
    ] {
        ensure!(page.contains(expected), "no {expected} in {page}");
    }
    // The scan is one incident. The server receives unanswered packets of all hosts together meanwhile, which may be
    // another incident.
    let (_, incidents) = page.split_once("<h2>Incidents</h2>").context("incidents")?;
    let (incidents, _) = incidents.split_once("</section>").context("their end")?;
    let scans = incidents.matches("10.0.0.66 scanned 2000 UDP ports of 10.0.9.9").count();
    ensure!(scans == 1 && incidents.matches("port_scan").count() == 1, "{incidents}");

    let cases = [
        ("report missing.csv -o x.html", 1, "missing.csv"),
        ("report scan.pcap", 2, "--output <FILE>"),
        ("report scan.pcap --model missing.json -o x.html", 1, "missing.json"),
        ("report scan.pcap --model builtin --learn -o x.html", 2, "cannot be used with"),
        ("report rules.toml -o x.html", 1, "rules.toml"),
        ("report scan.pcap -o /nowhere/x.html", 1, "/nowhere/x.html"),
    ];
    for (line, code, words) in cases {
        ensure_refused(folder, line, code, words)?;
        ensure!(!folder.join("x.html").exists(), "flowml {line} wrote a file");
    }
    Ok(())
}

#[test]
fn an_evaluation_reports_time_to_detection_and_false_alarms() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::write(folder.join("scan.pcap"), capture())?;
    std::fs::write(folder.join("rules.toml"), "[[rule]]\nlabel = \"scan\"\nsrc_ip = \"10.0.0.66\"\n")?;
    let line = "eval scan.pcap --labels rules.toml --benign benign -o json=-";
    let output = flowml(folder, line)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && stderr.contains("seconds to detection of"), "flowml {line}: {stderr}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let kmeans = &report["detectors"][0];
    let scan = &kmeans["classes"]["scan"];
    ensure!(scan["attacks"] == 1 && scan["attacks_not_found"] == 0, "{kmeans}");
    // The flows of the scan end with the capture, 10 s after the scan's start.
    let took = scan["time_to_detection_s"].as_f64().context("it was found")?;
    ensure!((9.0..=10.1).contains(&took), "{took} s");
    // In 40 s of capture, one alarm is 90 an hour.
    let rate = kmeans["false_alarms_per_hour"].as_f64().context("time went by")?;
    let alarms = kmeans["confusion"]["rows"][0][1].as_f64().context("a matrix")?;
    ensure!((rate * 40.0 / 3600.0 - alarms).abs() < 0.05 * alarms.max(1.0), "{rate} an hour, {alarms} alarms");
    ensure!(kmeans["roc"]["x"].as_array().is_some_and(|x| x.len() > 10), "folds have a mean curve");
    Ok(())
}
