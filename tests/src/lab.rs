//! Network namespaces and the links between them. They are removed when their guard is dropped.
//!
//! A namespace is named `flowml-<pid>-<n>-<host>`: the process that made it, the number of the laboratory in that
//! process, and the host's name. If the process is killed, a watching process removes its namespaces. If that process
//! is killed too, the next laboratory recognises the remaining namespaces by their dead process, and removes them.
//!
//! Address plan: member `m` of segment `s` is 10.77.s.m/24, fd77:0:0:s::m/64 and 02:77:00:00:s:m.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::process::Process;

/// The folder where iproute2 keeps the names of network namespaces.
const NAMESPACES: &str = "/run/netns";

const PREFIX: &str = "flowml-";

/// Longest time that [`Host::run`] waits for a command.
pub const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Longest time until both ends of a new link report carrier.
const CARRIER_LIMIT: Duration = Duration::from_secs(10);

/// A laboratory, or `None` on a machine without privileges or without `ip`: then the reason is printed and the test
/// returns. With `FLOWML_REQUIRE_LAB=1`, which `cargo xtask test` sets, the function panics instead.
///
/// ```no_run
/// let Some(lab) = flowml_tests::lab::require_lab() else { return };
/// ```
pub fn require_lab() -> Option<Lab> {
    or_skip(Lab::new())
}

/// A laboratory for a test that needs these programs. `None` as for [`require_lab`].
pub fn require_lab_with(programs: &[&str]) -> Option<Lab> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&&str| std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    let missing = programs.iter().find(|program| !is_there(program));
    or_skip(missing.map_or_else(Lab::new, |program| bail!("there is no {program}: run `cargo xtask setup`")))
}

/// A laboratory with two hosts and a quiet link between them: the peer's end, and the metered end. `None` as for
/// [`require_lab`].
pub fn quiet_pair() -> Result<Option<(Lab, [Interface; 2])>> {
    let Some(lab) = require_lab() else { return Ok(None) };
    let ends = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    Ok(Some((lab, ends)))
}

/// Returns something that a test needs, or handles its absence as [`require_lab`] does.
pub fn or_skip<T>(needed: Result<T>) -> Option<T> {
    match needed {
        Ok(needed) => Some(needed),
        Err(error) => {
            let required = std::env::var_os("FLOWML_REQUIRE_LAB").is_some_and(|value| value == "1");
            assert!(!required, "FLOWML_REQUIRE_LAB=1, and this test cannot run: {error:#}");
            // The test harness captures `eprintln!`, and a test that did not run must be seen.
            let _ = writeln!(std::io::stderr(), "skipped: {error:#}");
            None
        }
    }
}

/// Network namespaces and the links between them. Dropping it ends what still runs in them, and removes them.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    namespaces: Mutex<Vec<String>>,
    segments: AtomicU32,
    /// Ends after the namespaces: fields are dropped after `Lab::drop` has removed them.
    _watcher: Watcher,
}

impl Lab {
    /// An empty laboratory. Removes what earlier, killed runs left behind.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ensure!(rustix::process::geteuid().is_root(), "network namespaces can be made by root only");
        ip(&["-V"]).context("the laboratory needs `ip` (Debian: apt install iproute2)")?;
        remove_stale_namespaces()?;
        let prefix = format!("{PREFIX}{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let watcher = Watcher::start(&prefix)?;
        Ok(Self { prefix, namespaces: Mutex::default(), segments: AtomicU32::new(0), _watcher: watcher })
    }

    /// Adds a host: a namespace whose loopback interface is up, with only the loopback addresses.
    pub fn host(&self, name: &str) -> Result<Host> {
        let namespace = format!("{}{name}", self.prefix);
        ip(&["netns", "add", &namespace])?;
        self.namespaces().push(namespace.clone());
        let host = Host(Arc::new(Namespace { namespace, name: name.to_owned(), next_interface: AtomicU32::new(0) }));
        host.enter(silence_new_interfaces)??;
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Connects two hosts by a veth pair.
    pub fn link(&self, ends: [&Host; 2], options: &LinkOptions) -> Result<[Interface; 2]> {
        let segment = self.next_segment()?;
        let [one, other] = ends;
        let interfaces = [plan(one, segment, 1), plan(other, segment, 2)];
        join(&interfaces, options)?;
        Ok(interfaces)
    }

    /// Replaces a link by a new one whose ends have the same names and addresses.
    pub fn replace(&self, ends: &[Interface; 2], options: &LinkOptions) -> Result<()> {
        ends[0].host.ip(&["link", "delete", &ends[0].name])?;
        join(ends, options)
    }

    /// Connects hosts by a switch: a namespace with a bridge that has a veth pair to each of them.
    pub fn segment<const N: usize>(&self, hosts: [&Host; N], options: &LinkOptions) -> Result<[Interface; N]> {
        self.segment_of(&hosts, options)?.try_into().ok().context("an interface for each host")
    }

    /// As [`Self::segment`], for a number of hosts that is not fixed: at most 254.
    pub fn segment_of(&self, hosts: &[&Host], options: &LinkOptions) -> Result<Vec<Interface>> {
        ensure!(hosts.len() <= 254, "{} hosts on a segment, expected at most 254", hosts.len());
        let segment = self.next_segment()?;
        let switch = self.host(&format!("switch{segment}"))?;
        switch.enter(|| set_sysctl("net/ipv6/conf/default/disable_ipv6", "1"))??;
        let bridge = ["type", "bridge", "stp_state", "0", "mcast_snooping", "0", "forward_delay", "0"];
        switch.ip(&[&["link", "add", "br0"], &bridge[..]].concat())?;
        switch.ip(&["link", "set", "br0", "up"])?;
        let numbered = (1_u8..).zip(hosts);
        let mut interfaces: Vec<_> = numbered.map(|(member, host)| plan(host, segment, member)).collect();
        for (i, interface) in interfaces.iter_mut().enumerate() {
            let port = Port { switch: switch.clone(), name: format!("port{}", i + 1) };
            let mac = Mac([2, 0x77, 0, 1, segment, i as u8]);
            veth(&interface.end(), &End { host: &switch, name: &port.name, mac }, options)?;
            switch.ip(&["link", "set", &port.name, "master", "br0", "up"])?;
            interface.port = Some(port);
        }
        for interface in &interfaces {
            let others: Vec<_> = interfaces.iter().filter(|other| other.v4 != interface.v4).cloned().collect();
            interface.configure(&others, options)?;
        }
        interfaces.iter().try_for_each(Interface::wait_for_carrier)?;
        Ok(interfaces)
    }

    /// The names of this laboratory's namespaces.
    pub fn namespace_names(&self) -> Vec<String> {
        self.namespaces().clone()
    }

    /// The number of the next segment, from 1 to 255: the address plan has one byte for it.
    fn next_segment(&self) -> Result<u8> {
        let segment = self.segments.fetch_add(1, Ordering::Relaxed) + 1;
        u8::try_from(segment).context("a laboratory has at most 255 segments")
    }

    fn namespaces(&self) -> MutexGuard<'_, Vec<String>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.namespaces().drain(..) {
            if let Err(error) = remove_namespace(&namespace) {
                eprintln!("the namespace {namespace} is left behind: {error:#}");
            }
        }
    }
}

/// A process that removes the namespaces of this process if this process is killed. It waits for the end of a pipe
/// whose other end this process holds. Signals of the terminal do not reach it.
#[derive(Debug)]
struct Watcher(Child);

impl Watcher {
    const SCRIPT: &str = r#"
        cat > /dev/null
        for path in "$1"*; do
            [ -e "$path" ] || continue
            name="${path##*/}"
            for pid in $(ip netns pids "$name"); do kill -KILL "$pid"; done
            ip netns delete "$name"
        done
    "#;

    fn start(prefix: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", Self::SCRIPT, "flowml-laboratory", &format!("{NAMESPACES}/{prefix}")]);
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().context("starting the process that tidies up after this one").map(Self)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("the process that tidies up: {error}");
        }
    }
}

/// Options of a link. The default is an Ethernet as hosts have it: 1500 bytes, one queue, both IP versions, the
/// kernel's default offloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// Length of the largest IP packet in bytes.
    pub mtu: u32,
    /// Number of transmit queues and of receive queues of each end. With one for each CPU, a frame from
    /// `traffic::FrameSender` is received on the CPU that sent it.
    pub queues: u32,
    /// Removes all traffic except what the test sends: no IPv6, and static neighbours instead of ARP. For tests that
    /// count every packet.
    pub quiet: bool,
    /// Checksum, segmentation and receive offloads. Without them each buffer is one frame with its checksum.
    pub offloads: bool,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self { mtu: 1500, queues: 1, quiet: false, offloads: true }
    }
}

impl LinkOptions {
    /// Options for exact counts: [`Self::quiet`], and one queue for each CPU.
    pub fn quiet() -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        Self { quiet: true, queues: cpus as u32, ..Self::default() }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A version of the Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// One end of a link, in its host.
#[derive(Debug, Clone)]
pub struct Interface {
    /// The host that has the interface.
    pub host: Host,
    /// The name: `eth0` for the first interface of a host.
    pub name: String,
    /// The Ethernet address.
    pub mac: Mac,
    /// The IPv4 address, in a /24.
    pub v4: Ipv4Addr,
    /// The IPv6 address, in a /64. A quiet link does not configure this address.
    pub v6: Ipv6Addr,
    /// The switch port on the other side, in a [`Lab::segment`].
    port: Option<Port>,
}

/// A port of a segment's switch.
#[derive(Debug, Clone)]
struct Port {
    switch: Host,
    name: String,
}

impl Interface {
    /// The interface's index in its namespace.
    pub fn index(&self) -> Result<u32> {
        let index = self.show()?["ifindex"].as_u64();
        let index = index.and_then(|index| u32::try_from(index).ok());
        index.with_context(|| format!("`ip -j link show` gave no index of {}", self.name))
    }

    /// The address of one IP version.
    pub fn address(&self, version: IpVersion) -> IpAddr {
        match version {
            IpVersion::V4 => self.v4.into(),
            IpVersion::V6 => self.v6.into(),
        }
    }

    /// The address of a port on this interface.
    pub fn socket(&self, version: IpVersion, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(version), port)
    }

    /// The interface's own counters.
    pub fn counters(&self) -> Result<Counters> {
        self.host.counters(&self.name)
    }

    /// Closes the switch's port, or opens it again. While it is closed nothing reaches the interface, which keeps its
    /// carrier.
    pub fn set_port_open(&self, open: bool) -> Result<()> {
        let port = self.port.as_ref().with_context(|| format!("{} is at no switch", self.name))?;
        // include/uapi/linux/if_bridge.h: BR_STATE_DISABLED, BR_STATE_FORWARDING.
        let state = if open { "3" } else { "0" };
        // `ip` is not used here: the kernel would set the state again after it.
        port.switch.run_ok(["bridge", "link", "set", "dev", &port.name, "state", state])?;
        Ok(())
    }

    /// Sets the interface down, which removes its IPv6 addresses, or up, which restores them.
    pub fn set_up(&self, up: bool) -> Result<()> {
        self.host.ip(&["link", "set", &self.name, if up { "up" } else { "down" }])?;
        if up {
            self.wait_for_carrier()?;
            self.add_address(&format!("{}/64", self.v6))?;
        }
        Ok(())
    }

    /// Sets the MTU, the length of the largest IP packet in bytes.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        self.host.ip(&["link", "set", &self.name, "mtu", &mtu.to_string()])?;
        Ok(())
    }

    /// Adds an address with its prefix length.
    pub fn add_address(&self, address: &str) -> Result<()> {
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.host.ip(&[&["address", "add", address, "dev", &self.name], nodad].concat())?;
        Ok(())
    }

    fn show(&self) -> Result<Value> {
        self.host.show_link(&self.name)
    }

    fn end(&self) -> End<'_> {
        End { host: &self.host, name: &self.name, mac: self.mac }
    }

    fn configure(&self, neighbours: &[Self], options: &LinkOptions) -> Result<()> {
        if !options.offloads {
            let all_off = "rx off tx off sg off tso off gso off gro off";
            let off: Vec<&str> = ["ethtool", "-K", &self.name].into_iter().chain(all_off.split(' ')).collect();
            self.host.run_ok(&off)?;
        }
        if options.quiet {
            let path = format!("net/ipv6/conf/{}/disable_ipv6", self.name);
            self.host.enter(|| set_sysctl(&path, "1"))??;
        } else {
            self.add_address(&format!("{}/64", self.v6))?;
        }
        self.add_address(&format!("{}/24", self.v4))?;
        self.host.ip(&["link", "set", &self.name, "up"])?;
        if options.quiet {
            for neighbour in neighbours {
                let (v4, mac) = (neighbour.v4.to_string(), neighbour.mac.to_string());
                self.host.ip(&["neighbour", "add", &v4, "lladdr", &mac, "dev", &self.name, "nud", "permanent"])?;
            }
        }
        Ok(())
    }

    /// If both ends have the same interface index, the kernel reports carrier with a delay of up to a second
    /// (`linkwatch_urgent_event`, net/core/link_watch.c). Until then it may discard what is sent. A switch opens its
    /// port when carrier is reported.
    fn wait_for_carrier(&self) -> Result<()> {
        let is_up = |host: &Host, name: &str| Ok::<_, anyhow::Error>(host.show_link(name)?["operstate"] == "UP");
        let port = || self.port.as_ref().map_or(Ok(true), |port| is_up(&port.switch, &port.name));
        wait_until(CARRIER_LIMIT, || Ok(is_up(&self.host, &self.name)? && port()?))
            .with_context(|| format!("waiting for carrier of {} in {}", self.name, self.host.name()))
    }
}

/// Counters of an interface since it was made.
///
/// Bytes are those of the frames without check sequence. While an XDP program is on either end of a veth, both ends
/// count each frame from a socket without the 14 bytes of its Ethernet header (`veth_xdp_rcv_skb`, drivers/net/veth.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Received packets that the interface dropped.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets for sending that the interface dropped.
    pub tx_dropped: u64,
}

impl std::ops::Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            rx_packets: self.rx_packets - earlier.rx_packets,
            rx_bytes: self.rx_bytes - earlier.rx_bytes,
            rx_dropped: self.rx_dropped - earlier.rx_dropped,
            tx_packets: self.tx_packets - earlier.tx_packets,
            tx_bytes: self.tx_bytes - earlier.tx_bytes,
            tx_dropped: self.tx_dropped - earlier.tx_dropped,
        }
    }
}

/// A namespace of a [`Lab`]: a handle that can be cloned and sent to threads.
#[derive(Debug, Clone)]
pub struct Host(Arc<Namespace>);

#[derive(Debug)]
struct Namespace {
    namespace: String,
    name: String,
    next_interface: AtomicU32,
}

impl Host {
    /// The name that was given to [`Lab::host`].
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The name of its namespace for `ip netns`.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The path of the file that represents the namespace.
    pub fn namespace_path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(self.namespace())
    }

    /// A command that will run in this host, with the host's own /sys. `ip netns exec` executes the program in its own
    /// place, so the child's id is the program's.
    pub fn command<S: AsRef<OsStr>>(&self, program_and_arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace()]).args(program_and_arguments);
        command
    }

    /// Runs a command to its end, for at most [`RUN_LIMIT`].
    pub fn run<S: AsRef<OsStr>>(&self, program_and_arguments: impl IntoIterator<Item = S>) -> Result<Output> {
        self.spawn(program_and_arguments)?.wait(RUN_LIMIT)
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn run_ok<S: AsRef<OsStr>>(&self, program_and_arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let command = self.command(program_and_arguments);
        let name = format!("{command:?}");
        successful(&name, &Process::start(command)?.wait(RUN_LIMIT)?)
    }

    /// Starts a command. It ends when the returned guard is dropped.
    pub fn spawn<S: AsRef<OsStr>>(&self, program_and_arguments: impl IntoIterator<Item = S>) -> Result<Process> {
        Process::start(self.command(program_and_arguments))
    }

    /// Calls `work` in this host, on a new thread. Sockets that it opens stay in the host wherever they are moved.
    /// `/proc/thread-self/net` is the host's; `/proc/net` and `/sys` are the process's.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = self.open()?;
        let inside = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("entering the namespace {}", self.namespace()))?;
            Ok(work())
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a thread inside this host.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.open()?;
        let inside = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering a namespace")?;
            drop(namespace);
            Ok(work())
        };
        thread::Builder::new().name(format!("in {}", self.name())).spawn(inside).context("starting a thread")
    }

    /// Runs `ip` on this host, which must succeed. Returns its standard output.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-n", self.namespace()], arguments].concat())
    }

    /// The interface's own counters of packets and bytes.
    pub fn counters(&self, interface: &str) -> Result<Counters> {
        let shown = self.show_link(interface)?;
        let count = |way: &str, what: &str| {
            let count = shown["stats64"][way][what].as_u64();
            count.with_context(|| format!("`ip -s -j link show` gave no {way} {what} of {interface}"))
        };
        Ok(Counters {
            rx_packets: count("rx", "packets")?,
            rx_bytes: count("rx", "bytes")?,
            rx_dropped: count("rx", "dropped")?,
            tx_packets: count("tx", "packets")?,
            tx_bytes: count("tx", "bytes")?,
            tx_dropped: count("tx", "dropped")?,
        })
    }

    /// The output of `ip -d -s -j link show` for an interface.
    pub fn show_link(&self, interface: &str) -> Result<Value> {
        let text = self.ip(&["-d", "-s", "-j", "link", "show", "dev", interface])?;
        let shown: Value =
            serde_json::from_str(&text).with_context(|| format!("the output of ip for {interface}: {text}"))?;
        Ok(shown[0].clone())
    }

    fn open(&self) -> Result<File> {
        let path = self.namespace_path();
        File::open(&path).with_context(|| format!("opening the namespace {}", path.display()))
    }
}

/// Calls `done` every few milliseconds until it returns true. Fails after `limit`.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done()? {
        ensure!(Instant::now() < deadline, "it did not happen within {limit:?}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The description of one end of a veth pair.
struct End<'a> {
    host: &'a Host,
    name: &'a str,
    mac: Mac,
}

fn plan(host: &Host, segment: u8, member: u8) -> Interface {
    Interface {
        host: host.clone(),
        name: format!("eth{}", host.0.next_interface.fetch_add(1, Ordering::Relaxed)),
        mac: Mac([2, 0x77, 0, 0, segment, member]),
        v4: Ipv4Addr::new(10, 77, segment, member),
        v6: Ipv6Addr::new(0xfd77, 0, 0, u16::from(segment), 0, 0, 0, u16::from(member)),
        port: None,
    }
}

/// Makes the link between two planned interfaces, and waits until both can send.
fn join(interfaces: &[Interface; 2], options: &LinkOptions) -> Result<()> {
    veth(&interfaces[0].end(), &interfaces[1].end(), options)?;
    for (i, interface) in interfaces.iter().enumerate() {
        interface.configure(&interfaces[1 - i..2 - i], options)?;
    }
    interfaces.iter().try_for_each(Interface::wait_for_carrier)
}

fn veth(a: &End<'_>, b: &End<'_>, options: &LinkOptions) -> Result<()> {
    let (mtu, queues) = (options.mtu.to_string(), options.queues.to_string());
    let common = ["mtu", &mtu, "numtxqueues", &queues, "numrxqueues", &queues];
    let (mac_a, mac_b) = (a.mac.to_string(), b.mac.to_string());
    let first = ["link", "add", a.name, "netns", a.host.namespace(), "address", &mac_a];
    let second = ["type", "veth", "peer", "name", b.name, "netns", b.host.namespace(), "address", &mac_b];
    ip(&[&first[..], &common, &second, &common].concat())?;
    Ok(())
}

/// Turns off duplicate address detection, router solicitation and the reverse path filter. Interfaces made from now on
/// in this thread's namespace are usable at once and send little.
fn silence_new_interfaces() -> Result<()> {
    for scope in ["all", "default"] {
        for (name, value) in [("accept_dad", "0"), ("router_solicitations", "0"), ("accept_ra", "0"), ("autoconf", "0")]
        {
            set_sysctl(&format!("net/ipv6/conf/{scope}/{name}"), value)?;
        }
        set_sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    Ok(())
}

/// Sets a sysctl of the namespace that this thread is in.
fn set_sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/{name}"), value).with_context(|| format!("setting {name} to {value}"))
}

/// Runs `ip`, which must succeed, and returns its standard output.
fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).output().context("running `ip`")?;
    successful(&format!("ip {}", arguments.join(" ")), &output)
}

fn successful(name: &str, output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!("`{name}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes the namespaces of laboratories whose process is dead.
fn remove_stale_namespaces() -> Result<()> {
    let Ok(names) = fs::read_dir(NAMESPACES) else { return Ok(()) };
    for name in names {
        let name = name.context("listing network namespaces")?.file_name();
        let Some(name) = name.to_str().filter(|name| is_stale(name)) else { continue };
        // Another laboratory may be removing it now.
        if let Err(error) = remove_namespace(name)
            && Path::new(NAMESPACES).join(name).exists()
        {
            return Err(error.context(format!("removing the stale namespace {name}")));
        }
    }
    Ok(())
}

fn is_stale(namespace: &str) -> bool {
    let maker = namespace.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    let maker = maker.and_then(|pid| pid.parse::<u32>().ok());
    maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// Ends the processes that still run in the namespace, all of which a laboratory started, and removes it.
fn remove_namespace(namespace: &str) -> Result<()> {
    let own = std::process::id().to_string();
    for pid in ip(&["netns", "pids", namespace])?.lines().filter(|pid| *pid != own) {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            // ESRCH: the process has just ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    ip(&["netns", "delete", namespace])?;
    Ok(())
}
