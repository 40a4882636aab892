//! Sends raw frames onto an interface and receives them from it, by packet sockets (packet(7)).
//!
//! The CPU that receives a frame: a veth has no hardware, so the softirq of the sending CPU receives it (`veth_xmit`
//! raises NET_RX there). The exception: if another CPU is polling the receiving queue at that moment, that CPU receives
//! it. One queue for each CPU excludes the exception. [`FrameSender`] bypasses the queueing discipline, and then the
//! kernel uses the transmit queue with the number of the sender's CPU modulo the number of queues
//! (`packet_pick_tx_queue`, net/packet/af_packet.c). With at least as many
//! [`LinkOptions::queues`](crate::lab::LinkOptions::queues) as CPUs, and [`on_cpu`] around the sending, the program on
//! the other end runs only on that CPU.
//!
//! Measured on two busy cores with an XDP program on the other end, in million frames a second and CPU:
//!
//! - `sendmmsg`: 0.4 to 1.0;
//! - PACKET_TX_RING: 0.3 to 0.6. Its frames are scattered buffers, which a veth copies for XDP;
//! - live frames of `BPF_PROG_TEST_RUN`, which would need another program: 1.6 to 3.0.

use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::frames::{self, ether_type};
use crate::lab::Interface;

/// Frames in one system call.
const BATCH: usize = 64;

/// Longest frame that a receiver accepts, in bytes: an IP packet of 65,535 bytes, an Ethernet header, two tags.
const LONGEST: usize = 65_535 + 14 + 8;

/// Size of the receive buffer in bytes: room for some 100,000 short frames.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;

/// The frames that the kernel accepted for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// The number of frames.
    pub packets: u64,
    /// Total length of the frames in bytes, without frame check sequence.
    pub bytes: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

impl std::iter::Sum for Sent {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

/// Calls `work` on a thread that runs only on this CPU.
pub fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> T + Send) -> Result<T> {
    on_cpus(&[cpu], work)
}

/// Calls `work` on a thread that runs only on these CPUs.
pub fn on_cpus<T: Send>(cpus: &[usize], work: impl FnOnce() -> T + Send) -> Result<T> {
    let pinned = || {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|&cpu| set.set(cpu));
        sched_setaffinity(None, &set).with_context(|| format!("moving a thread to the CPUs {cpus:?}"))?;
        Ok(work())
    };
    match thread::scope(|scope| scope.spawn(pinned).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The rate at which frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the kernel accepts them.
    Full,
    /// At most this number in a second, evenly distributed in batches of a millisecond.
    PerSecond(u32),
}

impl Rate {
    /// The number of frames that may be sent at once.
    fn batch(self) -> usize {
        match self {
            Self::Full => BATCH,
            Self::PerSecond(rate) => (rate as usize / 1000).clamp(1, BATCH),
        }
    }

    /// Sleeps until the next frame is due, after `sent` frames since `start`.
    fn wait(self, start: Instant, sent: u64) {
        if let Self::PerSecond(rate) = self {
            let due = start + Duration::from_secs_f64(sent as f64 / f64::from(rate.max(1)));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// Sends frames from an interface. Bypasses the queueing discipline.
#[derive(Debug)]
pub struct FrameSender {
    socket: OwnedFd,
}

impl FrameSender {
    /// A sender on this interface.
    pub fn open(interface: &Interface) -> Result<Self> {
        // Protocol 0: this socket receives nothing.
        let socket = packet_socket(interface, 0)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        Ok(Self { socket })
    }

    /// Sends the frames in turn, `times` times. Returns when the kernel has accepted all of them.
    pub fn send(&self, frames: &[Vec<u8>], times: u64, rate: Rate) -> Result<Sent> {
        let mut batch = Batch::new(rate.batch());
        let total = frames.len() as u64 * times;
        let frame = |n: u64| &frames[(n % frames.len() as u64) as usize];
        self.send_batches(&mut batch, total, rate, |n, buffer| {
            buffer.clear();
            buffer.extend_from_slice(frame(n));
        })
    }

    /// Sends the packets of many flows.
    pub fn spray(&self, spray: &FlowSpray, rate: Rate) -> Result<Sent> {
        let mut batch = Batch::new(rate.batch());
        batch.buffers.fill(spray.template.clone());
        let patch = Patch::new(&spray.template)?;
        self.send_batches(&mut batch, spray.packets, rate, |n, buffer| {
            patch.apply(buffer, spray.source_number(n));
        })
    }

    fn send_batches(
        &self,
        batch: &mut Batch,
        total: u64,
        rate: Rate,
        mut write: impl FnMut(u64, &mut Vec<u8>),
    ) -> Result<Sent> {
        let (mut sent, start) = (Sent::default(), Instant::now());
        while sent.packets < total {
            let size = batch.buffers.len().min((total - sent.packets) as usize);
            for (n, buffer) in (sent.packets..).zip(&mut batch.buffers[..size]) {
                write(n, buffer);
            }
            rate.wait(start, sent.packets);
            batch.send_all(&self.socket, size)?;
            sent.packets += size as u64;
            sent.bytes += batch.buffers[..size].iter().map(|frame| frame.len() as u64).sum::<u64>();
        }
        Ok(sent)
    }
}

/// Packets of many flows in turn. They differ only in source address and source port.
#[derive(Debug, Clone)]
pub struct FlowSpray {
    /// A frame with IPv4 and TCP or UDP, without VLAN tag and IPv4 options.
    pub template: Vec<u8>,
    /// The number of flows.
    pub flows: u32,
    /// The number of packets of all flows.
    pub packets: u64,
    /// The source number of the first flow.
    pub first: u32,
    /// Difference of the source numbers of consecutive flows. 1 uses all ports of one address, then those of the next.
    /// An odd number with many bits scatters over all addresses and ports.
    pub step: u32,
}

impl FlowSpray {
    /// Short UDP packets to `to` with an Ethernet address that makes its host discard them, so that no host answers.
    pub fn unanswered(to: &Interface, flows: u32, packets: u64) -> Self {
        let header = frames::Ipv4 { destination: to.v4, ..frames::Ipv4::default() };
        let frame = frames::Frame::between(to.mac, frames::NOBODY).ipv4(&header).udp(frames::Ports::default());
        Self { template: frame.payload(&[0x55; 18]).finish(), flows, packets, first: 0, step: 1 }
    }

    /// The source number of packet `n`.
    fn source_number(&self, n: u64) -> u32 {
        let flow = (n % u64::from(self.flows)) as u32;
        self.first.wrapping_add(flow.wrapping_mul(self.step))
    }

    /// Source address and source port of packet `n`.
    pub fn source(&self, n: u64) -> (Ipv4Addr, u16) {
        source(self.source_number(n))
    }
}

/// The address in 10.78.0.0/16 and the port of a source number.
fn source(number: u32) -> (Ipv4Addr, u16) {
    let [a, b, port_high, port_low] = number.to_be_bytes();
    (Ipv4Addr::new(10, 78, a, b), u16::from_be_bytes([port_high, port_low]))
}

/// Writes a source into copies of a template, and updates the checksums (RFC 1624).
struct Patch {
    transport_checksum_at: usize,
    ip_checksum: u16,
    transport_checksum: u16,
    is_udp: bool,
    /// Sum of the words that each packet replaces: the whole source address, and the source port.
    replaced_ip: u32,
    replaced_transport: u32,
}

impl Patch {
    const IP_CHECKSUM: usize = 14 + 10;
    const SOURCE: usize = 14 + 12;
    const SOURCE_PORT: usize = 14 + 20;

    fn new(template: &[u8]) -> Result<Self> {
        let is_plain_ipv4 = template.len() >= 14 + 20 + 8 && template[12..15] == [8, 0, 0x45];
        ensure!(is_plain_ipv4, "a flow spray needs a template of IPv4 without options or tags");
        let transport_checksum_at = 34
            + match template[23] {
                frames::protocol::TCP => 16,
                frames::protocol::UDP => 6,
                other => anyhow::bail!("a flow spray needs a template of TCP or UDP, not of protocol {other}"),
            };
        ensure!(template.len() >= transport_checksum_at + 2, "the template ends before its checksum");
        let word = |at: usize| u16::from_be_bytes([template[at], template[at + 1]]);
        let replaced_ip = u32::from(word(Self::SOURCE)) + u32::from(word(Self::SOURCE + 2));
        Ok(Self {
            transport_checksum_at,
            ip_checksum: word(Self::IP_CHECKSUM),
            transport_checksum: word(transport_checksum_at),
            is_udp: template[23] == frames::protocol::UDP,
            replaced_ip,
            replaced_transport: replaced_ip + u32::from(word(Self::SOURCE_PORT)),
        })
    }

    fn apply(&self, frame: &mut [u8], source_number: u32) {
        let (address, port) = source(source_number);
        let [a, b, c, d] = address.octets();
        let new_ip = u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]));
        let new_transport = new_ip + u32::from(port);
        frame[Self::SOURCE..Self::SOURCE + 4].copy_from_slice(&address.octets());
        frame[Self::SOURCE_PORT..Self::SOURCE_PORT + 2].copy_from_slice(&port.to_be_bytes());
        let ip = updated_checksum(self.ip_checksum, self.replaced_ip, new_ip);
        frame[Self::IP_CHECKSUM..Self::IP_CHECKSUM + 2].copy_from_slice(&ip.to_be_bytes());
        let transport = match updated_checksum(self.transport_checksum, self.replaced_transport, new_transport) {
            // The value zero would mean that there is no checksum (RFC 768).
            0 if self.is_udp => 0xffff,
            sum => sum,
        };
        let at = self.transport_checksum_at;
        frame[at..at + 2].copy_from_slice(&transport.to_be_bytes());
    }
}

/// RFC 1624, equation 3. `old` and `new` are sums of at most three words.
fn updated_checksum(checksum: u16, old: u32, new: u32) -> u16 {
    let mut sum = u32::from(!checksum) + new + 3 * 0xffff - old;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Frames for one `sendmmsg`.
struct Batch {
    buffers: Vec<Vec<u8>>,
}

impl Batch {
    fn new(size: usize) -> Self {
        Self { buffers: vec![Vec::new(); size] }
    }

    /// Sends the first `size` buffers. Sends a frame again if the kernel dropped it because a queue was full.
    fn send_all(&mut self, socket: &OwnedFd, size: usize) -> Result<()> {
        let parts = self.buffers[..size]
            .iter_mut()
            .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() });
        let mut parts: Vec<libc::iovec> = parts.collect();
        let messages = parts.iter_mut().map(|part| {
            // SAFETY: all bytes zero is a `msghdr` without address, data or ancillary data.
            let mut header: libc::msghdr = unsafe { mem::zeroed() };
            header.msg_iov = part;
            header.msg_iovlen = 1;
            libc::mmsghdr { msg_hdr: header, msg_len: 0 }
        });
        let mut messages: Vec<libc::mmsghdr> = messages.collect();
        let mut done = 0;
        while done < size {
            let left = &mut messages[done..];
            // SAFETY: `left` points at valid headers. Their parts point at buffers that outlive the call.
            let accepted = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0) };
            match usize::try_from(accepted) {
                Ok(accepted) => done += accepted,
                Err(_) => wait_for_room(&io::Error::last_os_error(), self.buffers[done].len())?,
            }
        }
        Ok(())
    }
}

fn wait_for_room(error: &io::Error, length: usize) -> Result<()> {
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::EAGAIN) => thread::yield_now(),
        Some(libc::EINTR) => {}
        _ => return Err(anyhow::anyhow!("sending a frame of {length} bytes: {error}")),
    }
    Ok(())
}

/// Receives the frames that arrive at an interface, in the form that they had on the wire.
#[derive(Debug)]
pub struct FrameReceiver {
    socket: OwnedFd,
}

impl FrameReceiver {
    /// Opens a receiver of every frame that arrives from now on.
    pub fn open(interface: &Interface) -> Result<Self> {
        let socket = packet_socket(interface, libc::ETH_P_ALL as u16)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        Ok(Self { socket })
    }

    /// The next frame, or `None` if none arrives within `limit`. Fails if a frame was lost because the buffer was full.
    pub fn receive(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let timeout = Timespec::try_from(limit).context("a time limit that the kernel can hold")?;
        if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)).context("waiting for a frame")? == 0 {
            let lost = overflown(&self.socket)?;
            ensure!(lost == 0, "{lost} frames found no room in the receive buffer");
            return Ok(None);
        }
        self.read().map(Some)
    }

    fn read(&self) -> Result<Vec<u8>> {
        let mut frame = vec![0; LONGEST];
        // Room for one `cmsghdr` with a `tpacket_auxdata`, aligned as `cmsghdr` is.
        let mut control = [0u64; 8];
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: all bytes zero is a `msghdr` without address, data or ancillary data.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: the header points at buffers of the lengths that it states.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error()).context("reading a frame")?;
        frame.truncate(length);
        if let Some(tag) = stripped_tag(&header) {
            frame.splice(12..12, tag);
        }
        Ok(frame)
    }
}

/// The tag that the kernel has stripped. The kernel removes the outermost tag before sockets see the frame, and reports
/// it beside the data.
fn stripped_tag(header: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel has written `msg_control`, and set `msg_controllen` to the length that it wrote.
    let message = unsafe { libc::CMSG_FIRSTHDR(header) };
    if message.is_null() {
        return None;
    }
    // SAFETY: `CMSG_FIRSTHDR` returned a header within the control buffer.
    let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
    if (level, kind) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: the data of a PACKET_AUXDATA message is one `tpacket_auxdata`, possibly unaligned.
    let auxiliary = unsafe { ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>()) };
    if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let has_tpid = auxiliary.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let [a, b] = if has_tpid { auxiliary.tp_vlan_tpid } else { ether_type::VLAN }.to_be_bytes();
    let [c, d] = auxiliary.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// A packet socket in the interface's host, bound to the interface.
fn packet_socket(interface: &Interface, protocol: u16) -> Result<OwnedFd> {
    let index = interface.index()?;
    let bound = interface.host.enter(|| bound_packet_socket(index, protocol.to_be()))?;
    bound.with_context(|| format!("opening a packet socket on {} of {}", interface.name, interface.host.name()))
}

fn bound_packet_socket(index: u32, protocol: u16) -> io::Result<OwnedFd> {
    // Protocol 0 until `bind`, so that no frame of another interface arrives before it.
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is open and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all bytes zero is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = index as i32;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is as long as stated.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

fn set_option(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is as long as stated.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    check(set).with_context(|| format!("setting option {option} of a packet socket"))
}

/// The number of frames that did not fit in the receive buffer since the last call.
fn overflown(socket: &OwnedFd) -> Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    let (fd, option) = (socket.as_raw_fd(), libc::PACKET_STATISTICS);
    // SAFETY: `statistics` is as long as stated.
    let read = unsafe { libc::getsockopt(fd, libc::SOL_PACKET, option, (&raw mut statistics).cast(), &raw mut length) };
    check(read).context("reading a packet socket's statistics")?;
    Ok(statistics.tp_drops)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Frame, Ipv4, Ports, Tcp};

    #[test]
    fn patched_frames_equal_built_frames() {
        let build = |number: Option<u32>, tcp: bool| {
            let (address, port) = number.map_or((Ipv4::default().source, 40000), source);
            let frame = Frame::default().ipv4(&Ipv4 { source: address, ..Ipv4::default() });
            if tcp {
                frame.tcp(&Tcp { source_port: port, ..Tcp::default() }).payload(b"odd").finish()
            } else {
                frame.udp(Ports { source: port, destination: 53 }).payload(b"even").finish()
            }
        };
        for tcp in [true, false] {
            let mut frame = build(None, tcp);
            let patch = Patch::new(&frame).expect("a template");
            for number in (0..5_000_000).step_by(37).chain([u32::MAX]) {
                patch.apply(&mut frame, number);
                assert_eq!(frame, build(Some(number), tcp), "source {number}, TCP {tcp}");
            }
        }
    }

    #[test]
    fn templates_that_cannot_be_patched_are_refused() {
        for named in frames::NAMED.iter().filter(|named| named.name.contains("vlan") || named.name.contains("ipv6_")) {
            assert!(Patch::new(&(named.build)()).is_err(), "{}", named.name);
        }
    }
}
