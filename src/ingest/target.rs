//! Where events go, and what of an event the log needs to know: its key, its time, its id.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::{
    Broker, BrokerError, LARGEST_BATCH, MAX_MESSAGE_BYTES, TIMESTAMP_AFTER_MAX, TopicSpec,
};
use crate::ingest::fields::{FieldTree, Found, Scalar, Unreadable};
use crate::ingest::metrics::DeadReason;
use crate::ingest::recent::EventId;
use crate::time::Timestamp;
use crate::topology::graph::{OnError, Source};
use crate::value::FieldPath;

/// What a batch has besides the key and value of its record, at most: dead letters have headers.
const BATCH_OVERHEAD: usize = 64 << 10;

/// A topic that events are written to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The topic's name.
    pub topic: String,
    /// The field whose text becomes the record's key; an event without it gets no key.
    pub key: Option<FieldPath>,
    /// The field by which repeats are recognised.
    pub id: Option<FieldPath>,
    /// The field that holds the event time, RFC 3339 or milliseconds; an event without it gets
    /// the time of its arrival.
    pub time: Option<FieldPath>,
    /// How many partitions the topic has.
    pub partitions: Partitions,
    /// How many copies; −1 is the broker's default.
    pub replication: i32,
    /// How long the topic keeps its records when it is created here.
    pub retention: TopicRetention,
    /// Where unreadable events go; none: they are only counted.
    pub dead_letters: Option<String>,
    /// Records above this size (key and value) are dead letters without being tried.
    pub max_record_bytes: usize,
}

/// How long a topic keeps its records. A broker counts from the record's time, which is the event's:
/// of events that are older than that, it deletes what nobody has read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRetention {
    /// As the broker is set up; usually seven days. For events that come as they happen.
    Broker,
    /// For ever. For recordings.
    Forever,
    /// So long.
    For(Duration),
}

impl TopicRetention {
    /// In milliseconds, as Kafka takes it; none where it is left to the broker.
    fn config(self) -> Option<String> {
        match self {
            TopicRetention::Broker => None,
            TopicRetention::Forever => Some("-1".to_owned()),
            TopicRetention::For(time) => Some(time.as_millis().to_string()),
        }
    }
}

/// How many partitions a topic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// So many when it is created; one that exists is used as it is.
    Usually(u32),
    /// So many; one that exists with another count is refused.
    Exactly(u32),
}

/// What the log needs to know of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts<'a> {
    /// The text of the key field.
    pub key: Option<Cow<'a, str>>,
    /// The event time; none when the field is absent or unreadable.
    pub time: Option<Timestamp>,
    /// What it is recognised by; none when the field is absent.
    pub id: Option<EventId>,
    /// The additional fields that the reader was made with, in their order.
    pub extra: Found<'a>,
}

/// Reads [`Facts`] out of JSON lines.
#[derive(Clone, Debug)]
pub struct LineReader {
    tree: FieldTree,
    key: Option<usize>,
    id: Option<usize>,
    time: Option<usize>,
    extra: usize,
}

impl Target {
    /// A topic with the fields of Wikimedia's events: key `wiki`, id `meta.id`, time `meta.dt`;
    /// dead letters go to `<topic>-dead-letters`.
    pub fn new(topic: &str) -> Target {
        Target {
            topic: topic.to_owned(),
            key: Some(FieldPath::new("wiki")),
            id: Some(FieldPath::new("meta.id")),
            time: Some(FieldPath::new("meta.dt")),
            partitions: Partitions::Usually(4),
            replication: -1,
            retention: TopicRetention::Broker,
            dead_letters: Some(format!("{topic}-dead-letters")),
            max_record_bytes: LARGEST_BATCH - BATCH_OVERHEAD,
        }
    }

    /// The topic (the first one) that a topology's source reads, with the fields that it declares.
    pub fn for_source(source: &Source) -> Target {
        let topic = source.topics.first().map_or("", String::as_str);
        let dead_letters = match source.on_error {
            OnError::Drop => None,
            OnError::DeadLetter | OnError::Stop => Some(format!("{topic}-dead-letters")),
        };
        Target {
            key: source.key.clone(),
            id: source.id.clone(),
            time: source.timestamp.clone(),
            dead_letters,
            ..Target::new(topic)
        }
    }

    /// Creates the topics that do not exist yet.
    ///
    /// # Errors
    /// When the log refuses; [`BrokerError::Fatal`] when the topic exists with another partition
    /// count than it must have.
    pub fn create_topics(&self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let spec = |name: &str, partitions| TopicSpec {
            name: name.to_owned(),
            partitions,
            replication: self.replication,
            config: self.topic_config(),
        };
        let (Partitions::Usually(count) | Partitions::Exactly(count)) = self.partitions;
        broker.create_topics(&[spec(&self.topic, count)])?;
        self.check_partitions(broker)?;
        let dead_letters = self.dead_letters.iter().map(|name| spec(name, 1));
        broker.create_topics(&dead_letters.collect::<Vec<_>>())
    }

    fn topic_config(&self) -> BTreeMap<String, String> {
        // Events may say any time.
        let after_max = (TIMESTAMP_AFTER_MAX.to_owned(), i64::MAX.to_string());
        let size = (MAX_MESSAGE_BYTES.to_owned(), LARGEST_BATCH.to_string());
        let retention = self.retention.config();
        let retention = retention.map(|ms| ("retention.ms".to_owned(), ms));
        retention.into_iter().chain([after_max, size]).collect()
    }

    /// A count that was asked for is also that of a topic which was there before, or which another
    /// process has created a moment ago.
    fn check_partitions(&self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let Partitions::Exactly(wanted) = self.partitions else {
            return Ok(());
        };
        let counts = broker.partition_counts(&[&self.topic])?;
        match counts.get(&self.topic) {
            Some(found) if *found != wanted => Err(BrokerError::fatal(
                format!("create topic {} with {wanted} partitions", self.topic),
                format!(
                    "it exists with {found}: leave --partitions away to use it as it is, or name \
                     another --topic; a count cannot be lowered, and raising it with Kafka's own \
                     tools sends the events of a key elsewhere than before"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// A reader of lines for this topic.
    pub fn line_reader(&self) -> LineReader {
        self.line_reader_with(&[])
    }

    /// The same, with additional fields.
    pub fn line_reader_with(&self, extra: &[FieldPath]) -> LineReader {
        let own = [&self.key, &self.id, &self.time];
        let mut index = 0;
        let [key, id, time] = own.map(|field| {
            field.as_ref().map(|_| {
                index += 1;
                index - 1
            })
        });
        let tree = FieldTree::new(own.into_iter().flatten().chain(extra));
        LineReader {
            tree,
            key,
            id,
            time,
            extra: index,
        }
    }
}

impl LineReader {
    /// Checks that the line is a JSON object and finds the facts in it.
    ///
    /// # Errors
    /// When it is not.
    pub fn read<'a>(&self, line: &'a [u8]) -> Result<Facts<'a>, Unreadable> {
        let mut found = self.tree.read(line)?;
        let extra = found.drain(self.extra..).collect();
        let mut take = |slot: Option<usize>| slot.and_then(|slot| found[slot].take());
        let (key, id, time) = (take(self.key), take(self.id), take(self.time));
        Ok(Facts {
            key: key.map(|key| match key {
                Scalar::Text(text) => text,
                other => Cow::Owned(other.text().into_owned()),
            }),
            time: time.as_ref().and_then(event_time),
            id: id.map(|id| EventId::of(&id.text())),
            extra,
        })
    }
}

/// How many events had none of the fields that a target asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    events: u64,
    key: u64,
    id: u64,
    time: u64,
}

impl Lacking {
    /// Counts an event.
    pub fn note(&mut self, facts: &Facts<'_>) {
        self.events += 1;
        self.key += u64::from(facts.key.is_none());
        self.id += u64::from(facts.id.is_none());
        self.time += u64::from(facts.time.is_none());
    }

    /// The fields that no event had, each with what follows from that: such a field has another name
    /// than was thought.
    pub fn never_seen<'t>(&self, target: &'t Target) -> Vec<(&'t FieldPath, &'static str)> {
        let fields = [
            (&target.key, self.key, "the records have no key (--key)"),
            (&target.id, self.id, "repeats are not recognised (--id)"),
            (
                &target.time,
                self.time,
                "the records have the time of writing (--time)",
            ),
        ];
        let never = |count: u64| count > 0 && count == self.events;
        let fields = fields.into_iter().filter(|(_, count, _)| never(*count));
        fields
            .filter_map(|(field, _, what)| Some((field.as_ref()?, what)))
            .collect()
    }

    /// Warns of those.
    pub fn warn(&self, target: &Target) {
        for (field, what) in self.never_seen(target) {
            let events = self.events;
            tracing::warn!(%field, events, "no event has the field: {what}");
        }
    }
}

/// RFC 3339 text, or milliseconds since the epoch.
fn event_time(field: &Scalar<'_>) -> Option<Timestamp> {
    match field {
        Scalar::Text(text) => Timestamp::parse_rfc3339(text).ok(),
        Scalar::Int(ms) => Some(Timestamp(*ms)),
        Scalar::Float(_) | Scalar::Bool(_) => None,
    }
}

impl From<&Unreadable> for DeadReason {
    fn from(error: &Unreadable) -> DeadReason {
        match error {
            Unreadable::NotUtf8 { .. } => DeadReason::NotUtf8,
            Unreadable::NotJson { .. } => DeadReason::NotJson,
            Unreadable::NotAnObject { .. } => DeadReason::NotAnObject,
            Unreadable::TooDeep { .. } => DeadReason::TooDeep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, key: Option<&str>, time: Option<i64>, id: Option<&str>) {
        let reader = Target::new("t").line_reader();
        let facts = reader.read(line.as_bytes()).expect(line);
        assert_eq!(facts.key.as_deref(), key, "{line}");
        assert_eq!(facts.time.map(Timestamp::millis), time, "{line}");
        assert_eq!(facts.id, id.map(EventId::of), "{line}");
    }

    #[test]
    fn a_field_that_no_event_has_is_told() {
        let target = Target {
            key: Some(FieldPath::new("wikki")),
            id: None,
            ..Target::new("t")
        };
        let reader = target.line_reader();
        let mut lacking = Lacking::default();
        assert_eq!(lacking.never_seen(&target), []);
        for line in [r#"{"wiki":"a","meta":{"dt":1}}"#, r#"{"wiki":"b"}"#] {
            lacking.note(&reader.read(line.as_bytes()).unwrap());
        }
        let never = lacking.never_seen(&target);
        let names: Vec<&str> = never.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(names, ["wikki"]);
    }

    #[test]
    fn key_time_and_id_are_read_tolerantly() {
        check(
            r#"{"meta":{"id":"a","dt":"2026-05-05T11:17:40.822Z"},"wiki":"enwiki"}"#,
            Some("enwiki"),
            Some(1_777_979_860_822),
            Some("a"),
        );
        // Microseconds (enrichment pipelines), the old suffix, and milliseconds as a number.
        check(
            r#"{"meta":{"dt":"2026-05-05T11:17:40.822793Z"}}"#,
            None,
            Some(1_777_979_860_822),
            None,
        );
        check(
            r#"{"meta":{"dt":"2018-03-07T16:16:17+00:00"}}"#,
            None,
            Some(1_520_439_377_000),
            None,
        );
        check(
            r#"{"meta":{"dt":1520439377000}}"#,
            None,
            Some(1_520_439_377_000),
            None,
        );
        // A canary event; a time that is none; a key that is a number.
        check(
            r#"{"$schema":"s","meta":{"id":"c","domain":"canary"}}"#,
            None,
            None,
            Some("c"),
        );
        check(
            r#"{"wiki":12,"meta":{"dt":"soon","id":7}}"#,
            Some("12"),
            None,
            Some("7"),
        );
        check(r#"{"wiki":null}"#, None, None, None);
    }

    #[test]
    fn a_target_without_fields_reads_none_and_additional_fields_come_in_their_order() {
        let target = Target {
            key: None,
            id: None,
            time: None,
            ..Target::new("t")
        };
        let reader = target.line_reader_with(&["meta.topic", "wiki"].map(FieldPath::new));
        let facts = reader
            .read(br#"{"wiki":"w","meta":{"topic":"t","id":"i"}}"#)
            .expect("JSON");
        assert_eq!((facts.key, facts.id, facts.time), (None, None, None));
        let texts: Vec<_> = facts
            .extra
            .iter()
            .flatten()
            .map(|field| field.text())
            .collect();
        assert_eq!(texts, ["t", "w"]);
    }

    #[test]
    fn a_source_says_how_its_topic_is_keyed_and_whether_dead_letters_are_kept() {
        let source = Source {
            topics: vec!["orders".to_owned()],
            format: Default::default(),
            timestamp: Some(FieldPath::new("at")),
            key: Some(FieldPath::new("customer")),
            id: None,
            fields: Vec::new(),
            null_values: Default::default(),
            max_ahead_ms: None,
            on_error: OnError::Drop,
        };
        let target = Target::for_source(&source);
        assert_eq!(
            (target.topic.as_str(), target.dead_letters.as_deref()),
            ("orders", None)
        );
        let facts = target
            .line_reader()
            .read(br#"{"customer":"c","at":5,"wiki":"w"}"#);
        let facts = facts.expect("JSON");
        assert_eq!(facts.key.as_deref(), Some("c"));
        assert_eq!(facts.time, Some(Timestamp(5)));
        let kept = Target::for_source(&Source {
            on_error: OnError::DeadLetter,
            ..source
        });
        assert_eq!(kept.dead_letters.as_deref(), Some("orders-dead-letters"));
    }
}
