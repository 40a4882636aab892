//! Measures whole live runs at full speed: packets through the agent's program against an empty program, the share of
//! packets in flows, lateness, and the agent's CPU time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, maps::Array};
use flowml_tests::agent::Agent;
use flowml_tests::frames::{Frame, Ipv4, NOBODY, Ports};
use flowml_tests::lab::{Interface, Lab, LinkOptions, wait_until};
use flowml_tests::scrape::{METRICS, Scrape};
use flowml_tests::traffic::raw::on_cpus;
use rustix::process::Signal;

use crate::effort::Effort;
use crate::programs::{self, Order};
use crate::ratio::{Ratio, median};

/// A kind of runs.
struct Setting {
    flows: u32,
    /// Options of the agent besides those of every run, and their name in the ratios.
    options: &'static [&'static str],
    name: &'static str,
    /// Goal: the throughput of the empty program by the agent's.
    throughput_goal: Option<f64>,
    /// Goal: the share of packets that are in no flow.
    outside_goal: Option<f64>,
}

const DEFAULT: Setting = Setting { flows: 1, options: &[], name: "", throughput_goal: None, outside_goal: Some(0.0) };

const SETTINGS: [Setting; 5] = [
    Setting { throughput_goal: Some(1.0 / 0.85), ..DEFAULT },
    Setting { flows: 1 << 16, throughput_goal: Some(1.0 / 0.7), ..DEFAULT },
    Setting { flows: 1 << 16, options: &["-o", "csv=/dev/null"], name: "_csv", ..DEFAULT },
    Setting { flows: 1 << 20, outside_goal: Some(0.01), ..DEFAULT },
    Setting {
        flows: 1 << 20,
        options: &["--flow-capacity", "2097152"],
        name: "_large_table",
        outside_goal: None,
        ..DEFAULT
    },
];

/// The shortest run. The table has room for its flows.
const SHORTEST: [Setting; 1] = [Setting { flows: 1 << 10, ..DEFAULT }];

/// Duration of a run. An epoch lasts at most a second, so a full run contains several.
fn duration(effort: Effort) -> Duration {
    effort.pick(Duration::from_secs(6), Duration::from_millis(100))
}

fn rounds(effort: Effort) -> usize {
    effort.pick(5, 1)
}

/// Frames that the kernel sends before it schedules the receiver: less than the 256 places of a veth's ring.
const FRAMES_AT_ONCE: u32 = 64;

/// Frames of one call, about a tenth of a second.
const BURST: u32 = 1 << 18;

/// Longest time until the agent has drained everything.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// The results of one run of an agent.
struct Run {
    /// Packets per second that reached the program.
    throughput: f64,
    /// The share of these packets that are in no flow, because the table was full.
    outside: f64,
    /// Drains at the end of intervals that were more than 50 ms late, of all.
    late: f64,
    /// The agent's CPU time per million packets, in s.
    cpu_s: f64,
}

/// The runs of one setting.
pub(crate) struct Runs {
    setting: &'static Setting,
    /// Throughput with the empty program, by round.
    empty: Vec<f64>,
    agent: Vec<Run>,
}

/// Sends from a CPU of its own; the agent may use `pair`, which contains that CPU.
pub(crate) fn measure(object: &[u8], pair: [usize; 2], effort: Effort) -> Result<Vec<Runs>> {
    let duration = duration(effort);
    let mut all = Vec::new();
    for setting in effort.pick(&SETTINGS[..], &SHORTEST) {
        let mut runs = Runs { setting, empty: Vec::new(), agent: Vec::new() };
        for _ in 0..rounds(effort) {
            runs.empty.push(run_empty(object, setting.flows, duration)?);
            runs.agent.push(run_agent(object, pair, setting, duration)?);
        }
        let outside = runs.agent.iter().any(|run| run.outside > 0.0);
        ensure!(effort == Effort::Full || !outside, "packets are in no flow, and the table has room for all flows");
        all.push(runs);
    }
    Ok(all)
}

/// Two hosts with a link: the sender's end, and the metered end.
fn link() -> Result<(Lab, [Interface; 2])> {
    let lab = Lab::new()?;
    let ends = lab.link([&lab.host("sender")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    Ok((lab, ends))
}

fn run_empty(object: &[u8], flows: u32, duration: Duration) -> Result<f64> {
    let (_lab, [from, to]) = link()?;
    let mut ebpf = programs::without_table(object, 1, &[])?;
    programs::load(&mut ebpf, "empty")?;
    let index = to.index()?;
    let attached = to.host.enter(|| {
        let program = ebpf.program_mut("empty").context("the object has no program empty")?;
        let xdp: &mut Xdp = program.try_into()?;
        anyhow::Ok(xdp.attach_to_if_index(index, XdpMode::Driver)?)
    })?;
    attached.context("attaching the empty program")?;
    send(object, &from, &to, flows, duration)
}

fn run_agent(object: &[u8], pair: [usize; 2], setting: &Setting, duration: Duration) -> Result<Run> {
    let (_lab, [from, to]) = link()?;
    let always = ["run", "-i", &to.name, "-qq", "--metrics", METRICS];
    let arguments: Vec<&str> = always.iter().chain(setting.options).copied().collect();
    let agent = on_cpus(&pair, || Agent::start(&to.host, &arguments))??;
    agent.wait_attached(&to)?;
    let before = to.counters()?.rx_packets;
    let throughput = send(object, &from, &to, setting.flows, duration)?;
    let received = (to.counters()?.rx_packets - before) as f64;
    wait_until(DRAIN_LIMIT, || Ok(Scrape::of(&to.host)?.value("flowml_received_packets_total")? >= received))
        .context("waiting until the agent has counted all packets")?;
    let scrape = Scrape::of(&to.host)?;
    let lateness = scrape.histogram("flowml_drain_lateness_seconds")?;
    let full = scrape.value("flowml_skipped_packets_total{reason=\"table_full\"}")?;
    let cpu = agent.cpu_time()?;
    let report = agent.stop(Signal::TERM)?;
    ensure!(report.code == Some(0), "the agent ended with {:?}: {}", report.code, report.stderr);
    Ok(Run {
        throughput,
        outside: full / received,
        late: lateness.beyond(0.05) / lateness.count.max(1.0),
        cpu_s: cpu.as_secs_f64() * 1e6 / received,
    })
}

/// Sends for this time. Returns the packets per second that arrived.
fn send(object: &[u8], from: &Interface, to: &Interface, flows: u32, duration: Duration) -> Result<f64> {
    let mut ebpf = programs::without_table(object, 1, &[])?;
    programs::load(&mut ebpf, "send")?;
    programs::walk(&mut ebpf, flows, Order::Scattered)?;
    let mut sender: Array<_, u32> = ebpf.map_mut("SENDER").context("the object has no map SENDER")?.try_into()?;
    sender.set(0, from.index()?, 0)?;
    let header = Ipv4 { destination: to.v4, ..Ipv4::default() };
    let ports = Ports::default();
    let frame = Frame::between(to.mac, NOBODY).ipv4(&header).udp(ports).payload(&[0x55; 18]).finish();
    let before = to.counters()?.rx_packets;
    let begun = Instant::now();
    from.host.enter(|| send_for(&ebpf, &frame, duration))??;
    let arrived = to.counters()?.rx_packets - before;
    Ok(arrived as f64 / begun.elapsed().as_secs_f64())
}

fn send_for(ebpf: &Ebpf, frame: &[u8], duration: Duration) -> Result<()> {
    let program = programs::xdp(ebpf, "send")?;
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let attrs = TestRunAttrs::new().xdp_live_frames(FRAMES_AT_ONCE);
        program
            .test_run(TestRunOptions { data_in: Some(frame), repeat: BURST, attrs, ..Default::default() })
            .context("sending live frames")?;
    }
    Ok(())
}

impl Runs {
    pub(crate) fn ratios(&self) -> [Ratio; 2] {
        let Setting { flows, name, throughput_goal, outside_goal, .. } = *self.setting;
        let throughput = self.empty.iter().zip(&self.agent).map(|(empty, run)| empty / run.throughput);
        [
            Ratio {
                name: format!("live_empty_by_agent_throughput_{flows}_flows{name}"),
                goal: throughput_goal,
                rounds: throughput.collect(),
            },
            Ratio {
                name: format!("live_packets_in_no_flow_{flows}_flows{name}"),
                goal: outside_goal,
                rounds: self.agent.iter().map(|run| run.outside).collect(),
            },
        ]
    }

    pub(crate) fn print_heading(effort: Effort) {
        let (rounds, duration) = (rounds(effort), duration(effort));
        println!("Live at full speed, one sender on one CPU: medians of {rounds} rounds of {duration:?}");
        println!(
            "{:>8} {:>14} {:>14} {:>10} {:>8} {:>22}  options",
            "flows", "empty pkt/s", "agent pkt/s", "no flow", "late", "CPU s / 10⁶ packets"
        );
    }

    pub(crate) fn print(&self) {
        let of = |of: fn(&Run) -> f64| median(&self.agent.iter().map(of).collect::<Vec<_>>());
        println!(
            "{:>8} {:>14.0} {:>14.0} {:>9.3}% {:>7.1}% {:>22.3}  {}",
            self.setting.flows,
            median(&self.empty),
            of(|run| run.throughput),
            100.0 * of(|run| run.outside),
            100.0 * of(|run| run.late),
            of(|run| run.cpu_s),
            self.setting.options.join(" "),
        );
    }
}
