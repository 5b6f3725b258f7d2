//! The log in our terms: topics, partitions, groups, transactions.
//!
//! Two logs stand behind these traits: Kafka (the one place that names rdkafka) and an in-memory
//! one for tests and the demo, which has partitions, transactions, fencing and read-committed
//! reads too. All calls are synchronous and made by one thread per object.
//!
//! What callers may rely on:
//! - records of one partition are delivered in order, each once per assignment;
//! - a reader with [`Isolation::ReadCommitted`] sees nothing of open or aborted transactions;
//! - a [`GroupMember`] reports a revocation *before* the partitions can reach another member, and
//!   keeps them until [`GroupMember::acknowledge`] is called: that is the time to commit.
//!
//! What happens to a member of a group:
//!
//! ```text
//!            member()                        poll
//! (outside) ─────────▶ waiting ──────────────────────────▶ told of Assigned ──┐
//!                        ▲  ▲                                                 │ acknowledge(Start),
//!    acknowledge(Stop of │  │ Lost: nothing to acknowledge,                   │ any number of times
//!    all that was named) │  │ poll rejoins by itself                          ▼
//!                 told of Revoked ◀───────────── poll ──────────────────── reading
//! ```
//!
//! No records are delivered between the report of an event and its acknowledgement.

mod error;
pub mod kafka;
pub mod memory;
pub mod partitioner;
mod refusals;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

pub use error::BrokerError;
pub use refusals::{RecordMark, Refusals};

/// The number of a record in its partition.
pub type Offset = i64;

/// The number of a partition in its topic, from 0.
pub type Partition = i32;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition in it.
    pub partition: Partition,
}

/// A record as the log delivers it; borrows from the client's buffers.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition.
    pub partition: Partition,
    /// The record's number.
    pub offset: Offset,
    /// The time that the producer gave it.
    pub timestamp: Timestamp,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers; not decoded before they are asked for.
    pub headers: Headers<'a>,
}

/// Where a delivered record's headers are kept.
pub trait HeaderSource {
    /// The name and value at `index`, from 0; none behind the last. A name that is not UTF-8 is
    /// shown with replacement characters, a null value as an empty one.
    fn header(&self, index: usize) -> Option<(Cow<'_, str>, &[u8])>;
}

/// The headers of a delivered record, in the order in which they were written.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a>(Option<&'a dyn HeaderSource>);

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// The record's number.
    pub offset: Offset,
    /// The time that the producer gave it.
    pub timestamp: Timestamp,
    /// The key, if there is one.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values of headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Where to; none: by the hash of the key, as Java's default partitioner does (murmur2), or
    /// spread evenly when there is no key.
    pub partition: Option<Partition>,
    /// The event time.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values of headers.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only those of committed transactions, up to the last stable offset.
    ReadCommitted,
    /// All.
    ReadUncommitted,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Copies; −1 is the broker's default.
    pub replication: i32,
    /// Topic configuration, such as `cleanup.policy`.
    pub config: BTreeMap<String, String>,
}

/// The topic configuration that says how far ahead of the broker's clock a record's time may be, in
/// milliseconds; an hour if it is not set. Brokers before Kafka 3.6 have no such bound, and topics are
/// created without it there.
pub const TIMESTAMP_AFTER_MAX: &str = "message.timestamp.after.max.ms";

/// The topic configuration that says how large a batch may be, in bytes; about 1 MB if it is not set.
pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// The largest batch of the topics that Tidemill creates, in bytes.
pub const LARGEST_BATCH: usize = 16 << 20;

/// How a process joins a group.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The group's name.
    pub group: String,
    /// The topics to share; all members of a group name the same set.
    pub topics: Vec<String>,
    /// Static membership: the same id after a restart gets the same partitions back.
    pub instance_id: Option<String>,
    /// How long a silent member keeps its partitions.
    pub session_timeout: Duration,
    /// How long a member may go without polling before it loses its partitions.
    pub max_poll_interval: Duration,
    /// Which records are delivered.
    pub isolation: Isolation,
}

/// How a producer writes.
#[derive(Clone, Debug, Default)]
pub struct ProducerOptions {
    /// With an id the producer writes in transactions, and fences older producers of that id.
    pub transactional_id: Option<String>,
    /// After this long without a commit the broker aborts the transaction; none:
    /// [`DEFAULT_TRANSACTION_TIMEOUT`].
    pub transaction_timeout: Option<Duration>,
}

/// As in Kafka Streams: short, since an open transaction of a dead process holds up its readers.
pub const DEFAULT_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What a poll of a group member found besides records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// These partitions are now this member's (all of them, or the additional ones). Call
    /// [`GroupMember::acknowledge`] with the position of each.
    Assigned(Vec<TopicPartition>),
    /// These partitions are to be given up: commit, then call [`GroupMember::acknowledge`].
    Revoked(Vec<TopicPartition>),
    /// These partitions are gone already (the member was evicted): drop their work uncommitted.
    Lost(Vec<TopicPartition>),
}

/// The answer to a [`GroupEvent`].
#[derive(Clone, Debug)]
pub enum Acknowledge<'a> {
    /// Read exactly these from now on, each from this offset. May be given again later, with more
    /// of the assigned partitions, when more tasks have restored their state.
    Start(&'a [(TopicPartition, Offset)]),
    /// Done with these.
    Stop(&'a [TopicPartition]),
}

/// Proof of membership, sent along with offsets so that an evicted member is refused.
#[derive(Clone)]
pub struct GroupMetadata(pub Arc<dyn std::any::Any + Send + Sync>);

/// A log. Cheap to share between threads.
pub trait Broker: Send + Sync {
    /// The partition count of each topic; a topic that does not exist is left out.
    ///
    /// # Errors
    /// When the log cannot be reached.
    fn partition_counts(&self, topics: &[&str]) -> Result<BTreeMap<String, u32>, BrokerError>;

    /// Creates topics; those that exist already are left as they are.
    ///
    /// # Errors
    /// When the log refuses.
    fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BrokerError>;

    /// Deletes topics with all their records; those that do not exist are passed over.
    ///
    /// # Errors
    /// When the log cannot be reached or refuses.
    fn delete_topics(&self, topics: &[&str]) -> Result<(), BrokerError>;

    /// Who is in a group, as the members call themselves; nobody where there is no such group. A static
    /// member that has gone stays until its session is over.
    ///
    /// # Errors
    /// When the log cannot be reached.
    fn members(&self, group: &str) -> Result<Vec<String>, BrokerError>;

    /// Whether a static member that was made elsewhere than here has an instance id in a group now.
    ///
    /// # Errors
    /// When the log cannot be reached.
    fn is_held_elsewhere(&self, group: &str, instance_id: &str) -> Result<bool, BrokerError>;

    /// Forgets a group with its committed offsets; one that does not exist is passed over.
    ///
    /// # Errors
    /// When the log cannot be reached, or the group has members.
    fn delete_group(&self, group: &str) -> Result<(), BrokerError>;

    /// The offset behind the last record: with [`Isolation::ReadCommitted`] behind the last stable
    /// one.
    ///
    /// # Errors
    /// When the log cannot be reached or a partition does not exist.
    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError>;

    /// The offset of the first record that is still there.
    ///
    /// # Errors
    /// When the log cannot be reached or a partition does not exist.
    fn start_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError>;

    /// The group's committed offsets; a partition without one is left out.
    ///
    /// # Errors
    /// [`BrokerError::Retry`] while a transaction that holds offsets of these partitions is open.
    /// Kafka waits for it a while first; the in-memory log does not.
    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError>;

    /// Joins a group. Dropping the member leaves the group at once, unless it has an instance id:
    /// then its partitions stay reserved for the session timeout, or until the same id joins anew.
    ///
    /// # Errors
    /// When the options are refused or a topic does not exist.
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn GroupMember>, BrokerError>;

    /// What proves no membership, for offsets that are sent to a group in a transaction and need none:
    /// the log checks the producer alone. For transactions that are aborted.
    fn outsider(&self, group: &str) -> GroupMetadata;

    /// A reader of partitions that are named one by one, outside any group.
    ///
    /// # Errors
    /// When the log refuses.
    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, BrokerError>;

    /// A producer. With a transactional id it first fences older producers of that id and waits
    /// for their transactions to end.
    ///
    /// # Errors
    /// When the log cannot be reached or refuses.
    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>, BrokerError>;
}

/// Receives the records of a poll, one by one.
pub type OnRecord<'f> = &'f mut dyn FnMut(Fetched<'_>);

/// A member of a consumer group.
pub trait GroupMember: Send {
    /// Hands over what has arrived, at most `max_records`; waits up to `timeout` for the first.
    /// Returns at once with an event when the group changes; records handed over by that same call
    /// came before the event.
    ///
    /// # Errors
    /// [`BrokerError::OutOfRange`], once for each partition that was started outside the log; it
    /// stays silent until it is started again. [`BrokerError::Replaced`], from then on always, when
    /// another member has joined with this one's instance id, be it by this member's own request
    /// that was sent twice. Passing trouble of the client library is not an error here; it is
    /// logged.
    fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> Result<Option<GroupEvent>, BrokerError>;

    /// Answers a [`GroupEvent`]. To stop less than all revoked partitions is allowed; the group
    /// goes on when the last one is stopped.
    ///
    /// # Errors
    /// [`BrokerError::Fenced`] when the member has been evicted meanwhile, or does not own a
    /// partition that it starts. The next poll says what is lost.
    fn acknowledge(&mut self, answer: Acknowledge<'_>) -> Result<(), BrokerError>;

    /// Proof of membership as of now, for [`Producer::send_offsets`]; none before the first
    /// assignment.
    fn metadata(&self) -> Option<GroupMetadata>;

    /// Commits offsets without a transaction (at least once, or as a hint for lag tools).
    ///
    /// # Errors
    /// When the member has been evicted.
    fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), BrokerError>;

    /// Whether the delivered records had reached the end of this partition as of the last poll.
    fn at_end(&self, partition: &TopicPartition) -> bool;

    /// The offset of the next record to be delivered, as [`Reader::position`]; none for a
    /// partition that is not being read.
    fn position(&self, partition: &TopicPartition) -> Option<Offset>;
}

/// A reader of named partitions.
pub trait Reader: Send {
    /// Reads exactly these from now on, each from this offset.
    ///
    /// # Errors
    /// When the log refuses.
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<(), BrokerError>;

    /// Hands over what has arrived, at most `max_records`; waits up to `timeout` for the first.
    ///
    /// # Errors
    /// [`BrokerError::OutOfRange`], once for each partition that was assigned outside the log (it
    /// stays silent until it is assigned anew), or the log's refusal.
    fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> Result<(), BrokerError>;

    /// The offset of the next record to be delivered. Skips control records: after a poll that
    /// found nothing more, this equals the end offset, even when the last entry is a transaction
    /// marker.
    fn position(&self, partition: &TopicPartition) -> Option<Offset>;
}

/// Writes records. With a transactional id, everything between [`Producer::begin`] and
/// [`Producer::commit`] becomes visible together or not at all. Dropping a producer leaves its open
/// transaction to the timeout, or to the next producer of the same id, which aborts it.
pub trait Producer: Send {
    /// Queues a record; blocks while the queue is full.
    ///
    /// # Errors
    /// [`BrokerError::TooLarge`] or [`BrokerError::Refused`] for this record alone; otherwise the
    /// reaction it names. Kafka refuses a record later, in the call that waits for it to be written;
    /// a transaction is lost by that, and so are, without one, the records that were sent together
    /// with it.
    fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`BrokerError::Fenced`] when a newer producer has the id and this one knows (otherwise the
    /// first call that reaches the log says so), and when this producer is suspect.
    fn begin(&mut self) -> Result<(), BrokerError>;

    /// Adds consumed offsets (of the *next* record to be read) to the transaction.
    ///
    /// # Errors
    /// [`BrokerError::Fenced`] when the member was evicted.
    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
        member: &GroupMetadata,
    ) -> Result<(), BrokerError>;

    /// Waits until all records are written, then commits.
    ///
    /// # Errors
    /// The reaction it names. After [`BrokerError::Retry`] the outcome is open: call it again and
    /// it gives the answer, without committing twice. After [`BrokerError::Fenced`] the producer
    /// is of no further use.
    fn commit(&mut self) -> Result<(), BrokerError>;

    /// Aborts the transaction; its records are never seen by committed reads. When the producer is
    /// suspect, this may leave the abort to the next producer of the same id, or to the timeout.
    ///
    /// # Errors
    /// [`BrokerError::Fenced`] when a newer producer has the id.
    fn abort(&mut self) -> Result<(), BrokerError>;

    /// Waits until all records are written (outside transactions).
    ///
    /// # Errors
    /// When one could not be written.
    fn flush(&mut self) -> Result<(), BrokerError>;

    /// The offset behind the last acknowledged record of this partition that this producer
    /// wrote; none when it wrote none. Up to date after [`Producer::commit`] or
    /// [`Producer::flush`].
    fn acknowledged(&self, topic: &str, partition: Partition) -> Option<Offset>;

    /// Whether to drop this producer before its next transaction, and make a new one of the same
    /// id. So after an error of a transaction call or a suspiciously slow commit: a request of the
    /// old epoch may still be under way, and would be applied to a later transaction (KIP-890;
    /// librdkafka has no defence of its own, confluentinc/librdkafka#5423).
    fn is_suspect(&self) -> bool;
}

impl<'a> Headers<'a> {
    /// A record without headers.
    pub const NONE: Headers<'static> = Headers(None);

    /// The headers that `source` keeps.
    pub fn new(source: &'a dyn HeaderSource) -> Headers<'a> {
        Headers(Some(source))
    }

    /// All names and values.
    pub fn iter(self) -> impl Iterator<Item = (Cow<'a, str>, &'a [u8])> {
        (0..).map_while(move |index| self.0?.header(index))
    }

    /// The value of the first header of this name.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Outgoing<'_> {
    /// The size of key and value together, in bytes.
    pub fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }

    /// The time that the log keeps for it: Kafka takes none before 1970, and 0 means "now" to its
    /// client.
    pub fn log_time(&self) -> Timestamp {
        self.timestamp.max(Timestamp(1))
    }
}

impl Fetched<'_> {
    /// Copies the record out of the client's buffers.
    pub fn to_owned_record(&self) -> OwnedRecord {
        OwnedRecord {
            topic: Arc::from(self.topic),
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.into_owned(), value.to_vec()))
                .collect(),
        }
    }
}

impl HeaderSource for OwnedRecord {
    fn header(&self, index: usize) -> Option<(Cow<'_, str>, &[u8])> {
        let (name, value) = self.headers.get(index)?;
        Some((Cow::Borrowed(name), value))
    }
}

impl OwnedRecord {
    /// The record as a poll delivers it.
    pub fn as_fetched(&self) -> Fetched<'_> {
        Fetched {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::new(self),
        }
    }
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: Partition) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for GroupMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupMetadata")
    }
}
