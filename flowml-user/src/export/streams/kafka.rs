//! Sends rows to a topic of Kafka. One partition has all rows of an agent, in their order.

use std::io;
use std::ops::Range;
use std::time::Duration;

use flate2::Crc;
use rskafka::chrono::Utc;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials as Login, SaslConfig};
use rskafka::record::Record;
use rskafka::{BackoffConfig, BackoffError, ConnectionError};
use tokio::runtime::{Builder, Runtime};

use super::super::origin::Origin;
use super::super::remote::{Failure, Tls};
use super::super::target::{Mechanism, PeerOptions, place_text};
use super::credentials::Credentials;
use super::deliver::{Deliver, Refused};
use super::rows::Rows;

/// A topic of a Kafka cluster.
pub(super) struct Kafka {
    /// Runs the client on the thread of the output.
    runtime: Runtime,
    cluster: Cluster,
}

struct Cluster {
    brokers: Vec<String>,
    topic: String,
    /// The key of all records.
    agent: String,
    tls: Option<Tls>,
    sasl: Option<SaslConfig>,
    /// The connection to the broker of the agent's partition.
    partition: Option<PartitionClient>,
}

impl Kafka {
    pub(super) fn open(
        brokers: &[(String, u16)],
        topic: &str,
        options: &PeerOptions,
        credentials: Option<Credentials>,
        origin: &Origin,
    ) -> io::Result<Self> {
        let cluster = Cluster {
            brokers: brokers.iter().map(place_text).collect(),
            topic: topic.to_owned(),
            agent: origin.agent.clone(),
            tls: options.tls.then(Tls::open).transpose()?,
            sasl: options
                .sasl
                .zip(credentials)
                .map(|(mechanism, credentials)| sasl(mechanism, &credentials))
                .transpose()?,
            partition: None,
        };
        Ok(Self { runtime: Builder::new_current_thread().enable_all().build()?, cluster })
    }

    /// Runs `work` within `limit`. After an error the next attempt connects again.
    fn run<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Cluster) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self { runtime, cluster } = self;
        let done = runtime.block_on(async { tokio::time::timeout(limit, work(cluster)).await });
        let outcome = done.unwrap_or_else(|_| Err(Failure::Later("it did not answer in time".to_owned())));
        if outcome.is_err() {
            cluster.partition = None;
        }
        outcome
    }
}

impl Deliver for Kafka {
    fn connect(&mut self, limit: Duration) -> Result<(), Failure> {
        self.run(limit, async |cluster| cluster.partition().await.map(drop))
    }

    fn deliver(&mut self, rows: &Rows, limit: Duration) -> Result<Refused, Failure> {
        self.run(limit, async |cluster| cluster.produce(rows).await)
    }
}

impl Cluster {
    /// Delivers rows. Rows that are too many for one batch of the topic are sent in two halves.
    async fn produce(&mut self, rows: &Rows) -> Result<Refused, Failure> {
        let now = Utc::now();
        let record = |(_, bytes): (u64, &[u8])| Record {
            key: Some(self.agent.clone().into_bytes()),
            value: Some(bytes.to_vec()),
            headers: Default::default(),
            timestamp: now,
        };
        let records: Vec<Record> = rows.iter().map(record).collect();
        let mut refused = Refused::none();
        let mut parts: Vec<Range<usize>> = std::iter::once(0..records.len()).collect();
        while let Some(part) = parts.pop() {
            let produced = self.partition().await?.produce(records[part.clone()].to_vec(), Compression::Zstd).await;
            match produced {
                Ok(_) => {}
                Err(error) if is_too_long(&error) && part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                }
                Err(error) if is_too_long(&error) => refused.add("it is longer than the topic permits"),
                Err(error) => return Err(self.failure(&error)),
            }
        }
        Ok(refused)
    }

    /// The partition of the agent's rows.
    async fn partition(&mut self) -> Result<&PartitionClient, Failure> {
        let partition = match self.partition.take() {
            Some(partition) => partition,
            None => self.open_partition().await.map_err(|error| self.failure(&error))?,
        };
        Ok(self.partition.insert(partition))
    }

    async fn open_partition(&self) -> Result<PartitionClient, Error> {
        // The stream of rows makes the next attempt.
        let once = BackoffConfig { deadline: Some(Duration::ZERO), ..BackoffConfig::default() };
        let mut builder = ClientBuilder::new(self.brokers.clone()).client_id("flowml").backoff_config(once);
        if let Some(tls) = &self.tls {
            builder = builder.tls_config(tls.config());
        }
        if let Some(sasl) = &self.sasl {
            builder = builder.sasl_config(sasl.clone());
        }
        let client = builder.build().await?;
        let open = async |number| client.partition_client(&self.topic, number, UnknownTopicHandling::Error).await;
        if let Some(number) = self.number(&client).await? {
            return open(number).await;
        }
        // The broker may create the topic when it is asked for a partition of it. It has others then.
        let first = open(0).await?;
        match self.number(&client).await? {
            Some(number) if number != first.partition() => open(number).await,
            _ => Ok(first),
        }
    }

    /// The number of the agent's partition. `None` if the topic does not exist.
    async fn number(&self, client: &Client) -> Result<Option<i32>, Error> {
        let topics = client.list_topics().await?;
        let partitions = topics.into_iter().find(|topic| topic.name == self.topic).map(|topic| topic.partitions);
        Ok(partitions.and_then(|partitions| {
            let place = hash(&self.agent) as usize % partitions.len().max(1);
            partitions.into_iter().nth(place)
        }))
    }

    fn failure(&self, error: &Error) -> Failure {
        Failure::Later(reason(error, &self.topic))
    }
}

/// The hash with which librdkafka chooses the partition of a key.
fn hash(key: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(key.as_bytes());
    crc.sum()
}

/// The configuration of SASL. The credentials are `USER:PASSWORD`.
fn sasl(mechanism: Mechanism, credentials: &Credentials) -> io::Result<SaslConfig> {
    let (user, password) = credentials
        .pair()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the credentials: expected USER:PASSWORD"))?;
    let login = Login::new(user.to_owned(), password.to_owned());
    Ok(match mechanism {
        Mechanism::Plain => SaslConfig::Plain(login),
        Mechanism::ScramSha256 => SaslConfig::ScramSha256(login),
        Mechanism::ScramSha512 => SaslConfig::ScramSha512(login),
    })
}

/// Whether a batch is longer than its topic permits.
const fn is_too_long(error: &Error) -> bool {
    use ProtocolError::{MessageTooLarge, RecordListTooLarge};
    matches!(error, Error::ServerError { protocol_error: MessageTooLarge | RecordListTooLarge, .. })
}

/// The reason of an error in words.
fn reason(error: &Error, topic: &str) -> String {
    match error {
        Error::ServerError { protocol_error: ProtocolError::UnknownTopicOrPartition, .. } => {
            format!("there is no topic '{topic}', and the broker does not create it")
        }
        Error::ServerError { protocol_error: ProtocolError::TopicAuthorizationFailed, .. } => {
            format!("the broker does not permit writing to the topic '{topic}'")
        }
        Error::ServerError { protocol_error, error_message, .. } => {
            let more = error_message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
            format!("the broker reports {protocol_error:?}{more}")
        }
        Error::RetryFailed(BackoffError::DeadlineExceded { source, .. }) => match source.downcast_ref::<Error>() {
            Some(error) => reason(error, topic),
            None => hint(source.to_string()),
        },
        Error::Connection(ConnectionError::RetryFailed(BackoffError::DeadlineExceded { source, .. })) => {
            hint(source.to_string())
        }
        Error::Connection(error) => hint(error.to_string()),
        error => hint(error.to_string()),
    }
}

/// Adds what to do if the sandbox refuses a connection.
fn hint(reason: String) -> String {
    // The client keeps only the text of the system's error.
    let refused = io::Error::from_raw_os_error(libc::EACCES).to_string();
    let is_refused = reason.contains(&refused);
    let hint = "; the sandbox permits only the ports that '-o' names: name every port on which brokers listen";
    if is_refused { reason + hint } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_is_that_of_librdkafka() {
        // CRC-32 (ISO 3309) of "123456789" is the check value of its catalogue.
        assert_eq!(hash("123456789"), 0xcbf4_3926);
    }
}
