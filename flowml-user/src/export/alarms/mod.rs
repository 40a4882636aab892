//! Sends the events of incidents to receivers of alarms: webhooks, Alertmanager, syslog.
//!
//! A receiver that is away or slow delays nothing: events wait in memory, in their order and up to a limit, and are
//! delivered when the receiver is back.

mod alertmanager;
mod attack;
mod body;
mod courier;
mod ecs;
mod event;
mod field;
mod level;
mod ocsf;
mod receive;
mod syslog;
mod syslog_message;
#[cfg(test)]
mod tests;
mod webhook;

use std::io;
use std::sync::Arc;

use self::alertmanager::Alertmanager;
use self::courier::{Courier, Status, WAITING};
use self::syslog::Syslog;
use self::webhook::Webhook;
use super::account::Account;
use super::batch::Batch;
use super::origin::Origin;
use super::pace::Pace;
use super::remote::resolve;
use super::target::Receiver;

/// Sends events to a receiver.
pub(super) struct Alarms {
    /// The receiver as messages name it.
    name: String,
    courier: Courier,
    /// Whether it was reported that the receiver is away, that it refuses events, and that events are lost.
    reported: Reported,
    /// The number of accepted deliveries and repetitions when that was last checked.
    accepted_then: u64,
}

#[derive(Default)]
struct Reported {
    away: bool,
    refusal: bool,
    overflow: bool,
}

impl Alarms {
    /// Resolves the receiver's name. A receiver that does not listen is no error.
    pub(super) fn open(receiver: &Receiver, sender: Origin, pace: Pace, shown: &Arc<Account>) -> io::Result<Self> {
        let away = resolve(receiver.place(), pace)?;
        let courier = match receiver {
            Receiver::Webhook(url, format) => Courier::begin(Webhook::open(url, *format)?, sender, pace, shown, away)?,
            Receiver::Alertmanager(url) => Courier::begin(Alertmanager::open(url)?, sender, pace, shown, away)?,
            Receiver::Syslog(server, format) => {
                Courier::begin(Syslog::new(server, *format), sender, pace, shown, away)?
            }
        };
        Ok(Self { name: receiver.to_string(), courier, reported: Reported::default(), accepted_then: 0 })
    }

    /// Sends the events of a batch.
    pub(super) fn take(&self, batch: &Batch) {
        if let Batch::Incidents(events) = batch {
            events.iter().for_each(|event| self.courier.take(event.clone()));
        }
    }

    /// Ends the output. Events that still wait after a time limit are lost.
    pub(super) fn finish(&self) {
        self.courier.finish();
    }

    /// Messages about the receiver's state, if it has changed since the last call.
    pub(super) fn notices(&mut self) -> Vec<String> {
        let (name, status) = (&self.name, self.courier.status());
        let notices = notices(name, &status, &mut self.reported, self.accepted_then);
        self.accepted_then = status.accepted;
        notices
    }
}

/// What users must know about a receiver, once for each change.
fn notices(name: &str, status: &Status, reported: &mut Reported, accepted_then: u64) -> Vec<String> {
    let Status { away, refused, overflowed, accepted, lost } = status;
    let mut notices = Vec::new();
    let is_first = |is_reported: &mut bool| !std::mem::replace(is_reported, true);
    if let Some(why) = away
        && is_first(&mut reported.away)
    {
        notices.push(format!(
            "{name} takes no incidents: {why}; up to {WAITING} events wait and are sent again, and metering continues"
        ));
    }
    if let Some(why) = refused
        && is_first(&mut reported.refusal)
    {
        notices.push(format!("{name} has refused an incident: {why}; refused events are lost and counted"));
    }
    if *overflowed && is_first(&mut reported.overflow) {
        notices
            .push(format!("{name} is away for too long: {WAITING} events wait, and further ones are lost and counted"));
    }
    if away.is_none() && *accepted > accepted_then {
        if reported.away || reported.refusal {
            notices.push(format!("{name} takes incidents again; {lost} events were lost so far"));
        }
        *reported = Reported::default();
    }
    notices
}
