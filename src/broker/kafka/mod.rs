//! The Kafka log, and the only place that names rdkafka.
//!
//! Reading order: [`config`] (which client gets which properties) → [`native`] (a librdkafka
//! client and its callbacks) → [`classify`] (what an error demands) → [`message`] and [`list`]
//! (librdkafka's data) → [`fetch`] (polling) → [`member`], [`reader`], [`producer`] with its
//! [`reports`], [`admin`]. What is asked is answered in a queue of its own ([`answer`]).
//!
//! Rights that a broker with access control must grant: DESCRIBE and READ or WRITE on the topics,
//! CREATE for internal topics, READ on the groups, WRITE on the transactional ids. Readers and
//! questions name the client id as their group; without a right to that they work all the same.

mod admin;
mod answer;
mod classify;
mod config;
mod fetch;
mod list;
mod member;
mod message;
mod native;
mod producer;
mod reader;
mod removal;
mod reports;
mod throttle;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::classify::{Code, Failure};
use self::member::{KafkaMember, Proof};
use self::native::{Callbacks, Handle, Kind};
use self::producer::KafkaProducer;
use self::reader::KafkaReader;
use crate::broker::{
    Broker, BrokerError, GroupMember, GroupMetadata, Isolation, MemberOptions, Offset, Producer,
    ProducerOptions, Reader, TopicPartition, TopicSpec,
};

/// How long the first contact may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a search for a coordinator waits for a first connection.
const FIRST_CONNECTION: Duration = Duration::from_secs(1);

/// How long committed offsets wait for open transactions.
const STABLE_PATIENCE: Duration = Duration::from_secs(1);

/// Where Kafka is and how to talk to it. Secrets do not show in its debug output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, several with commas.
    pub bootstrap: String,
    /// Who we are in the broker's logs, quotas and access rights.
    pub client_id: String,
    /// librdkafka's properties, such as those of TLS and SASL. A prefix `consumer.` or `producer.`
    /// narrows one down.
    pub properties: BTreeMap<String, String>,
    /// What its clients may keep in memory, where those properties do not say so.
    pub memory: ClientMemory,
}

/// How much memory clients may use for records, in bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientMemory {
    /// A consumer's, for what it has read ahead.
    pub fetched: usize,
    /// A producer's, for what is on its way.
    pub sent: usize,
}

impl Default for ClientMemory {
    fn default() -> ClientMemory {
        ClientMemory {
            fetched: 32 << 20,
            sent: 64 << 20,
        }
    }
}

/// The Kafka log. Clients are made per member, reader and producer; this one only asks.
pub struct KafkaBroker {
    settings: KafkaSettings,
    admin: Mutex<Arc<Handle<Questions>>>,
    /// One client per group whose committed offsets have been asked for.
    groups: Mutex<BTreeMap<String, Arc<Handle<Questions>>>>,
}

/// What a client for questions has heard.
#[derive(Default)]
struct Questions {
    /// The last trouble with its connections.
    trouble: Mutex<Option<Code>>,
    /// It knows an old state of the cluster, and may go on so for long: librdkafka asks the same
    /// leaders again and again, and does not look for others.
    is_outdated: AtomicBool,
}

impl Callbacks for Questions {
    fn failed(&self, code: Code) {
        *self.trouble() = Some(code);
    }
}

impl Questions {
    fn trouble(&self) -> MutexGuard<'_, Option<Code>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error for a question that failed.
    fn unanswered(&self, failure: Failure, action: impl Into<String>) -> BrokerError {
        if failure.shows_old_metadata() {
            self.is_outdated.store(true, Ordering::Relaxed);
        }
        failure.in_doing(action)
    }
}

impl KafkaBroker {
    /// Connects, and finds out whether the cluster answers.
    ///
    /// # Errors
    /// [`BrokerError::Fatal`] with the address and librdkafka's last word when it does not within
    /// ten seconds, or refuses our credentials; or when a property is refused.
    pub fn connect(settings: &KafkaSettings) -> Result<KafkaBroker, BrokerError> {
        KafkaBroker::connect_within(settings, CONNECT_PATIENCE)
    }

    fn connect_within(
        settings: &KafkaSettings,
        patience: Duration,
    ) -> Result<KafkaBroker, BrokerError> {
        config::check(settings)?;
        let admin = asker(settings)?;
        let start = Instant::now();
        loop {
            if admin.is_connected(Duration::from_millis(250)) {
                return Ok(KafkaBroker {
                    settings: settings.clone(),
                    admin: Mutex::new(Arc::new(admin)),
                    groups: Mutex::default(),
                });
            }
            if is_denied(&admin) || start.elapsed() > patience {
                return Err(unreachable(settings, &admin, start.elapsed()));
            }
        }
    }

    /// The client for questions about a group.
    fn group(&self, group: &str) -> Result<Arc<Handle<Questions>>, BrokerError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = groups.get(group) {
            known.serve(Duration::ZERO);
            return Ok(known.clone());
        }
        let properties = config::committed(&self.settings, group);
        let name = format!("questions about {group}");
        let client = Handle::new(Kind::Consumer, name, &properties, Questions::default())?;
        // Without a connection the search for the coordinator begins with a pause of 500 ms.
        client.is_connected(FIRST_CONNECTION);
        let client = Arc::new(client);
        groups.insert(group.to_owned(), client.clone());
        Ok(client)
    }

    /// The client for questions, with its logs and errors up to now taken out of its queue. One that
    /// is outdated is replaced.
    fn admin(&self) -> Result<Arc<Handle<Questions>>, BrokerError> {
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if admin.callbacks().is_outdated.load(Ordering::Relaxed) {
            tracing::info!("the cluster has changed; asking anew who leads what");
            *admin = Arc::new(asker(&self.settings)?);
        }
        admin.serve(Duration::ZERO);
        Ok(Arc::clone(&admin))
    }
}

/// A new client for questions.
fn asker(settings: &KafkaSettings) -> Result<Handle<Questions>, BrokerError> {
    let (properties, name) = (config::admin(settings), "questions".to_owned());
    Handle::new(Kind::Consumer, name, &properties, Questions::default())
}

fn is_denied(asker: &Handle<Questions>) -> bool {
    asker.serve(Duration::ZERO);
    matches!(*asker.callbacks().trouble(), Some(Code::Authentication))
}

fn unreachable(
    settings: &KafkaSettings,
    asker: &Handle<Questions>,
    after: Duration,
) -> BrokerError {
    let action = format!("connect to Kafka at {}", settings.bootstrap);
    let heard = asker.last_log().unwrap_or_else(|| "nothing".to_owned());
    BrokerError::fatal(
        action,
        format!("no success in {after:.1?}; last heard: {heard}"),
    )
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.properties.iter().map(|(key, value)| {
            (
                key,
                if config::is_secret(key) {
                    "(hidden)"
                } else {
                    value.as_str()
                },
            )
        });
        f.debug_struct("KafkaSettings")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("properties", &shown.collect::<BTreeMap<_, _>>())
            .finish()
    }
}

impl Broker for KafkaBroker {
    fn partition_counts(&self, topics: &[&str]) -> Result<BTreeMap<String, u32>, BrokerError> {
        admin::partition_counts(&*self.admin()?, topics)
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BrokerError> {
        admin::create_topics(&*self.admin()?, topics)
    }

    fn delete_topics(&self, topics: &[&str]) -> Result<(), BrokerError> {
        removal::delete_topics(&*self.admin()?, topics)
    }

    fn members(&self, group: &str) -> Result<Vec<String>, BrokerError> {
        let members = removal::members(&*self.admin()?, group)?;
        let names = members
            .into_iter()
            .map(|member| member.instance_id.unwrap_or(member.client_id));
        Ok(names.collect())
    }

    fn is_held_elsewhere(&self, group: &str, instance_id: &str) -> Result<bool, BrokerError> {
        let members = removal::members(&*self.admin()?, group)?;
        let own = config::client_id_of_member(&self.settings);
        Ok(members.iter().any(|member| {
            member.instance_id.as_deref() == Some(instance_id) && member.client_id != own
        }))
    }

    fn delete_group(&self, group: &str) -> Result<(), BrokerError> {
        removal::delete_group(&*self.admin()?, group)
    }

    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        admin::end_offsets(&*self.admin()?, partitions, isolation)
    }

    fn start_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        admin::start_offsets(&*self.admin()?, partitions)
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        admin::committed(&*self.group(group)?, group, partitions, STABLE_PATIENCE)
    }

    fn member(&self, options: &MemberOptions) -> Result<Box<dyn GroupMember>, BrokerError> {
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        let known = self.partition_counts(&topics)?;
        if let Some(missing) = topics.iter().find(|topic| !known.contains_key(**topic)) {
            return Err(BrokerError::fatal(
                format!("join group {}", options.group),
                format!("topic {missing} does not exist"),
            ));
        }
        Ok(Box::new(KafkaMember::new(&self.settings, options)?))
    }

    fn outsider(&self, group: &str) -> GroupMetadata {
        GroupMetadata(Arc::new(Proof::of_nobody(group)))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, BrokerError> {
        Ok(Box::new(KafkaReader::new(&self.settings, isolation)?))
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>, BrokerError> {
        Ok(Box::new(KafkaProducer::new(&self.settings, options)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(bootstrap: &str, properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            bootstrap: bootstrap.to_owned(),
            client_id: "test".to_owned(),
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            memory: ClientMemory::default(),
        }
    }

    #[track_caller]
    fn refused(settings: &KafkaSettings) -> String {
        match KafkaBroker::connect_within(settings, Duration::from_secs(3)) {
            Err(error @ BrokerError::Fatal { .. }) => error.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("connected"),
        }
    }

    #[test]
    fn a_wrong_address_is_named_together_with_what_librdkafka_said() {
        // Port 1 is reserved; nobody listens there.
        let message = refused(&settings("127.0.0.1:1", &[]));
        assert!(
            message.starts_with("connect to Kafka at 127.0.0.1:1: no success in "),
            "{message}"
        );
        assert!(message.contains("Connection refused"), "{message}");
    }

    #[test]
    fn a_refused_property_is_named_and_a_secret_never_shown() {
        let message = refused(&settings("127.0.0.1:1", &[("linger.ms", "soon")]));
        assert!(
            message.starts_with("set the Kafka property linger.ms: "),
            "{message}"
        );
        let settings = settings(
            "k:9092",
            &[("ssl.key.pem", "hush"), ("security.protocol", "ssl")],
        );
        let message = refused(&settings);
        assert!(message.contains("ssl.key.pem"), "{message}");
        assert!(!message.contains("hush"), "{message}");
        assert!(!format!("{settings:?}").contains("hush"));
        assert!(format!("{settings:?}").contains("\"security.protocol\": \"ssl\""));
    }
}
