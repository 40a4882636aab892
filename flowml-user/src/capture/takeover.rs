//! Attachments that outlive the agent: continued from the previous agent, and pinned for the next.

use std::mem::take;

use aya::programs::SchedClassifier;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachType};
use aya::programs::xdp::XdpLink;

use super::attach::{Attachment, Link, Links, Mode, TcHook, Wanted, refusal};
use super::error::{CaptureError, chain, os_error};
use super::interface::Interface;
use super::kernel::KernelTable;
use super::pin_error::PinError;
use super::pins::{LinkPin, Pins};
use super::programs::{self, Programs};

/// The hook of sent packets.
const EGRESS: &str = "egress";

/// Replaces the programs that are pinned at the interface by those of this agent. Every packet during the replacement
/// is counted. `None` if no ingress program is pinned; links that were left are removed.
///
/// # Errors
/// If another mode is requested, or if the kernel refuses.
pub(crate) fn take_over(
    programs: &mut Programs,
    interface: &Interface,
    wanted: Wanted,
    egress: bool,
    pins: &Pins,
) -> Result<Option<Attachment>, CaptureError> {
    let pinned: Vec<LinkPin> = pins.links()?.into_iter().filter(|link| link.index == interface.index).collect();
    let forget = || -> Result<Option<Attachment>, CaptureError> {
        pinned.iter().try_for_each(|link| pins.remove_link(link))?;
        Ok(None)
    };
    let mode_of = |link: &LinkPin| Mode::ALL.into_iter().find(|mode| mode.name() == link.hook);
    let Some((ingress, mode)) = pinned.iter().find_map(|link| Some((link, mode_of(link)?))) else {
        return forget();
    };
    if let Wanted::Only(other) = wanted
        && other != mode
    {
        let (folder, kept) = (pins.folder().to_owned(), format!("{} metered by --xdp-mode {mode}", interface.name));
        return Err(PinError::Contradiction { folder, kept }.into());
    }
    let mut links = Links::default();
    match replace(programs, pins, ingress) {
        Ok(link) => links.programs.push(link),
        // The interface of the link was removed, and another one has its number now.
        Err(error) if os_error(&*error) == Some(libc::ENOLINK) => return forget(),
        Err(error) => return Err(refusal(interface, mode.name(), &*error)),
    }
    if egress {
        match pinned.iter().find(|link| link.hook == EGRESS) {
            Some(link) => {
                links
                    .programs
                    .push(replace(programs, pins, link).map_err(|error| refusal(interface, EGRESS, &*error))?);
            }
            None => links.attach_tc(programs, interface, TcAttachType::Egress, TcHook::of_kernel())?,
        }
    }
    Ok(Some(Attachment { interface: interface.clone(), mode, egress, refused: Vec::new(), links }))
}

type Refused = Box<dyn std::error::Error + Send + Sync>;

/// Replaces the program of the link by that of this agent.
fn replace(programs: &mut Programs, pins: &Pins, pin: &LinkPin) -> Result<Link, Refused> {
    let path = pins.link_path(pin);
    let link = FdLink::from(PinnedLink::from_pin(&path)?);
    match pin.hook.as_str() {
        "native" | "generic" => {
            let program = programs.xdp()?;
            let id = program.attach_to_link(XdpLink::try_from(link)?)?;
            program.take_link(id)?;
        }
        hook => {
            let program = if hook == EGRESS { programs::EGRESS } else { programs::INGRESS };
            let program: &mut SchedClassifier = programs.tc(program)?;
            let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
            program.take_link(id)?;
        }
    }
    // Another descriptor of the same link, which is pinned.
    Ok(Link::Pinned(PinnedLink::from_pin(&path)?))
}

/// Pins the table and all attachments, and removes the links of interfaces that are no longer metered.
///
/// # Errors
/// If something cannot be pinned. If the table was not pinned before, nothing stays pinned.
pub fn keep(pins: Pins, table: &KernelTable, attached: &mut [Attachment]) -> Result<Pins, CaptureError> {
    let is_new = !pins.is_whole();
    match keep_all(&pins, table, attached, is_new) {
        Ok(()) => Ok(pins),
        Err(error) => {
            if is_new {
                // This error is more important than one of the removal.
                let _ = pins.remove();
            }
            Err(error)
        }
    }
}

fn keep_all(pins: &Pins, table: &KernelTable, attached: &mut [Attachment], is_new: bool) -> Result<(), CaptureError> {
    if let Some(other) = attached.iter().find(|attachment| !attachment.needs().is_empty()) {
        return Err(PinError::NoLink { interface: other.interface.name.clone() }.into());
    }
    if is_new {
        table.pin(pins)?;
    }
    let mut kept = Vec::new();
    for attachment in attached {
        kept.extend(pin(pins, attachment)?);
    }
    for link in pins.links()?.iter().filter(|link| !kept.contains(link)) {
        pins.remove_link(link)?;
    }
    Ok(())
}

/// Pins an attachment that was made while the agent runs.
///
/// # Errors
/// If the attachment cannot be pinned. It is then detached.
pub(crate) fn keep_further(pins: &Pins, mut attachment: Attachment) -> Result<Attachment, CaptureError> {
    match pin(pins, &mut attachment) {
        Ok(_) => Ok(attachment),
        Err(error) => {
            attachment.end();
            Err(error)
        }
    }
}

/// Pins the links of an attachment, and returns their pins.
fn pin(pins: &Pins, attachment: &mut Attachment) -> Result<Vec<LinkPin>, CaptureError> {
    if !attachment.needs().is_empty() {
        return Err(PinError::NoLink { interface: attachment.interface.name.clone() }.into());
    }
    let hooks = [attachment.mode.name(), EGRESS];
    let index = attachment.interface.index;
    let mut kept = Vec::new();
    for (link, hook) in take(&mut attachment.links.programs).into_iter().zip(hooks) {
        let pin = LinkPin { hook: hook.to_owned(), index };
        attachment.links.programs.push(pin_link(pins, &pin, link)?);
        kept.push(pin);
    }
    Ok(kept)
}

fn pin_link(pins: &Pins, pin: &LinkPin, link: Link) -> Result<Link, PinError> {
    let path = pins.link_path(pin);
    let refused = |error: &dyn std::error::Error| PinError::Object { path: path.clone(), reason: chain(error) };
    let link: Result<FdLink, LinkError> = match link {
        Link::Xdp(link) => link.try_into(),
        Link::Tc(link) => link.try_into(),
        Link::Pinned(_) => return Ok(link),
    };
    let link = link.map_err(|error| refused(&error))?;
    Ok(Link::Pinned(link.pin(&path).map_err(|error| refused(&error))?))
}
