//! Sends rows to a subject of NATS, where a stream of JetStream stores them and acknowledges each.
//!
//! The protocol is text (docs.nats.io, "NATS Protocol" and "JetStream wire API"): `HPUB` publishes a row, and the stream
//! answers to the subject that the row names. The header `Nats-Msg-Id` lets the stream drop a row that it gets twice.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::origin::Origin;
use super::super::remote::{Failure, Tls, Wire};
use super::super::target::PeerOptions;
use super::credentials::Credentials;
use super::deliver::{Deliver, Refused};
use super::rows::Rows;

/// The longest line of the protocol, bytes. The line `INFO` names all servers of a cluster.
const LONGEST_LINE: u64 = 1 << 20;

/// The longest acknowledgement, bytes.
const LONGEST_ANSWER: usize = 64 << 10;

/// Error of JetStream: the row is longer than the stream permits.
const TOO_LONG: u64 = 10_054;

/// A subject of a NATS server.
pub(super) struct Nats {
    server: (String, u16),
    subject: String,
    tls: Option<Tls>,
    credentials: Option<Credentials>,
    /// What is before the sequence number in the identifier of a row.
    identity: String,
    session: Option<Session>,
}

/// A connection to the server.
struct Session {
    wire: BufReader<Wire>,
    /// What is before the number of a row in the subject of its acknowledgement.
    inbox: String,
    /// The longest message that the server takes, bytes.
    longest: usize,
}

/// A message of the server.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// The answer to a row: its number in the delivery, the headers, and the content.
    Answer(usize, Vec<u8>, Vec<u8>),
    Ping,
    Pong,
    /// Nothing that matters.
    Other,
}

impl Nats {
    pub(super) fn open(
        server: &(String, u16),
        subject: &str,
        options: &PeerOptions,
        credentials: Option<Credentials>,
        origin: &Origin,
    ) -> io::Result<Self> {
        let tls = options.tls.then(Tls::open).transpose()?;
        let identity = format!("{}-{}-", origin.agent, origin.generation);
        Ok(Self { server: server.clone(), subject: subject.to_owned(), tls, credentials, identity, session: None })
    }

    /// The connection, which is opened if there is none.
    fn session(&mut self, deadline: Instant) -> io::Result<&mut Session> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect_to_server(deadline)?,
        };
        session.wire.get_ref().set_deadline(deadline)?;
        Ok(self.session.insert(session))
    }

    fn connect_to_server(&self, deadline: Instant) -> io::Result<Session> {
        let (host, port) = (self.server.0.as_str(), self.server.1);
        let wire = Wire::open((host, port), deadline)?;
        wire.set_deadline(deadline)?;
        let mut wire = BufReader::new(wire);
        let line = read_line(&mut wire)?;
        let info = line.strip_prefix("INFO ").and_then(|info| serde_json::from_str::<Value>(info).ok());
        let info = info.ok_or_else(|| invalid("it is not a NATS server: its first line is no INFO"))?;
        if info["headers"] != true {
            return Err(invalid("the server has no headers, which JetStream needs (NATS 2.2 or later)"));
        }
        match &self.tls {
            Some(tls) if wire.buffer().is_empty() => {
                wire.get_mut().encrypt(tls, host).map_err(|error| tls_error(&error))?;
            }
            Some(_) => return Err(invalid("the server sends more than INFO before TLS")),
            None if info["tls_required"] == true => return Err(invalid("the server requires TLS: add tls=on")),
            None => {}
        }
        let inbox = format!("_INBOX.{:016x}.", rand::random::<u64>());
        let longest = info["max_payload"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        let mut session = Session { wire, inbox, longest };
        let greeting = format!("CONNECT {}\r\nSUB {}* 1\r\nPING\r\n", self.greeting(), session.inbox);
        session.wire.get_mut().write_all(greeting.as_bytes())?;
        while session.next()? != Message::Pong {}
        Ok(session)
    }

    /// The options of the connection. Credentials are `USER:PASSWORD` or a token.
    fn greeting(&self) -> Value {
        let mut options = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1, "lang": "rust",
            "name": "flowml", "version": env!("CARGO_PKG_VERSION"), "tls_required": self.tls.is_some(),
        });
        match self.credentials.as_ref().map(|credentials| (credentials.pair(), credentials.line())) {
            Some((Some((user, password)), _)) => {
                options["user"] = user.into();
                options["pass"] = password.into();
            }
            Some((None, token)) => options["auth_token"] = token.into(),
            None => {}
        }
        options
    }

    /// Publishes rows, and waits for all acknowledgements.
    fn publish(&mut self, rows: &Rows, deadline: Instant) -> Result<Refused, Failure> {
        self.session(deadline).map_err(|error| later(&error))?;
        let Self { subject, identity, session: Some(session), .. } = self else {
            return Err(Failure::Later("there is no connection".to_owned()));
        };
        let mut refused = Refused::none();
        let mut request = Vec::with_capacity(rows.bytes() + 256 * rows.len() as usize);
        let mut awaited = 0;
        for (number, (sequence, row)) in rows.iter().enumerate() {
            let header = format!("NATS/1.0\r\nNats-Msg-Id: {identity}{sequence}\r\n\r\n");
            let length = header.len() + row.len();
            if length > session.longest {
                refused.add(format!("it is longer than the server's max_payload of {} bytes", session.longest));
                continue;
            }
            let head = format!("HPUB {subject} {}{number} {} {length}\r\n{header}", session.inbox, header.len());
            request.extend_from_slice(head.as_bytes());
            request.extend_from_slice(row);
            request.extend_from_slice(b"\r\n");
            awaited += 1;
        }
        session.wire.get_mut().write_all(&request).map_err(|error| later(&error))?;
        let mut answered = vec![false; rows.len() as usize];
        while awaited > 0 {
            let Message::Answer(number, headers, content) = session.next().map_err(|error| later(&error))? else {
                continue;
            };
            if let Some(is_answered) = answered.get_mut(number)
                && !std::mem::replace(is_answered, true)
            {
                awaited -= 1;
                if let Some(why) = acknowledged(&headers, &content)? {
                    refused.add(why);
                }
            }
        }
        Ok(refused)
    }
}

impl Deliver for Nats {
    fn connect(&mut self, limit: Duration) -> Result<(), Failure> {
        self.session(Instant::now() + limit).map(drop).map_err(|error| later(&error))
    }

    fn deliver(&mut self, rows: &Rows, limit: Duration) -> Result<Refused, Failure> {
        let outcome = self.publish(rows, Instant::now() + limit);
        if outcome.is_err() {
            self.session = None;
        }
        outcome
    }
}

impl Session {
    /// The next message of the server. Answers its pings.
    fn next(&mut self) -> io::Result<Message> {
        let message = read_message(&mut self.wire, &self.inbox)?;
        if message == Message::Ping {
            self.wire.get_mut().write_all(b"PONG\r\n")?;
        }
        Ok(message)
    }
}

/// Reads a message.
fn read_message(wire: &mut impl BufRead, inbox: &str) -> io::Result<Message> {
    let line = read_line(wire)?;
    let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
    match verb {
        "MSG" | "HMSG" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let number = words[0].strip_prefix(inbox).and_then(|number| number.parse().ok());
            let length = |word: Option<&&str>| {
                let length =
                    word.and_then(|word| word.parse::<usize>().ok()).filter(|length| *length <= LONGEST_ANSWER);
                length.ok_or_else(|| invalid("it has sent an invalid message"))
            };
            let total = length(words.last())?;
            let of_headers = if verb == "HMSG" { length(words.iter().nth_back(1))?.min(total) } else { 0 };
            let mut content = vec![0; total + 2];
            wire.read_exact(&mut content)?;
            content.truncate(total);
            let rest = content.split_off(of_headers);
            Ok(number.map_or(Message::Other, |number| Message::Answer(number, content, rest)))
        }
        "PING" => Ok(Message::Ping),
        "PONG" => Ok(Message::Pong),
        "-ERR" => Err(invalid(&format!("the server reports {rest}"))),
        "+OK" | "INFO" => Ok(Message::Other),
        _ => Err(invalid("it has sent an invalid message")),
    }
}

/// Reads a line, without its end.
fn read_line(wire: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    wire.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if line.is_empty() => {
            Err(io::Error::new(ErrorKind::UnexpectedEof, "the server has closed the connection"))
        }
        None => Err(invalid("it has sent an invalid line")),
    }
}

/// Whether the answer to a row states that it is stored. Otherwise, the reason for which this row is refused, or for which
/// all rows are sent again later.
fn acknowledged(headers: &[u8], content: &[u8]) -> Result<Option<String>, Failure> {
    if headers.starts_with(b"NATS/1.0 503") {
        return Err(Failure::Later("no stream of JetStream stores the subject".to_owned()));
    }
    let Ok(answer) = serde_json::from_slice::<Value>(content) else {
        return Err(Failure::Later("the answer is not that of a stream of JetStream".to_owned()));
    };
    match &answer["error"] {
        Value::Null if answer["stream"].is_string() => Ok(None),
        Value::Null => Err(Failure::Later("the answer is not that of a stream of JetStream".to_owned())),
        error => {
            let why = format!("JetStream reports: {}", error["description"].as_str().unwrap_or("an error"));
            if error["err_code"] == TOO_LONG { Ok(Some(why)) } else { Err(Failure::Later(why)) }
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn tls_error(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("TLS: {error}"))
}

fn later(error: &io::Error) -> Failure {
    Failure::Later(match error.kind() {
        // The time limits of sockets end with these.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it did not answer in time".to_owned(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut text: &[u8]) -> Result<Vec<Message>, String> {
        let mut messages = Vec::new();
        while !text.is_empty() {
            messages.push(read_message(&mut text, "_INBOX.1.").map_err(|error| error.to_string())?);
        }
        Ok(messages)
    }

    #[test]
    fn messages_of_a_server_are_read() {
        let text = b"PING\r\n+OK\r\nMSG _INBOX.1.7 1 3\r\na\r\n\r\nHMSG _INBOX.1.8 1 _R 4 6\r\nabcdef\r\nMSG x 1 0\r\n\r\nPONG\r\n";
        let answer = |number, headers: &[u8], content: &[u8]| Message::Answer(number, headers.into(), content.into());
        let expected = [
            Message::Ping,
            Message::Other,
            answer(7, b"", b"a\r\n"),
            answer(8, b"abcd", b"ef"),
            Message::Other,
            Message::Pong,
        ];
        assert_eq!(read(text).expect("valid messages"), expected);
        for (text, why) in [
            (&b"-ERR 'Authorization Violation'\r\n"[..], "the server reports 'Authorization Violation'"),
            (b"MSG _INBOX.1.7 1 x\r\n", "it has sent an invalid message"),
            (b"MSG _INBOX.1.7 1 999999999\r\n", "it has sent an invalid message"),
            (b"MSG\r\n", "it has sent an invalid message"),
            (b"HELLO\r\n", "it has sent an invalid message"),
            (b"PING", "it has sent an invalid line"),
        ] {
            assert_eq!(read(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn an_answer_acknowledges_a_row_or_states_the_reason() {
        let later = |why: &str| Err(Failure::Later(why.to_owned()));
        let cases: [(&[u8], &[u8], _); 6] = [
            (b"", br#"{"stream":"S","seq":1}"#, Ok(None)),
            (b"", br#"{"stream":"S","seq":1,"duplicate":true}"#, Ok(None)),
            (b"NATS/1.0 503\r\n\r\n", b"", later("no stream of JetStream stores the subject")),
            (b"", b"+OK", later("the answer is not that of a stream of JetStream")),
            (
                b"",
                br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#,
                later("JetStream reports: maximum messages exceeded"),
            ),
            (
                b"",
                br#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#,
                Ok(Some("JetStream reports: message size exceeds maximum allowed".to_owned())),
            ),
        ];
        for (headers, content, expected) in cases {
            assert_eq!(acknowledged(headers, content), expected);
        }
    }
}
