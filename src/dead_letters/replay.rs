//! Gives records to their topology again, each once.
//!
//! A record goes back to the topic that it came from, marked with the group and node that could not handle it;
//! everyone else passes it over, so what has counted it is not given it twice. The same transaction notes the
//! failure (which record, in which node) in `<letters>-replayed`, a compacted topic: whatever happens, and however
//! often it is tried, none is replayed twice, however many letters it has. Two that replay the same topic fence each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use super::read::{read, read_records};
use super::{Letter, REPLAY_GROUP, REPLAY_LETTER, REPLAY_NODE};
use crate::broker::{Broker, BrokerError, Outgoing, Producer, ProducerOptions, TopicSpec};
use crate::topology::graph::{NodeKind, NodeName, Topology};
use crate::topology::plan::Plan;

/// So many letters are replayed in one transaction, and not many more bytes than that.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4 << 20;

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

/// What has been done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Letters that were replayed.
    pub letters: usize,
    /// Letters that were replayed before, or for which there was an [`Obstacle`].
    pub left: usize,
    /// Topics that letters came from and that are not there any more; those letters are left as well.
    pub missing_topics: BTreeSet<String>,
}

/// Which failures have been replayed. A record that fails once may have several letters: a process that dies
/// before it commits comes to it again.
pub struct ReplayedBefore(BTreeSet<String>);

impl ReplayedBefore {
    /// Whether that of this letter is among them.
    pub fn has(&self, letter: &Letter) -> bool {
        self.0.contains(&failure_of(letter))
    }
}

/// What has failed: a record, in a node. Topics may be made anew, so its time belongs to it.
fn failure_of(letter: &Letter) -> String {
    let Letter {
        group, node, topic, ..
    } = letter;
    let (partition, offset) = (letter.partition.unwrap_or(-1), letter.offset.unwrap_or(-1));
    let time = letter.timestamp.0;
    format!("{group} {node} {topic} {partition} {offset} {time}")
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

/// What of the letters of a topic has been replayed.
///
/// # Errors
/// When the log cannot be read.
pub fn replayed_before(broker: &dyn Broker, letters: &str) -> Result<ReplayedBefore, BrokerError> {
    let mut done = BTreeSet::new();
    read_records(broker, &journal(letters), &mut |record| {
        let key = record.key.and_then(|key| String::from_utf8(key).ok());
        done.extend(key);
        ControlFlow::Continue(())
    })?;
    Ok(ReplayedBefore(done))
}

fn journal(letters: &str) -> String {
    format!("{letters}-replayed")
}

/// Gives those letters of a topic to the topology again that are wanted and that nothing prevents, and whose
/// failure has not been replayed before.
///
/// # Errors
/// When the log refuses. What has been replayed until then is noted.
pub fn replay(
    broker: &dyn Broker,
    letters: &str,
    wants: &mut dyn FnMut(&Letter) -> bool,
    prevents: &dyn Fn(&Letter) -> Option<Obstacle>,
) -> Result<Replayed, BrokerError> {
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
    let mut replayer = Replayer {
        broker,
        producer: &mut *producer,
        journal: journal(letters),
        done: replayed_before(broker, letters)?,
        topics: BTreeMap::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        report: Replayed::default(),
    };
    let mut taken = Ok(());
    read(broker, letters, &mut |letter| {
        if !wants(&letter) {
            return ControlFlow::Continue(());
        }
        taken = match prevents(&letter) {
            Some(_) => {
                replayer.report.left += 1;
                Ok(())
            }
            None => replayer.take(letter),
        };
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    taken?;
    replayer.write()?;
    Ok(replayer.report)
}

/// Replays letters as they come, so that few are in memory.
struct Replayer<'r> {
    broker: &'r dyn Broker,
    producer: &'r mut dyn Producer,
    journal: String,
    done: ReplayedBefore,
    /// Which topics are there.
    topics: BTreeMap<String, bool>,
    batch: Vec<Letter>,
    batch_bytes: usize,
    report: Replayed,
}

impl Replayer<'_> {
    fn take(&mut self, letter: Letter) -> Result<(), BrokerError> {
        if !self.is_there(&letter.topic)? {
            self.report.left += 1;
            self.report.missing_topics.insert(letter.topic);
            return Ok(());
        }
        if !self.done.0.insert(failure_of(&letter)) {
            self.report.left += 1;
            return Ok(());
        }
        self.batch_bytes += letter.value.as_ref().map_or(0, Vec::len);
        self.batch.push(letter);
        match self.batch.len() < BATCH && self.batch_bytes < BATCH_BYTES {
            true => Ok(()),
            false => self.write(),
        }
    }

    fn is_there(&mut self, topic: &str) -> Result<bool, BrokerError> {
        if let Some(is_there) = self.topics.get(topic) {
            return Ok(*is_there);
        }
        let is_there = self.broker.partition_counts(&[topic])?.contains_key(topic);
        self.topics.insert(topic.to_owned(), is_there);
        Ok(is_there)
    }

    /// Writes what has been taken, in one transaction.
    fn write(&mut self) -> Result<(), BrokerError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.producer.begin()?;
        for letter in &self.batch {
            send(self.producer, letter, &self.journal)?;
        }
        commit(self.producer)?;
        self.report.letters += self.batch.len();
        self.batch.clear();
        self.batch_bytes = 0;
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
        key: Some(failure_of(letter).as_bytes()),
        value: Some(id.as_bytes()),
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
    use crate::dead_letters::{GROUP, LetterId, NODE, OFFSET, PARTITION, TOPIC};
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

    /// Letters of these nodes, of records with values `0`, `1` and so on, at these offsets.
    fn put_letters(broker: &MemoryBroker, nodes: &[&str]) {
        let letters = nodes.iter().zip(0..);
        letters.for_each(|(node, number)| put_letter(broker, node, "orders", number));
    }

    fn put_letter(broker: &MemoryBroker, node: &str, topic: &str, number: i64) {
        let mut producer = broker.producer(&ProducerOptions::default()).unwrap();
        let value = number.to_string();
        let headers: [(&str, &[u8]); 6] = [
            (GROUP, b"shop"),
            (NODE, node.as_bytes()),
            (TOPIC, topic.as_bytes()),
            (PARTITION, b"1"),
            (OFFSET, value.as_bytes()),
            ("own", b"kept"),
        ];
        let letter = Outgoing {
            topic: LETTERS,
            partition: Some(0),
            timestamp: Timestamp(5),
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            headers: &headers,
        };
        producer.send(letter).unwrap();
        producer.flush().unwrap();
    }

    fn orders(broker: &MemoryBroker) -> Vec<OwnedRecord> {
        broker.records("orders", 1, Isolation::ReadCommitted)
    }

    fn report(letters: usize, left: usize) -> Replayed {
        Replayed {
            letters,
            left,
            ..Replayed::default()
        }
    }

    fn replay_all(broker: &MemoryBroker) -> Result<Replayed, BrokerError> {
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
        assert_eq!(only_copies.unwrap(), report(1, 0));
        assert_eq!(replay_all(&broker).unwrap(), report(1, 1));
        assert_eq!(replay_all(&broker).unwrap(), report(0, 2));
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
        assert_eq!(replay_all(&broker).unwrap(), report(0, 3));
        assert_eq!(orders(&broker).len(), 3);
    }

    #[test]
    fn letters_of_a_topic_that_is_gone_are_left_and_it_is_named() {
        let broker = log();
        put_letter(&broker, "copies", "gone", 0);
        put_letters(&broker, &["copies"]);
        let replayed = replay_all(&broker).unwrap();
        assert_eq!((replayed.letters, replayed.left), (1, 1));
        assert_eq!(replayed.missing_topics, ["gone".to_owned()].into());
        assert_eq!(orders(&broker).len(), 1);
    }

    #[test]
    fn a_failure_with_several_letters_is_replayed_once() {
        let broker = log();
        for number in [7, 7, 8] {
            put_letter(&broker, "copies", "orders", number);
        }
        assert_eq!(replay_all(&broker).unwrap(), report(2, 1));
        // The topic of the letters is made anew, and its offsets begin again: these are others.
        broker.delete_topics(&[LETTERS]).unwrap();
        let spec = TopicSpec {
            name: LETTERS.to_owned(),
            partitions: 2,
            replication: -1,
            config: Default::default(),
        };
        broker.create_topics(&[spec]).unwrap();
        for number in [8, 9] {
            put_letter(&broker, "copies", "orders", number);
        }
        assert_eq!(replay_all(&broker).unwrap(), report(1, 1));
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
