//! Sends each event to a webhook, as one HTTP request.

use std::io;
use std::time::Duration;

use super::super::remote::{Client, Connections, Failure};
use super::super::target::{Format, Url};
use super::body::body;
use super::event::Event;
use super::receive::Receive;

/// A webhook.
pub(super) struct Webhook {
    client: Client,
    format: Format,
}

impl Webhook {
    pub(super) fn open(url: &Url, format: Format) -> io::Result<Self> {
        Ok(Self { client: Client::open(url, "", Connections::Separate)?, format })
    }
}

impl Receive for Webhook {
    fn deliver(&mut self, event: &Event<'_>, limit: Duration) -> Result<(), Failure> {
        self.client.post(&body(self.format, event), limit)
    }
}
