//! IPFIX (RFC 7011): flow records for a collector, two-way flows as RFC 5103 has them.
//!
//! A collector that is away, or too slow, costs records, which are counted, and neither memory nor time.

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

use self::message::Message;
use self::tcp::Tcp;
use self::template::Template;
use self::udp::Udp;
use super::Pace;
use super::target::{Collector, Transport};
use crate::features::FlowRow;
use crate::model::Verdict;

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Handed to the system, which has not said that they did not arrive.
    pub(super) sent: u64,
    /// Not sent, or refused.
    pub(super) lost: u64,
}

/// Exports flow records to a collector.
pub(super) struct Exporter {
    collector: Collector,
    session: Session,
    /// Where others read the account of it.
    shown: Arc<super::account::Account>,
    /// The message that is being filled, and a place to write records.
    message: Message,
    record: Vec<u8>,
    /// Whether people were told that the collector does not take records, and how many it had when that was last asked.
    told: bool,
    sent_then: u64,
}

enum Session {
    Udp(Box<Udp>),
    Tcp(Tcp),
}

impl Exporter {
    /// Looks the collector up. That it does not listen is no error.
    pub(super) fn open(collector: &Collector, pace: Pace, shown: &Arc<super::account::Account>) -> io::Result<Self> {
        let session = match collector.transport {
            Transport::Udp => Session::Udp(Box::new(Udp::open(collector, pace)?)),
            Transport::Tcp => Session::Tcp(Tcp::open(collector, pace, Arc::clone(shown))?),
        };
        let (collector, shown, message, record) = (collector.clone(), Arc::clone(shown), Message::new(), Vec::new());
        Ok(Self { collector, session, shown, message, record, told: false, sent_then: 0 })
    }

    /// Takes a flow.
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

    /// Sends what there is.
    pub(super) fn flush(&mut self) {
        if self.message.records() > 0 {
            self.send();
        }
        if let Session::Udp(udp) = &mut self.session {
            udp.settle();
        }
        self.show();
    }

    /// Ends the export: what was not sent a little later is lost.
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Session::Tcp(tcp) = &self.session {
            tcp.finish();
        }
        self.show();
    }

    /// What became of the records that it took, but for those that wait.
    pub(super) fn account(&self) -> Account {
        match &self.session {
            Session::Udp(udp) => udp.account(),
            Session::Tcp(tcp) => tcp.account(),
        }
    }

    /// What people should know that they do not know yet.
    pub(super) fn news(&mut self) -> Option<String> {
        let trouble = match &mut self.session {
            Session::Udp(udp) => udp.take_trouble(),
            Session::Tcp(tcp) => tcp.take_trouble(),
        };
        let (Account { sent, lost }, collector) = (self.account(), &self.collector);
        let sent_then = std::mem::replace(&mut self.sent_then, sent);
        match trouble {
            Some(trouble) if !self.told => {
                self.told = true;
                Some(format!("{collector} takes no records: {trouble}; what is lost is counted, metering goes on"))
            }
            None if self.told && sent > sent_then => {
                self.told = false;
                Some(format!("{collector} takes records again; so far {lost} were lost"))
            }
            _ => None,
        }
    }
}
