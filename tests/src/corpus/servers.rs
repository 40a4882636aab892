//! Servers of the corpus: the programs of real networks, with configurations for the laboratory.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::files::{ACCOUNT, Files};
use super::part::Equipment;
use super::site::Site;
use crate::agent;
use crate::lab::{Interface, IpVersion, wait_until};
use crate::process::Process;
use crate::traffic::peers::UdpService;

/// Longest time until a server listens.
const LIMIT: Duration = Duration::from_secs(20);

/// The port of the Network Time Protocol (RFC 5905).
pub(super) const NTP: u16 = 123;

/// Domains of RFC 6761 §6.5: the site's domain, and those of the attackers. No server outside the laboratory answers
/// for them.
pub(super) const TOWN: &str = "town.example";
pub(super) const TUNNEL: &str = "t.tunnel.example";
pub(super) const DROP: &str = "x.drop.example";
/// A domain with a long TXT record.
pub(super) const AMPLE: &str = "ample.example";

/// All servers of a part of the corpus. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Servers {
    _processes: Vec<Process>,
    _clocks: Vec<UdpService>,
}

impl Servers {
    /// Starts the servers. The server's resolver sends queries for the names of two attackers to `far` and `drop`.
    pub(super) fn start(
        site: &Site,
        [far, drop]: [&Interface; 2],
        files: &Files,
        equipment: Equipment,
    ) -> Result<Self> {
        let zones = [(TUNNEL, far), (DROP, drop)];
        let forwards = zones.map(|(zone, at)| format!("--server=/{zone}/{}", at.v4));
        let mut processes = vec![names(&site.server, &forwards)?];
        for host in site.responders.iter().chain([&site.mirror]) {
            processes.push(names(host, &[])?);
        }
        if equipment == Equipment::Corpus {
            processes.extend([web(&site.server, files)?, web(&site.mirror, files)?]);
            processes.extend([ssh(&site.server, files)?, ftp(&site.server, files)?, mail(&site.server)?]);
        }
        let hosts = site.responders.iter().chain([&site.server, &site.mirror]);
        let ends = hosts.flat_map(|host| [(host, IpVersion::V4), (host, IpVersion::V6)]);
        let clocks = ends.map(|(host, version)| UdpService::start(host, version, NTP)).collect::<Result<_>>()?;
        Ok(Self { _processes: processes, _clocks: clocks })
    }
}

/// dnsmasq with every name of the town, a few records of other types, and the records of further arguments.
pub(super) fn names(at: &Interface, further: &[String]) -> Result<Process> {
    let ample: String = ('a'..='h').map(|letter| format!(",{}", letter.to_string().repeat(250))).collect();
    let words = format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
         --log-facility=- --bind-interfaces --except-interface=lo --edns-packet-max=4096 \
         --listen-address={v4} --listen-address={v6} \
         --local=/{TOWN}/ --address=/www.{TOWN}/{v4} --address=/www.{TOWN}/{v6} \
         --txt-record={TOWN},v=spf1 --mx-host={TOWN},mail.www.{TOWN},10 --txt-record={AMPLE}{ample}",
        v4 = at.v4,
        v6 = at.v6
    );
    let words = words.split_whitespace().chain(further.iter().map(String::as_str));
    listening(at, 53, at.host.spawn(words)?)
}

/// nginx on ports 80 and 443.
pub(super) fn web(at: &Interface, files: &Files) -> Result<Process> {
    let configuration = files.web_configuration(at.host.name())?.display().to_string();
    let program = program("nginx");
    let words = [&program, "-e", "stderr", "-p", &files.name(""), "-c", &configuration];
    listening(at, 443, at.host.spawn(words)?)
}

/// OpenSSH. It sees the accounts of the site instead of the machine's, and its logs are discarded: the mounts are in
/// the namespace that `ip netns exec` makes for it (ip-netns(8)).
fn ssh(at: &Interface, files: &Files) -> Result<Process> {
    const SCRIPT: &str = r#"
        mount -t tmpfs none /run && mkdir /run/sshd && mount -t tmpfs none /var/log &&
        mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow &&
        exec "$1" -D -e -f "$2"
    "#;
    let configuration = files.ssh_configuration()?.display().to_string();
    let (folder, program) = (files.name(""), program("sshd"));
    listening(at, 22, at.host.spawn(["sh", "-c", SCRIPT, &folder, &program, &configuration])?)
}

/// pyftpdlib. It answers a wrong password after three seconds.
fn ftp(at: &Interface, files: &Files) -> Result<Process> {
    let folder = files.name("ftp");
    let words = ["-p", "21", "-w", "-u", ACCOUNT, "-P", &files.password, "-d", &folder];
    listening(at, 21, python(at, "pyftpdlib", &words)?)
}

/// aiosmtpd. It accepts every message and keeps none.
fn mail(at: &Interface) -> Result<Process> {
    listening(at, 25, python(at, "aiosmtpd", &["-n", "-c", "aiosmtpd.handlers.Sink", "-l", "0.0.0.0:25"])?)
}

/// Runs a module of the distribution's own Python, whichever Python is first in the path.
fn python(at: &Interface, module: &str, arguments: &[&str]) -> Result<Process> {
    at.host.spawn([&["/usr/bin/python3", "-m", module], arguments].concat())
}

/// The path of a server: the one that was unpacked for the corpus, otherwise the machine's.
pub(super) fn program(name: &str) -> String {
    let unpacked: PathBuf = agent::target().join("servers/usr/sbin").join(name);
    let system = PathBuf::from("/usr/sbin").join(name);
    if unpacked.is_file() { unpacked } else { system }.display().to_string()
}

/// Waits until a server accepts connections. The attempts come from its own host, so they pass no interface of other
/// hosts.
fn listening(at: &Interface, port: u16, process: Process) -> Result<Process> {
    let tried = || {
        ensure!(process.is_running()?, "it has ended");
        let addresses = [IpAddr::from(at.v4), Ipv4Addr::LOCALHOST.into()];
        at.host.enter(|| addresses.iter().any(|&address| TcpStream::connect((address, port)).is_ok()))
    };
    wait_until(LIMIT, tried)
        .with_context(|| format!("port {port} of {}: {}", at.host.name(), process.stderr().text().trim()))?;
    Ok(process)
}
