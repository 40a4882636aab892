//! Runs the kernel programs on given frames by `BPF_PROG_TEST_RUN`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{Program as Loaded, ProgramError};
use bytemuck::{Pod, Zeroable};
use flowml_common::content::{PayloadChunk, PayloadLimit};
use flowml_common::filter::Filter;
use flowml_common::packet::{Hook, Segments};
use flowml_common::time::Boundaries;
use flowml_common::tunnel::PortList;
use flowml_user::capture::kernel::{KernelTable, Size};
use flowml_user::object;

use crate::lab::{Lab, or_skip, require_lab};

/// Interface index of frames in a test run: every namespace's loopback (`net/bpf/test_run.c`).
pub const LOOPBACK: u32 = 1;

/// `enum xdp_action` (`include/uapi/linux/bpf.h`).
pub(crate) const XDP_PASS: u32 = 2;

/// `TC_ACT_UNSPEC`, -1 (`include/uapi/linux/pkt_cls.h`).
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// The longest linear part that a test run of XDP makes, in bytes: a page without headroom (`XDP_PACKET_HEADROOM`, 256)
/// and without tailroom (`struct skb_shared_info`, 320 bytes in whole cache lines of x86-64).
pub const LONGEST_LINEAR: usize = 4096 - 256 - 320;

/// `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const BPF_PROG_TEST_RUN: libc::c_long = 10;

/// As [`require_lab`], for tests that run the kernel programs: this build must contain them.
pub fn require_kernel() -> Option<Lab> {
    let lab = require_lab()?;
    or_skip(embedded()).map(|_| lab)
}

/// The kernel programs of this build.
pub fn embedded() -> Result<&'static [u8]> {
    object::embedded().context("this build carries no kernel programs: run `cargo xtask build`")
}

/// A flow table with the kernel programs of this build.
pub fn kernel_table(capacity: Option<u32>, payload: Option<PayloadLimit>) -> Result<KernelTable> {
    kernel_table_inside(capacity, payload, None)
}

/// The same, looking into the tunnels of these ports and into those without ports.
pub fn kernel_table_inside(
    capacity: Option<u32>,
    payload: Option<PayloadLimit>,
    tunnels: Option<PortList>,
) -> Result<KernelTable> {
    kernel_table_filtered(capacity, payload, tunnels, None)
}

/// The same, with a filter.
pub fn kernel_table_filtered(
    capacity: Option<u32>,
    payload: Option<PayloadLimit>,
    tunnels: Option<PortList>,
    filter: Option<&Filter>,
) -> Result<KernelTable> {
    let table = KernelTable::load(embedded()?, capacity, payload, tunnels, Boundaries::default(), filter);
    table.context("loading the kernel object")
}

/// The same table for CPU numbers below `cpus`, whatever this host has.
pub fn kernel_table_for(cpus: u32, capacity: u32) -> Result<KernelTable> {
    KernelTable::with_size(embedded()?, Size::new(cpus, Some(capacity), None, None, None), Boundaries::default())
        .context("loading the kernel object")
}

/// Values of `--payload` for tests: none, the smallest, full chunks, partial chunks, and the largest.
pub const PAYLOAD_LIMITS: [Option<PayloadLimit>; 6] = [
    None,
    PayloadLimit::new(1),
    PayloadLimit::new(PayloadChunk::BYTES),
    PayloadLimit::new(PayloadChunk::BYTES + 1),
    PayloadLimit::new(200),
    PayloadLimit::new(PayloadLimit::MAX),
];

/// A program of the kernel object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// XDP for frames in several buffers.
    XdpFrags,
    /// XDP for frames in one buffer.
    Xdp,
    /// tc ingress.
    Ingress,
    /// tc egress.
    Egress,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::XdpFrags, Self::Xdp, Self::Ingress, Self::Egress];

    /// The name in the object of the program that looks into tunnels.
    pub const fn inner_name(self) -> &'static str {
        match self {
            Self::XdpFrags => "flowml_xdp_frags_inner",
            Self::Xdp => "flowml_xdp_inner",
            Self::Ingress => "flowml_ingress_inner",
            Self::Egress => "flowml_egress_inner",
        }
    }

    /// The name in the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpFrags => "flowml_xdp_frags",
            Self::Xdp => "flowml_xdp",
            Self::Ingress => "flowml_ingress",
            Self::Egress => "flowml_egress",
        }
    }

    /// The hook that it counts for.
    pub const fn hook(self) -> Hook {
        match self {
            Self::XdpFrags | Self::Xdp => Hook::Xdp,
            Self::Ingress => Hook::Ingress,
            Self::Egress => Hook::Egress,
        }
    }

    /// The return value by which it lets the packet pass.
    const fn pass(self) -> u32 {
        match self {
            Self::XdpFrags | Self::Xdp => XDP_PASS,
            Self::Ingress | Self::Egress => TC_ACT_UNSPEC,
        }
    }

    /// Loads the program: the one that looks into tunnels if the table does.
    pub fn load(self, table: &mut KernelTable) -> Result<Runner> {
        let name = if table.size().tunnels.is_some() { self.inner_name() } else { self.name() };
        let program = table.ebpf().program_mut(name);
        let program = program.with_context(|| format!("the kernel object has no program {name}"))?;
        let loaded = match program {
            Loaded::Xdp(xdp) => xdp.load(),
            Loaded::SchedClassifier(classifier) => classifier.load(),
            _ => bail!("{} is neither XDP nor a classifier", self.name()),
        };
        match loaded {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
            Err(error) => return Err(error).with_context(|| format!("loading {}", self.name())),
        }
        let fd = program.fd()?.as_fd().try_clone_to_owned().context("duplicating a program's descriptor")?;
        Ok(Runner { program: self, fd })
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Runner {
    program: Program,
    fd: OwnedFd,
}

impl Runner {
    /// The program that is loaded.
    pub const fn program(&self) -> Program {
        self.program
    }

    /// Runs the program once. It must let the frame pass and leave it unchanged.
    ///
    /// Returns whether it was run. The kernel does not run it without a complete Ethernet header, or if the frame is
    /// too long for the test run of a classifier. No driver gives a frame in several buffers to [`Program::Xdp`].
    pub fn run(&self, input: &Input<'_>) -> Result<bool> {
        if self.program == Program::Xdp && input.linear() < input.bytes.len() {
            return Ok(false);
        }
        let mut output = vec![0; input.bytes.len()];
        let result = match self.test_run(input, Some(&mut output), 1) {
            Ok(result) => result,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE)) => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("running {}", self.program.name())),
        };
        self.check_verdict(&result)?;
        let name = self.program.name();
        ensure!(result.data_size_out as usize == input.bytes.len(), "{name} changed the frame's length");
        ensure!(output == input.bytes, "{name} changed the frame's bytes");
        Ok(true)
    }

    /// Runs the program many times on the same frame, at the kernel's full speed.
    pub fn repeat(&self, bytes: &[u8], times: u32) -> Result<()> {
        let result = self.test_run(&Input::frame(bytes), None, times);
        self.check_verdict(&result.with_context(|| format!("running {} {times} times", self.program.name()))?)
    }

    fn check_verdict(&self, result: &TestRun) -> Result<()> {
        let (found, expected) = (result.verdict as i32, self.program.pass() as i32);
        ensure!(found == expected, "{} answered {found} instead of {expected}", self.program.name());
        Ok(())
    }

    fn test_run(&self, input: &Input<'_>, output: Option<&mut [u8]>, repeat: u32) -> io::Result<TestRun> {
        let (xdp, tc) = (input.xdp_context(), input.tc_context());
        let context = match self.program {
            Program::XdpFrags | Program::Xdp => xdp.as_ref().map(bytemuck::bytes_of),
            Program::Ingress | Program::Egress => tc.as_ref().map(bytemuck::bytes_of),
        };
        let mut run = TestRun {
            program: self.fd.as_raw_fd() as u32,
            repeat,
            data_size_in: input.bytes.len() as u32,
            data_in: input.bytes.as_ptr() as u64,
            ..TestRun::zeroed()
        };
        if let Some(output) = output {
            (run.data_out, run.data_size_out) = (output.as_mut_ptr() as u64, output.len() as u32);
        }
        if let Some(context) = context {
            (run.context_in, run.context_size_in) = (context.as_ptr() as u64, context.len() as u32);
        }
        run.call()
    }
}

impl TestRun {
    /// The memory that its pointers refer to must outlive the call.
    fn call(mut self) -> io::Result<Self> {
        // SAFETY: the kernel accesses `self` within the given size, and the memory of its pointers within the lengths
        // beside them.
        let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut self, size_of::<Self>()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(self) }
    }
}

/// Runs an XDP program once on a frame with `metadata` bytes of metadata before it, and returns its verdict.
pub(crate) fn run_with_metadata(program: &OwnedFd, bytes: &[u8], metadata: usize) -> io::Result<u32> {
    let linear = bytes.len().min(LONGEST_LINEAR);
    let context = XdpContext { data: metadata as u32, data_end: linear as u32, ..XdpContext::zeroed() };
    let run = TestRun {
        program: program.as_raw_fd() as u32,
        data_size_in: bytes.len() as u32,
        data_in: bytes.as_ptr() as u64,
        repeat: 1,
        context_size_in: size_of_val(&context) as u32,
        context_in: (&raw const context) as u64,
        ..TestRun::zeroed()
    };
    run.call().map(|run| run.verdict)
}

/// The input of a program.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The frame, without check sequence.
    pub bytes: &'a [u8],
    /// Length of the linear part in bytes, if the kernel does not choose it (only XDP, Linux 6.18).
    pub linear: Option<usize>,
    /// The segments of a super-packet (only tc).
    pub segments: Option<Segments>,
}

impl<'a> Input<'a> {
    /// A frame that is one packet.
    pub const fn frame(bytes: &'a [u8]) -> Self {
        Self { bytes, linear: None, segments: None }
    }

    /// The number of bytes that an XDP program can read.
    pub fn linear(&self) -> usize {
        self.linear.unwrap_or(self.bytes.len()).min(LONGEST_LINEAR)
    }

    fn xdp_context(&self) -> Option<XdpContext> {
        self.linear.map(|linear| XdpContext { data_end: linear as u32, ..XdpContext::zeroed() })
    }

    fn tc_context(&self) -> Option<TcContext> {
        self.segments.map(|Segments { count, size }| TcContext {
            gso_segs: count,
            gso_size: size,
            ..TcContext::zeroed()
        })
    }
}

/// The part of `union bpf_attr` that `BPF_PROG_TEST_RUN` uses (`include/uapi/linux/bpf.h`).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TestRun {
    program: u32,
    verdict: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md` (`include/uapi/linux/bpf.h`).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct XdpContext {
    data: u32,
    data_end: u32,
    behind: [u32; 4],
}

/// `struct __sk_buff` (`include/uapi/linux/bpf.h`). Fields without a name here must be zero.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TcContext {
    before: [u32; 41],
    gso_segs: u32,
    sk: u64,
    gso_size: u32,
    behind: [u32; 3],
}

const _: () = assert!(size_of::<XdpContext>() == 24 && size_of::<TcContext>() == 192);
