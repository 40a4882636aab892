//! Reads which kernel programs are attached to an interface.

use std::io;

use anyhow::{Context, Result, bail};

use crate::lab::Interface;

/// The hooks of an interface that see every packet, and whether a program is attached there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hooks {
    /// XDP, native or generic.
    pub xdp: bool,
    /// Ingress side of tc: TCX, or a filter of classic tc.
    pub tc_ingress: bool,
    /// Egress side of tc: TCX, or a filter of classic tc.
    pub tc_egress: bool,
}

impl Hooks {
    /// Reads what is attached now.
    pub fn of(interface: &Interface) -> Result<Self> {
        Ok(Self {
            xdp: !interface.host.show_link(&interface.name)?["xdp"].is_null(),
            tc_ingress: has_tcx(interface, BPF_TCX_INGRESS)? || has_filter(interface, "ingress")?,
            tc_egress: has_tcx(interface, BPF_TCX_EGRESS)? || has_filter(interface, "egress")?,
        })
    }

    /// Whether a program is attached that sees incoming packets.
    pub fn sees_ingress(self) -> bool {
        self.xdp || self.tc_ingress
    }
}

// include/uapi/linux/bpf.h: `enum bpf_cmd`, `enum bpf_attach_type`.
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// The part of `union bpf_attr` that BPF_PROG_QUERY uses, padded with zeros for fields that later kernels may write.
#[repr(C)]
#[derive(Default)]
struct Query {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    reserved: u32,
    rest: [u64; 12],
}

fn has_tcx(interface: &Interface, attach_type: u32) -> Result<bool> {
    let index = interface.index()?;
    let queried = interface.host.enter(|| {
        let mut query = Query { interface: index, attach_type, ..Query::default() };
        // SAFETY: the kernel reads and writes `query` within the size given, and no memory beyond, since `program_ids`
        // is null.
        let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(query.count) }
    })?;
    match queried {
        Ok(count) => Ok(count > 0),
        // ENOENT: no program was ever attached. EINVAL: a kernel before 6.6, without TCX.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("asking for the TCX programs of {}", interface.name)),
    }
}

fn has_filter(interface: &Interface, side: &str) -> Result<bool> {
    let listed = interface.host.run(["tc", "filter", "show", "dev", &interface.name, side])?;
    match listed.status.success() {
        true => Ok(!listed.stdout.is_empty()),
        // There is no clsact queueing discipline, so there is no filter.
        false if String::from_utf8_lossy(&listed.stderr).contains("Parent Qdisc doesn't exists") => Ok(false),
        false => {
            bail!("tc could not list the filters of {}: {}", interface.name, String::from_utf8_lossy(&listed.stderr))
        }
    }
}
