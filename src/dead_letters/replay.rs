//! Gives records to their topology again, each once.
//!
//! A record goes back to the topic that it came from, marked with the group and node that could not handle it;
//! everyone else passes it over, so what has counted it is not given it twice. The same transaction notes the
//! letter in `<letters>-replayed`, a compacted topic: whatever happens, and however often it is tried, no letter
//! is replayed twice. Two that replay the same topic fence each other.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use super::read::{read, read_records};
use super::{Letter, LetterId, REPLAY_GROUP, REPLAY_LETTER, REPLAY_NODE};
use crate::broker::{Broker, BrokerError, Outgoing, Producer, ProducerOptions, TopicSpec};
use crate::topology::graph::{NodeKind, NodeName, Topology};
use crate::topology::plan::Plan;

/// So many letters are replayed in one transaction.
const BATCH: usize = 500;

/// Committing is tried so often.
const COMMIT_ATTEMPTS: u32 = 5;

const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a letter is not replayed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// Only the beginning of its value was kept.
    Cut,
    /// It does not say where it came from.
    Unknown,
    /// It came from ingestion, with something that is no event.
    NoEvent,
    /// It came from a topic of the application itself.
    Internal(String),
    /// The topology has no such node any more.
    NoNode(String),
    /// In front of its node is one that would count it twice.
    Stateful(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Cut => f.write_str(
                "only the beginning of the value was kept: the record is in its source topic, for as long as \
                 that keeps it",
            ),
            Obstacle::Unknown => f.write_str("it does not say where it came from"),
            Obstacle::NoEvent => f.write_str(
                "what was ingested is no event: mend it at its source and ingest it again",
            ),
            Obstacle::Internal(topic) => write!(
                f,
                "it came from {topic}, whose records are not events: the next change of its result is written \
                 again",
            ),
            Obstacle::NoNode(node) => write!(f, "the topology has no node {node}"),
            Obstacle::Stateful(node) => write!(
                f,
                "{node}, in front of the node that has failed, has counted it already"
            ),
        }
    }
}

/// Letters cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The topic of a record is gone.
    #[error("letter {letter} came from topic {topic}, which does not exist any more")]
    NoTopic {
        /// The letter.
        letter: LetterId,
        /// The topic.
        topic: String,
    },
}

/// What has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters that were replayed.
    pub letters: usize,
    /// Letters for which there was an [`Obstacle`].
    pub left: usize,
}

/// Why a letter of this application cannot be given to it again; none: it can.
pub fn obstacle(letter: &Letter, topology: &Topology, plan: &Plan) -> Option<Obstacle> {
    if letter.whole_length.is_some() {
        return Some(Obstacle::Cut);
    }
    if letter.topic.is_empty() || letter.node.is_empty() || letter.group.is_empty() {
        return Some(match letter.origin.is_some() {
            true => Obstacle::NoEvent,
            false => Obstacle::Unknown,
        });
    }
    let mut internal = plan.internal_topics.iter();
    if internal.any(|topic| topic.name == letter.topic) {
        return Some(Obstacle::Internal(letter.topic.clone()));
    }
    let Some(node) = topology.node(&NodeName::new(&letter.node)) else {
        return Some(Obstacle::NoNode(letter.node.clone()));
    };
    let mut before: Vec<&NodeName> = node.kind.inputs().iter().collect();
    // Nodes do not read from themselves, so this ends.
    while let Some(name) = before.pop() {
        let found = topology.node(name).expect("checked: inputs are there");
        if !passes_on(&found.kind) {
            return Some(Obstacle::Stateful(name.to_string()));
        }
        before.extend(found.kind.inputs());
    }
    None
}

/// Whether a record goes through a node as one record, and leaves nothing behind.
fn passes_on(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Source(_) => true,
        // Some of the records that it has made of one may have come through.
        NodeKind::FlatMap(_) => false,
        other => other.is_stateless(),
    }
}

/// The letters of a topic that have been replayed.
///
/// # Errors
/// When the log cannot be read.
pub fn replayed_before(
    broker: &dyn Broker,
    letters: &str,
) -> Result<BTreeSet<LetterId>, BrokerError> {
    let mut done = BTreeSet::new();
    read_records(broker, &journal(letters), &mut |record| {
        let key = record.key.and_then(|key| String::from_utf8(key).ok());
        done.extend(key.and_then(|key| key.parse::<LetterId>().ok()));
        ControlFlow::Continue(())
    })?;
    Ok(done)
}

fn journal(letters: &str) -> String {
    format!("{letters}-replayed")
}

/// Gives those letters of a topic to the topology again that are wanted and that nothing prevents, and have not
/// been replayed before.
///
/// # Errors
/// When the log refuses. What has been replayed until then is noted.
pub fn replay(
    broker: &dyn Broker,
    letters: &str,
    wants: &mut dyn FnMut(&Letter) -> bool,
    prevents: &dyn Fn(&Letter) -> Option<Obstacle>,
) -> Result<Replayed, ReplayError> {
    let spec = TopicSpec {
        name: journal(letters),
        partitions: 1,
        replication: -1,
        config: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
    };
    broker.create_topics(&[spec])?;
    // This waits for whoever else is at it, and ends that.
    let mut producer = broker.producer(&ProducerOptions {
        transactional_id: Some(journal(letters)),
        transaction_timeout: Some(TRANSACTION_TIMEOUT),
    })?;
    let done = replayed_before(broker, letters)?;
    let mut replayer = Replayer {
        broker,
        producer: &mut *producer,
        journal: journal(letters),
        topics: BTreeSet::new(),
        batch: Vec::new(),
        replayed: 0,
    };
    let mut left = 0;
    let mut taken = Ok(());
    read(broker, letters, &mut |letter| {
        if !wants(&letter) {
            return ControlFlow::Continue(());
        }
        if done.contains(&letter.id) || prevents(&letter).is_some() {
            left += 1;
            return ControlFlow::Continue(());
        }
        taken = replayer.take(letter);
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    taken?;
    replayer.write()?;
    Ok(Replayed {
        letters: replayer.replayed,
        left,
    })
}

/// Replays letters as they come, so that few are in memory.
struct Replayer<'r> {
    broker: &'r dyn Broker,
    producer: &'r mut dyn Producer,
    journal: String,
    /// Those that are known to exist.
    topics: BTreeSet<String>,
    batch: Vec<Letter>,
    replayed: usize,
}

impl Replayer<'_> {
    fn take(&mut self, letter: Letter) -> Result<(), ReplayError> {
        if !self.topics.contains(&letter.topic) {
            let found = self.broker.partition_counts(&[&letter.topic])?;
            if !found.contains_key(&letter.topic) {
                // Those before it need not be read again for its sake.
                self.write()?;
                return Err(ReplayError::NoTopic {
                    letter: letter.id,
                    topic: letter.topic,
                });
            }
            self.topics.insert(letter.topic.clone());
        }
        self.batch.push(letter);
        match self.batch.len() < BATCH {
            true => Ok(()),
            false => self.write(),
        }
    }

    /// Writes what has been taken, in one transaction.
    fn write(&mut self) -> Result<(), ReplayError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.producer.begin()?;
        for letter in &self.batch {
            send(self.producer, letter, &self.journal)?;
        }
        commit(self.producer)?;
        self.replayed += self.batch.len();
        self.batch.clear();
        Ok(())
    }
}

fn send(producer: &mut dyn Producer, letter: &Letter, journal: &str) -> Result<(), BrokerError> {
    let id = letter.id.to_string();
    let headers = letter.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_slice()));
    let headers: Vec<(&str, &[u8])> = headers
        .chain([
            (REPLAY_GROUP, letter.group.as_bytes()),
            (REPLAY_NODE, letter.node.as_bytes()),
            (REPLAY_LETTER, id.as_bytes()),
        ])
        .collect();
    producer.send(Outgoing {
        topic: &letter.topic,
        partition: letter.partition,
        timestamp: letter.timestamp,
        key: letter.key.as_deref(),
        value: letter.value.as_deref(),
        headers: &headers,
    })?;
    producer.send(Outgoing {
        topic: journal,
        partition: Some(0),
        timestamp: letter.written,
        key: Some(id.as_bytes()),
        value: Some(letter.topic.as_bytes()),
        headers: &[],
    })
}

/// As long as the outcome is open it is asked for.
fn commit(producer: &mut dyn Producer) -> Result<(), BrokerError> {
    let mut attempt = 1;
    loop {
        match producer.commit() {
            Err(BrokerError::Retry { .. }) if attempt < COMMIT_ATTEMPTS => attempt += 1,
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::memory::{MemoryBroker, Operation};
    use crate::broker::{Isolation, OwnedRecord};
    use crate::dead_letters::{GROUP, NODE, OFFSET, PARTITION, TOPIC};
    use crate::time::{ManualClock, Timestamp};
    use crate::topology::plan::plan;

    const LETTERS: &str = "shop-dead-letters";

    const SHOP: &str = "
app: shop
nodes:
  orders: { source: { topic: orders } }
  paid: { filter: { from: orders, where: paid } }
  lines: { flat_map: { from: paid, each: lines, as: line } }
  copies: { kafka: { from: paid, topic: copies } }
  line_copies: { kafka: { from: lines, topic: line-copies } }
  per_shop: { aggregate: { from: paid, by: shop, window: none, set: { n: count() } } }
  sums: { kafka: { from: per_shop, topic: sums } }
";

    fn log() -> MemoryBroker {
        let broker = MemoryBroker::new(Arc::new(ManualClock::new(Timestamp(1_000))));
        let spec = |name: &str| TopicSpec {
            name: name.to_owned(),
            partitions: 2,
            replication: -1,
            config: Default::default(),
        };
        broker
            .create_topics(&[spec("orders"), spec(LETTERS)])
            .unwrap();
        broker
    }

    /// Letters of these nodes, with values `0`, `1` and so on.
    fn put_letters(broker: &MemoryBroker, nodes: &[&str]) {
        let mut producer = broker.producer(&ProducerOptions::default()).unwrap();
        for (number, node) in nodes.iter().enumerate() {
            let value = number.to_string();
            let headers: [(&str, &[u8]); 6] = [
                (GROUP, b"shop"),
                (NODE, node.as_bytes()),
                (TOPIC, b"orders"),
                (PARTITION, b"1"),
                (OFFSET, b"7"),
                ("own", b"kept"),
            ];
            producer
                .send(Outgoing {
                    topic: LETTERS,
                    partition: Some(0),
                    timestamp: Timestamp(5),
                    key: Some(b"k"),
                    value: Some(value.as_bytes()),
                    headers: &headers,
                })
                .unwrap();
        }
        producer.flush().unwrap();
    }

    fn orders(broker: &MemoryBroker) -> Vec<OwnedRecord> {
        broker.records("orders", 1, Isolation::ReadCommitted)
    }

    fn replay_all(broker: &MemoryBroker) -> Result<Replayed, ReplayError> {
        replay(broker, LETTERS, &mut |_| true, &|_| None)
    }

    #[test]
    fn each_letter_is_replayed_once_with_a_mark_of_its_node() {
        let broker = log();
        put_letters(&broker, &["copies", "per_shop"]);
        let only_copies = replay(
            &broker,
            LETTERS,
            &mut |letter| letter.node == "copies",
            &|_| None,
        );
        assert_eq!(
            only_copies.unwrap(),
            Replayed {
                letters: 1,
                left: 0
            }
        );
        assert_eq!(
            replay_all(&broker).unwrap(),
            Replayed {
                letters: 1,
                left: 1
            }
        );
        assert_eq!(
            replay_all(&broker).unwrap(),
            Replayed {
                letters: 0,
                left: 2
            }
        );
        let texts = |record: &OwnedRecord| {
            let headers = record.headers.iter();
            let headers: Vec<String> = headers
                .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
                .collect();
            headers.join(" ")
        };
        let shown: Vec<String> = orders(&broker).iter().map(texts).collect();
        assert_eq!(
            shown,
            [
                "own=kept tidemill.replay.group=shop tidemill.replay.node=copies \
                 tidemill.replay.letter=0-0",
                "own=kept tidemill.replay.group=shop tidemill.replay.node=per_shop \
                 tidemill.replay.letter=0-1"
            ]
        );
        let record = &orders(&broker)[0];
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"0"[..]));
        assert_eq!(record.timestamp, Timestamp(5));
    }

    #[test]
    fn a_replay_that_breaks_off_is_taken_up_where_it_was() {
        let broker = log();
        put_letters(&broker, &["copies"; 3]);
        let error = || BrokerError::fenced("commit", "the test wants it");
        broker.fail_next(Operation::Commit, error());
        assert!(replay_all(&broker).is_err());
        assert_eq!(orders(&broker).len(), 0);
        broker.lose_answer(Operation::Commit, error());
        assert!(replay_all(&broker).is_err());
        assert_eq!(orders(&broker).len(), 3);
        assert_eq!(
            replay_all(&broker).unwrap(),
            Replayed {
                letters: 0,
                left: 3
            }
        );
        assert_eq!(orders(&broker).len(), 3);
    }

    #[test]
    fn a_topic_that_is_gone_is_named_before_anything_is_replayed() {
        let broker = MemoryBroker::new(Arc::new(ManualClock::default()));
        let spec = TopicSpec {
            name: LETTERS.to_owned(),
            partitions: 1,
            replication: -1,
            config: Default::default(),
        };
        broker.create_topics(&[spec]).unwrap();
        put_letters(&broker, &["copies"]);
        let error = replay_all(&broker).unwrap_err().to_string();
        assert_eq!(
            error,
            "letter 0-0 came from topic orders, which does not exist any more"
        );
    }

    #[test]
    fn nothing_is_replayed_that_would_count_twice() {
        let topology = crate::config::parse(SHOP, "shop.yaml").unwrap();
        let plan = plan(&topology).unwrap();
        let letter = |node: &str, topic: &str| Letter {
            id: LetterId {
                partition: 0,
                offset: 0,
            },
            written: Timestamp(0),
            group: "shop".to_owned(),
            node: node.to_owned(),
            reason: String::new(),
            message: String::new(),
            topic: topic.to_owned(),
            partition: None,
            offset: None,
            timestamp: Timestamp(0),
            origin: None,
            config: None,
            whole_length: None,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let found = |letter: &Letter| obstacle(letter, &topology, &plan);
        for node in ["orders", "paid", "copies", "per_shop", "lines"] {
            assert_eq!(found(&letter(node, "orders")), None, "{node}");
        }
        let stateful = |node: &str| Some(Obstacle::Stateful(node.to_owned()));
        assert_eq!(found(&letter("line_copies", "orders")), stateful("lines"));
        assert_eq!(found(&letter("sums", "orders")), stateful("per_shop"));
        let no_node = Some(Obstacle::NoNode("gone".to_owned()));
        assert_eq!(found(&letter("gone", "orders")), no_node);
        let changelog = "shop-per_shop-changelog";
        let internal = Some(Obstacle::Internal(changelog.to_owned()));
        assert_eq!(found(&letter("sums", changelog)), internal);
        assert_eq!(found(&letter("", "orders")), Some(Obstacle::Unknown));
        let cut = Letter {
            whole_length: Some(9),
            ..letter("paid", "orders")
        };
        assert_eq!(found(&cut), Some(Obstacle::Cut));
        let ingested = Letter {
            origin: Some("x line 7".to_owned()),
            ..letter("", "orders")
        };
        assert_eq!(found(&ingested), Some(Obstacle::NoEvent));
    }
}
