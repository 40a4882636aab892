//! Sends each event to a webhook, as one HTTP request.

use std::io;
use std::time::Duration;

use super::super::target::{Format, Url};
use super::body::body;
use super::event::Event;
use super::http::Client;
use super::receive::{Failure, Receive};

/// A webhook.
pub(super) struct Webhook {
    client: Client,
    format: Format,
}

impl Webhook {
    pub(super) fn open(url: &Url, format: Format) -> io::Result<Self> {
        Ok(Self { client: Client::open(url, "")?, format })
    }
}

impl Receive for Webhook {
    fn deliver(&mut self, event: &Event<'_>, limit: Duration) -> Result<(), Failure> {
        self.client.post(&body(self.format, event), limit)
    }
}
