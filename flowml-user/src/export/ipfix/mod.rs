//! Exports flow records as IPFIX (RFC 7011), with biflows by RFC 5103.
//!
//! A collector that is unreachable or too slow causes lost records, which are counted. It costs neither memory nor
//! time.

mod account;
#[cfg(test)]
mod document;
mod element;
mod message;
mod tcp;
mod template;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::sync::Arc;

use self::account::Account;
use self::message::Message;
use self::tcp::Tcp;
use self::template::Template;
use self::udp::Udp;
use super::pace::Pace;
use super::target::{Collector, Transport};
use crate::features::FlowRow;
use crate::learning::Verdict;

/// Exports flow records to a collector.
pub(super) struct Exporter {
    collector: Collector,
    session: Session,
    /// The counts that other threads read.
    shown: Arc<super::account::Account>,
    /// The message being filled, and a buffer for records.
    message: Message,
    record: Vec<u8>,
    /// Whether the problem was reported, and the number of records sent when that was last checked.
    is_failure_reported: bool,
    sent_then: u64,
}

enum Session {
    Udp(Box<Udp>),
    Tcp(Tcp),
}

impl Exporter {
    /// Resolves the collector's name. A collector that does not listen is no error. `tunnels` states whether the run looks
    /// into tunnels.
    pub(super) fn open(
        collector: &Collector,
        tunnels: bool,
        pace: Pace,
        shown: &Arc<super::account::Account>,
    ) -> io::Result<Self> {
        let session = match collector.transport {
            Transport::Udp => Session::Udp(Box::new(Udp::open(collector, tunnels, pace)?)),
            Transport::Tcp => Session::Tcp(Tcp::open(collector, tunnels, pace, Arc::clone(shown))?),
        };
        let (collector, shown, message, record) = (collector.clone(), Arc::clone(shown), Message::new(), Vec::new());
        Ok(Self { collector, session, shown, message, record, is_failure_reported: false, sent_then: 0 })
    }

    /// Exports a flow.
    pub(super) fn flow(&mut self, row: &FlowRow, verdict: Option<&Verdict>) {
        let template = Template::of(&row.record, verdict);
        self.record.clear();
        template.write_record(&row.record, verdict, &mut self.record);
        if !self.message.has_room(self.record.len(), self.longest()) {
            self.send();
        }
        self.message.push(template, &self.record);
    }

    const fn longest(&self) -> usize {
        match self.session {
            Session::Udp(_) => udp::LONGEST,
            Session::Tcp(_) => tcp::LONGEST,
        }
    }

    fn send(&mut self) {
        let message = std::mem::replace(&mut self.message, Message::new());
        match &mut self.session {
            Session::Udp(udp) => udp.send(message),
            Session::Tcp(tcp) => tcp.send(message),
        }
        self.show();
    }

    fn show(&self) {
        let Account { sent, lost } = self.account();
        self.shown.set(sent, lost);
    }

    /// Sends the message in progress.
    pub(super) fn flush(&mut self) {
        if self.message.records() > 0 {
            self.send();
        }
        if let Session::Udp(udp) = &mut self.session {
            udp.settle();
        }
        self.show();
    }

    /// Ends the export. Records that are still queued after a time limit are lost.
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Session::Tcp(tcp) = &self.session {
            tcp.finish();
        }
        self.show();
    }

    /// The records sent and lost, without those that are queued.
    pub(super) fn account(&self) -> Account {
        match &self.session {
            Session::Udp(udp) => udp.account(),
            Session::Tcp(tcp) => tcp.account(),
        }
    }

    /// A message about the collector's state, if the state has changed since the last message.
    pub(super) fn notices(&mut self) -> Option<String> {
        let trouble = match &mut self.session {
            Session::Udp(udp) => udp.take_trouble(),
            Session::Tcp(tcp) => tcp.take_trouble(),
        };
        let (Account { sent, lost }, collector) = (self.account(), &self.collector);
        let sent_then = std::mem::replace(&mut self.sent_then, sent);
        match trouble {
            Some(trouble) if !self.is_failure_reported => {
                self.is_failure_reported = true;
                Some(format!(
                    "{collector} takes no records: {trouble}; lost records are counted, and metering continues"
                ))
            }
            None if self.is_failure_reported && sent > sent_then => {
                self.is_failure_reported = false;
                Some(format!("{collector} takes records again; {lost} records were lost so far"))
            }
            _ => None,
        }
    }
}
