//! The interfaces that a live run meters, including those that appear and disappear.

use std::collections::BTreeMap;

use anyhow::Result;

use super::options::{Direction, Options};
use crate::capture::CaptureError;
use crate::capture::attach::{Attachment, Mode, Wanted, attach};
use crate::capture::held::attached_links;
use crate::capture::interface::{Interface, Interfaces};
use crate::capture::pins::Pins;
use crate::capture::programs::Programs;
use crate::capture::selection::Selection;
use crate::capture::takeover::{keep_further, take_over};
use crate::capture::watch::{Change, Watch};
use crate::export::InterfaceReport;
use crate::process::capabilities::CapabilitySet;

/// The requested mode and direction.
#[derive(Clone, Copy)]
pub(super) struct How {
    wanted: Wanted,
    direction: Direction,
}

impl How {
    pub(super) const fn of(options: &Options) -> Self {
        Self { wanted: options.xdp_mode, direction: options.direction }
    }

    /// Whether outgoing packets are counted.
    fn egress(self) -> bool {
        self.direction == Direction::Both
    }

    /// Loads the programs that may be attached now or later.
    pub(super) fn load(self, programs: &mut Programs) {
        self.wanted.load(programs, self.egress());
    }

    /// The capabilities that are needed to attach later.
    pub(super) fn needs(self) -> CapabilitySet {
        self.wanted.needs(self.egress())
    }

    /// Whether outgoing packets of this interface are counted. On loopback they are also incoming and would count
    /// twice.
    fn egress_of(self, interface: &Interface) -> bool {
        self.egress() && !interface.is_loopback()
    }

    fn attach(self, programs: &mut Programs, interface: Interface) -> Result<Attachment, CaptureError> {
        let egress = self.egress_of(&interface);
        attach(programs, interface, self.wanted, egress)
    }

    /// Meters an interface at the start. A pinned attachment of it is continued.
    fn begin(
        self,
        programs: &mut Programs,
        interface: Interface,
        pins: Option<&Pins>,
    ) -> Result<Attachment, CaptureError> {
        let egress = self.egress_of(&interface);
        let taken_over = pins.map(|pins| take_over(programs, &interface, self.wanted, egress, pins)).transpose()?;
        match taken_over.flatten() {
            Some(attachment) => Ok(attachment),
            None => self.attach(programs, interface),
        }
    }

    /// The messages about an attachment at the start.
    fn describe(self, attachment: &Attachment) -> Vec<String> {
        let interface = &attachment.interface;
        let mut lines = vec![format!("metering {} by {}", interface.name, by(attachment))];
        lines.extend(attachment.refused.iter().map(|reason| format!("a better mode is not available: {reason}")));
        if self.egress() && !attachment.egress {
            lines.push(format!(
                "{} is a loopback interface: each packet that leaves it also enters it, so only ingress is counted",
                interface.name
            ));
        }
        if !interface.up {
            lines.push(format!("{} is down: it will be metered when it is up", interface.name));
        }
        lines
    }
}

/// A message for the user.
pub(super) enum InterfaceEvent {
    Notice(String),
    Warning(String),
}

/// The selected interfaces, and those that exist at the start.
pub(super) struct Selected {
    /// Opened before the interfaces were listed, so that no change is missed.
    watch: Watch,
    there: Interfaces,
    selection: Selection,
    /// The interfaces at the start.
    first: Vec<Interface>,
}

/// The attachments at the start.
pub(super) struct Beginning {
    pub(super) attached: Vec<Attachment>,
    pub(super) events: Vec<InterfaceEvent>,
}

impl Selected {
    /// Selects the interfaces that the options name, or else that of the default route.
    ///
    /// # Errors
    /// If an interface that was given by name does not exist.
    pub(super) async fn of(options: &Options) -> Result<Self, CaptureError> {
        let watch = Watch::open()?;
        let there = Interfaces::read().await?;
        let selection = if options.interfaces.is_empty() {
            Selection::of(&there.of_default_route().await?)
        } else {
            Selection::new(options.interfaces.clone(), options.exclude.clone())
        };
        let first = selection.among(&there)?;
        Ok(Self { watch, there, selection, first })
    }

    /// Meters the existing interfaces. If one that was selected by a pattern cannot be metered, the run continues.
    ///
    /// # Errors
    /// If an interface that was given by name cannot be metered.
    pub(super) fn begin(
        &self,
        programs: &mut Programs,
        how: How,
        pins: Option<&Pins>,
    ) -> Result<Beginning, CaptureError> {
        let (mut attached, mut events) = (Vec::new(), Vec::new());
        for interface in &self.first {
            match how.begin(programs, interface.clone(), pins) {
                Ok(attachment) => attached.push(attachment),
                Err(error) if self.selection.names_it(interface) => return Err(error),
                Err(error) => events.push(InterfaceEvent::Warning(not_metered(interface, &error))),
            }
        }
        let lines = attached.iter().flat_map(|attachment| how.describe(attachment));
        events.extend(lines.map(InterfaceEvent::Notice));
        if attached.is_empty() {
            events.push(InterfaceEvent::Notice(format!("no interface exists yet: waiting for {}", self.selection)));
        }
        Ok(Beginning { attached, events })
    }

    /// Continues with the attachments of the start, and with the programs for interfaces that appear.
    pub(super) fn go_on(self, how: How, programs: Programs, pins: Option<Pins>, attached: Vec<Attachment>) -> Metered {
        let Self { watch, there, selection, .. } = self;
        Metered { watch: Some(watch), there, selection, how, programs, pins, attached, refused: BTreeMap::new() }
    }
}

/// The interfaces that are metered during a run.
pub(super) struct Metered {
    /// None if the kernel reports no more changes.
    watch: Option<Watch>,
    /// Queries the current state of interfaces.
    there: Interfaces,
    selection: Selection,
    how: How,
    programs: Programs,
    pins: Option<Pins>,
    attached: Vec<Attachment>,
    /// The reported reasons for interfaces that cannot be metered, by index.
    refused: BTreeMap<u32, String>,
}

impl Metered {
    /// The metered interfaces.
    pub(super) fn reports(&self) -> Vec<InterfaceReport> {
        reports(&self.attached)
    }

    /// Waits for changes. It is cancel-safe. If the kernel reports no more changes, it waits forever.
    pub(super) async fn changed(&mut self) -> Result<Vec<Change>, CaptureError> {
        match &mut self.watch {
            Some(watch) => watch.next().await,
            None => std::future::pending().await,
        }
    }

    /// Applies changes: detaches from interfaces that were removed or are no longer selected, and meters new ones.
    /// Returns messages for the user.
    pub(super) async fn follow(&mut self, changes: Result<Vec<Change>, CaptureError>) -> Vec<InterfaceEvent> {
        let mut events = Vec::new();
        let was_metering = !self.attached.is_empty();
        if let Err(error) = self.follow_all(changes, &mut events).await {
            self.watch = None;
            events.push(InterfaceEvent::Warning(format!(
                "changes of interfaces are no longer followed; restart to meter new interfaces: {error}"
            )));
        }
        if was_metering && self.attached.is_empty() {
            events
                .push(InterfaceEvent::Warning(format!("no metered interface is left: waiting for {}", self.selection)));
        }
        events
    }

    /// Attaches again if another program has detached one of the agent's. Returns messages for the user.
    pub(super) async fn look_after(&mut self) -> Vec<InterfaceEvent> {
        let mut events = Vec::new();
        // Without /proc this cannot be checked.
        let Ok(links) = attached_links() else { return events };
        let lost: Vec<u32> = self
            .attached
            .iter()
            .filter(|attachment| !attachment.is_among(&links))
            .map(|attachment| attachment.interface.index)
            .collect();
        for index in lost {
            // A removed or renamed interface is handled by its change event.
            let there = self.there.look(index).await.ok().flatten();
            if !there.is_some_and(|interface| self.selection.includes(&interface)) {
                continue;
            }
            self.attached.extract_if(.., |attachment| attachment.interface.index == index).for_each(Attachment::end);
            // Its state without the agent's program.
            let Ok(Some(interface)) = self.there.look(index).await else { continue };
            let detached = format!("another program detached flowml from {}", interface.name);
            let name = interface.name.clone();
            if let Err(error) = self.join(interface, &detached, &mut events).await {
                events.push(InterfaceEvent::Warning(format!("{name} is not metered: {error}")));
            }
        }
        events
    }

    async fn follow_all(
        &mut self,
        changes: Result<Vec<Change>, CaptureError>,
        events: &mut Vec<InterfaceEvent>,
    ) -> Result<(), CaptureError> {
        for change in changes? {
            match change {
                Change::Gone(index) => self.leave(index, "was removed", events),
                // A change has the state at its time; the current state counts.
                Change::There(index) => match self.there.look(index).await? {
                    Some(interface) => self.see(interface, events).await?,
                    None => self.leave(index, "was removed", events),
                },
                Change::Unknown => self.compare(events).await?,
            }
        }
        Ok(())
    }

    /// Compares the metered interfaces with the existing ones.
    async fn compare(&mut self, events: &mut Vec<InterfaceEvent>) -> Result<(), CaptureError> {
        self.there = Interfaces::read().await?;
        let is_there = |index: u32| self.there.all().iter().any(|interface| interface.index == index);
        let metered = self.attached.iter().map(|attachment| attachment.interface.index);
        let gone: Vec<u32> = metered.chain(self.refused.keys().copied()).filter(|index| !is_there(*index)).collect();
        gone.into_iter().for_each(|index| self.leave(index, "was removed", events));
        for interface in self.there.all().to_vec() {
            self.see(interface, events).await?;
        }
        Ok(())
    }

    /// Applies the current state of an interface.
    async fn see(&mut self, interface: Interface, events: &mut Vec<InterfaceEvent>) -> Result<(), CaptureError> {
        let selected = self.selection.includes(&interface);
        let metered = self.attached.iter_mut().find(|attachment| attachment.interface.index == interface.index);
        match metered {
            Some(attachment) if selected => attachment.interface = interface,
            Some(_) => {
                self.leave(
                    interface.index,
                    &format!("was renamed to {}, which is not selected", interface.name),
                    events,
                );
            }
            None if selected => {
                let come = format!("{} appeared (index {})", interface.name, interface.index);
                self.join(interface, &come, events).await?;
            }
            None => {}
        }
        Ok(())
    }

    fn leave(&mut self, index: u32, why: &str, events: &mut Vec<InterfaceEvent>) {
        self.refused.remove(&index);
        for attachment in self.attached.extract_if(.., |attachment| attachment.interface.index == index) {
            events.push(InterfaceEvent::Warning(format!(
                "{} {why}; its packets until then are counted",
                attachment.interface.name
            )));
            attachment.end();
        }
    }

    /// Meters an interface; `why` begins the message.
    async fn join(
        &mut self,
        interface: Interface,
        why: &str,
        events: &mut Vec<InterfaceEvent>,
    ) -> Result<(), CaptureError> {
        let attached = self.how.attach(&mut self.programs, interface.clone());
        let attached = attached.and_then(|attachment| match &self.pins {
            Some(pins) => keep_further(pins, attachment),
            None => Ok(attachment),
        });
        match attached {
            Ok(attachment) => {
                self.refused.remove(&interface.index);
                let reasons: String = attachment
                    .refused
                    .iter()
                    .map(|reason| format!("; a better mode is not available: {reason}"))
                    .collect();
                events.push(InterfaceEvent::Notice(format!("{why}: metering it by {}{reasons}", by(&attachment))));
                self.attached.push(attachment);
            }
            // The interface may have been removed since.
            Err(_) if self.there.look(interface.index).await?.is_none() => {}
            Err(error) => {
                let message = not_metered(&interface, &error);
                if self.refused.get(&interface.index) != Some(&message) {
                    events.push(InterfaceEvent::Warning(message.clone()));
                    self.refused.insert(interface.index, message);
                }
            }
        }
        Ok(())
    }

    /// Detaches from all interfaces except pinned ones. Returns the pin folder.
    pub(super) fn end(self) -> Option<Pins> {
        drop(self.attached);
        self.pins
    }
}

fn not_metered(interface: &Interface, error: &CaptureError) -> String {
    format!("{} is not metered: {error}", interface.name)
}

fn by(attachment: &Attachment) -> String {
    let how = match attachment.mode {
        Mode::Native => "native XDP",
        Mode::Generic => "generic XDP",
        Mode::Tc => "tc ingress",
    };
    format!("{how}{}", if attachment.egress { " and tc egress" } else { "" })
}

/// The metered interfaces, for outputs.
pub(super) fn reports(attached: &[Attachment]) -> Vec<InterfaceReport> {
    let report = |attachment: &Attachment| InterfaceReport {
        name: attachment.interface.name.clone(),
        capture_mode: attachment.mode.name(),
    };
    attached.iter().map(report).collect()
}
