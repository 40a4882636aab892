//! Attaching the programs to an interface, in the mode that was asked for or the best that it takes.

use std::fmt;

use aya::programs::tc::{self, TcAttachType};
use aya::programs::xdp::XdpMode;
use aya::programs::{ProgramError, SchedClassifier};

use super::interface::Interface;
use super::kernel::KernelTable;
use super::{CaptureError, chain};

/// Where ingress is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP in the network stack, behind the driver.
    Generic,
    /// tc ingress.
    Tc,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        })
    }
}

/// Which modes may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Native, else tc, else generic.
    Auto,
    /// This one.
    Only(Mode),
}

/// An interface that is being metered. The programs stay attached until the [`KernelTable`] is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Which interface.
    pub interface: Interface,
    /// How its ingress is counted.
    pub mode: Mode,
    /// Whether its egress is counted as well.
    pub egress: bool,
    /// Why a mode that would have been better was not taken, one line each.
    pub refused: Vec<String>,
}

/// Attaches ingress, and egress where `egress` says so.
///
/// # Errors
/// Where no mode that was wanted works; nothing stays attached to this interface then but what the table's drop undoes.
pub fn attach(
    table: &mut KernelTable,
    interface: Interface,
    wanted: Wanted,
    egress: bool,
) -> Result<Attachment, CaptureError> {
    let modes: &[Mode] = match wanted {
        Wanted::Auto => &[Mode::Native, Mode::Tc, Mode::Generic],
        Wanted::Only(Mode::Native) => &[Mode::Native],
        Wanted::Only(Mode::Generic) => &[Mode::Generic],
        Wanted::Only(Mode::Tc) => &[Mode::Tc],
    };
    let mut refused = Vec::new();
    let mut last_error = None;
    for &mode in modes {
        match attach_ingress(table, &interface, mode) {
            Ok(()) => {
                if egress {
                    attach_tc(table, &interface, TcAttachType::Egress)?;
                }
                return Ok(Attachment { interface, mode, egress, refused });
            }
            Err(error @ (CaptureError::Attach { .. } | CaptureError::XdpTaken { .. })) => {
                refused.push(error.to_string());
                last_error = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last_error.unwrap_or(CaptureError::NoObject))
}

fn attach_ingress(table: &mut KernelTable, interface: &Interface, mode: Mode) -> Result<(), CaptureError> {
    let xdp_mode = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
        Mode::Tc => return attach_tc(table, interface, TcAttachType::Ingress),
    };
    if let Some(program) = interface.xdp_program() {
        return Err(CaptureError::XdpTaken { interface: interface.name.clone(), program });
    }
    let attached = table.xdp()?.attach_to_if_index(interface.index, xdp_mode);
    attached.map_err(|error| refusal(interface, &mode.to_string(), &error))?;
    Ok(())
}

fn attach_tc(table: &mut KernelTable, interface: &Interface, side: TcAttachType) -> Result<(), CaptureError> {
    let (program, mode) = match side {
        TcAttachType::Ingress => ("flowml_ingress", "tc"),
        _ => ("flowml_egress", "tc egress"),
    };
    let refuse = |error: &(dyn std::error::Error + 'static)| refusal(interface, mode, error);
    let classifier: &mut SchedClassifier = table.tc(program)?;
    let Err(error) = classifier.attach(&interface.name, side) else { return Ok(()) };
    // Before Linux 6.6 there is no TCX, and a classifier needs the clsact qdisc.
    if !matches!(error, ProgramError::TcError(_)) {
        return Err(refuse(&error));
    }
    match tc::qdisc_add_clsact(&interface.name) {
        Ok(()) | Err(tc::TcError::AlreadyAttached) => {}
        Err(error) => return Err(refuse(&error)),
    }
    classifier.attach(&interface.name, side).map_err(|error| refuse(&error))?;
    Ok(())
}

fn refusal(interface: &Interface, mode: &str, error: &(dyn std::error::Error + 'static)) -> CaptureError {
    CaptureError::Attach { interface: interface.name.clone(), mode: mode.to_owned(), reason: chain(error) }
}
