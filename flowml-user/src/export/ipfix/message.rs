//! IPFIX messages: sets of records after a header (RFC 7011 §3), and the sequence numbers of a transport session.

use super::template::Template;
use crate::process::unix_time::now_ms;

/// Length of a message header, bytes (RFC 7011 §3.1).
const HEADER: usize = 16;

/// Length of a set header, bytes (RFC 7011 §3.3.2).
pub(super) const SET_HEADER: usize = 4;

/// The version number of IPFIX (RFC 7011 §3.1).
const VERSION: u16 = 10;

/// The set ID of template sets (RFC 7011 §3.3.2).
const TEMPLATE_SET: u16 = 2;

/// The observation domain. One agent is one domain, as several of its interfaces may have seen a flow. 0 would mean
/// that the messages belong to no domain (RFC 7011 §3.1).
const DOMAIN: u32 = 1;

/// A message under construction.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Space for the header, then complete sets.
    bytes: Vec<u8>,
    /// The last set: its ID and its offset in bytes.
    set: Option<(u16, usize)>,
    /// Number of data records.
    records: u32,
}

impl Message {
    /// An empty message.
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; HEADER], set: None, records: 0 }
    }

    /// All templates of a run, in messages of at most `limit` bytes. `tunnels` states whether it looks into tunnels.
    pub(super) fn of_templates(limit: usize, tunnels: bool) -> Vec<Self> {
        let mut messages: Vec<Self> = Vec::new();
        let mut record = Vec::new();
        for template in Template::all(tunnels) {
            record.clear();
            template.write(&mut record);
            match messages.last_mut().filter(|message| message.has_room(record.len(), limit)) {
                Some(message) => message.append(TEMPLATE_SET, &record),
                None => {
                    let mut message = Self::new();
                    message.append(TEMPLATE_SET, &record);
                    messages.push(message);
                }
            }
        }
        messages
    }

    /// Whether a record of `record` bytes fits into the message within `limit` bytes, even in a new set.
    pub(super) fn has_room(&self, record: usize, limit: usize) -> bool {
        self.bytes.len() + SET_HEADER + record <= limit
    }

    /// Appends a data record of a template.
    pub(super) fn push(&mut self, template: Template, record: &[u8]) {
        self.append(template.id(), record);
        self.records += 1;
    }

    /// Appends a record to the last set, or to a new set if the ID differs.
    fn append(&mut self, set: u16, record: &[u8]) {
        let begin = match self.set {
            Some((open, begin)) if open == set => begin,
            _ => {
                let begin = self.bytes.len();
                self.bytes.extend(set.to_be_bytes());
                self.bytes.extend([0; 2]);
                self.set = Some((set, begin));
                begin
            }
        };
        self.bytes.extend_from_slice(record);
        let length = (self.bytes.len() - begin) as u16;
        self.bytes[begin + 2..begin + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Number of data records.
    pub(super) const fn records(&self) -> u64 {
        self.records as u64
    }

    /// Length in bytes.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The sequence numbers of the messages of one transport session (RFC 7011 §3.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbering {
    /// Number of data records sent in the session, modulo 2³².
    sequence: u32,
}

impl Numbering {
    /// The message with its header, as it is sent now.
    pub(super) fn complete<'a>(&self, message: &'a mut Message) -> &'a [u8] {
        let now = now_ms() / 1000;
        let length = message.bytes.len() as u16;
        let header = &mut message.bytes[..HEADER];
        header[0..2].copy_from_slice(&VERSION.to_be_bytes());
        header[2..4].copy_from_slice(&length.to_be_bytes());
        // Seconds since 1970, unsigned: valid until 2106 (RFC 7011 §6.1.7).
        header[4..8].copy_from_slice(&(now as u32).to_be_bytes());
        header[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        header[12..16].copy_from_slice(&DOMAIN.to_be_bytes());
        &message.bytes
    }

    /// Counts the records of a message that was sent.
    pub(super) const fn sent(&mut self, message: &Message) {
        self.sequence = self.sequence.wrapping_add(message.records);
    }
}
