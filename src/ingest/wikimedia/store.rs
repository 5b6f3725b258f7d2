//! Keeps the position in the log, in the same transaction as the events it stands for.
//!
//! The topic `<name>-ingest-position` is compacted and holds, per connector name:
//!
//! | key | value |
//! | --- | --- |
//! | `<name>` | the position, as JSON |
//! | `<name>/ids/<topic>/<partition>/<slot>` | [`CHUNK`] identities of recent events, as bytes |
//!
//! The identities form a ring of chunks. Each commit writes the chunks that have changed: the
//! last one, as a rule. So a commit costs a few kilobytes, however many identities are remembered.
//!
//! A chunk: version (1 byte), numbering (u32), the number of its first identity (u64), then 16
//! bytes of identity and the offset (i64; the least one for "none") for each; little endian.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broker::{Broker, BrokerError, Isolation, Offset, TopicPartition, TopicSpec};
use crate::ingest::wikimedia::position::{Gap, GapKind, Position, PositionSettings, TopicPosition};
use crate::sql::GapRow;
use crate::time::Timestamp;

mod loader;

use loader::Loader;

/// How many identities a chunk holds.
pub const CHUNK: u64 = 128;

/// The kind of a report that says nothing about missing events.
const JUMP: &str = "jump";

const VERSION: u8 = 1;
const CHUNK_HEAD: usize = 1 + 4 + 8;
const CHUNK_ENTRY: usize = 16 + 8;

/// How long to wait for the end of the position topic.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// What stands in the position topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log cannot be read.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A record is not what this version writes.
    #[error("position of connector {name} in topic {topic}: {reason}")]
    Unreadable {
        /// The connector.
        name: String,
        /// The topic.
        topic: String,
        /// What is wrong.
        reason: String,
    },
}

/// What an earlier run has left.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The run that wrote it.
    pub session: String,
    /// The streams that it read.
    pub streams: Vec<String>,
    /// From when on topics that have not spoken are read.
    pub began: Timestamp,
    /// The topics' names were still to be learned.
    pub learn: bool,
    /// The last id as the server sent it.
    pub server_id: String,
    /// The topics with their identities.
    pub topics: BTreeMap<TopicPartition, TopicPosition>,
}

/// The names of one connector's own topics.
#[derive(Clone, Debug)]
pub struct OwnTopics {
    /// The connector's name.
    pub name: String,
    /// Holds the position.
    pub position: String,
    /// Holds the reports of missing offsets.
    pub gaps: String,
}

/// The position as JSON.
#[derive(Serialize, Deserialize)]
struct PositionRecord {
    version: u8,
    session: String,
    streams: Vec<String>,
    began: i64,
    learn: bool,
    /// The last id as the server sent it: the position of a server that follows the standard, and
    /// for people's eyes only with EventStreams.
    server_id: String,
    topics: Vec<TopicRecord>,
}

#[derive(Serialize, Deserialize)]
struct TopicRecord {
    topic: String,
    partition: i32,
    began: i64,
    time: Option<i64>,
    next: Option<Offset>,
    numbering: u32,
    last: Option<i64>,
    ids: u64,
}

/// A gap as JSON, with times that SQL and people can read.
#[derive(Serialize, Deserialize)]
struct GapRecord<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: i32,
    expected: Offset,
    found: Offset,
    missing: i64,
    after: Option<String>,
    before: Option<String>,
    noticed: String,
}

impl OwnTopics {
    /// Of the connector of that name.
    pub fn of(name: &str) -> OwnTopics {
        OwnTopics {
            name: name.to_owned(),
            position: format!("{name}-ingest-position"),
            gaps: format!("{name}-ingest-gaps"),
        }
    }

    /// How the topics are to be created.
    pub fn specs(&self, replication: i32) -> [TopicSpec; 2] {
        let compacted = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
            // A start reads the whole topic, so what is not compacted yet must stay small.
            ("segment.bytes", "16777216"),
        ];
        let spec = |name: &str, config: &[(&str, &str)]| TopicSpec {
            name: name.to_owned(),
            partitions: 1,
            replication,
            config: config
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        [spec(&self.position, &compacted), spec(&self.gaps, &[])]
    }
}

/// The records that bring the stored position up to date. `stored` says up to which number the
/// identities of each topic are in the log already.
pub fn records(
    own: &OwnTopics,
    position: &Position,
    session: &str,
    streams: &[String],
    server_id: &str,
    stored: &BTreeMap<TopicPartition, u64>,
) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    for (place, topic) in position.topics() {
        let from = stored.get(place).copied().unwrap_or(0);
        if from < topic.ids.inserted() {
            chunks(own, place, topic, from, &mut records);
        }
    }
    let topics = position.topics().iter().map(|(place, topic)| TopicRecord {
        topic: place.topic.to_string(),
        partition: place.partition,
        began: topic.began.millis(),
        time: topic.time.map(Timestamp::millis),
        next: topic.next,
        numbering: topic.numbering,
        last: topic.last.map(Timestamp::millis),
        ids: topic.ids.inserted(),
    });
    let record = PositionRecord {
        version: VERSION,
        session: session.to_owned(),
        streams: streams.to_owned(),
        began: position.began().millis(),
        learn: position.is_learning(),
        server_id: server_id.to_owned(),
        topics: topics.collect(),
    };
    let json = serde_json::to_vec(&record).expect("texts and numbers are always JSON");
    records.push((own.name.clone(), json));
    records
}

fn chunks(
    own: &OwnTopics,
    place: &TopicPartition,
    topic: &TopicPosition,
    from: u64,
    records: &mut Vec<(String, Vec<u8>)>,
) {
    // Two more than fit: the ring ends in the middle of a chunk, and the next one is begun.
    let slots = topic.ids.capacity() as u64 / CHUNK + 2;
    for chunk in from / CHUNK..=(topic.ids.inserted() - 1) / CHUNK {
        let first = (chunk * CHUNK).max(topic.ids.oldest());
        let count = ((chunk + 1) * CHUNK).saturating_sub(first) as usize;
        let mut bytes = Vec::with_capacity(CHUNK_HEAD + count * CHUNK_ENTRY);
        bytes.push(VERSION);
        bytes.extend(topic.numbering.to_le_bytes());
        bytes.extend(first.to_le_bytes());
        for (id, offset) in topic.ids.since(first, count) {
            bytes.extend(id.0);
            bytes.extend(offset.unwrap_or(Offset::MIN).to_le_bytes());
        }
        let slot = chunk % slots;
        let key = format!(
            "{}/ids/{}/{}/{slot}",
            own.name, place.topic, place.partition
        );
        records.push((key, bytes));
    }
}

/// The record that reports a gap, `noticed` at that wall-clock time.
pub fn gap_record(gap: &Gap, noticed: Timestamp) -> Vec<u8> {
    let record = GapRecord {
        kind: Cow::Borrowed(match gap.kind {
            GapKind::Gap => "gap",
            GapKind::Jump => JUMP,
        }),
        topic: Cow::Borrowed(&gap.topic),
        partition: gap.partition,
        expected: gap.expected,
        found: gap.found,
        missing: gap.missing,
        after: gap.after.map(|time| time.to_string()),
        before: gap.before.map(|time| time.to_string()),
        noticed: noticed.to_string(),
    };
    serde_json::to_vec(&record).expect("texts and numbers are always JSON")
}

/// The row of the table `tidemill_gaps` for a record that [`gap_record`] has made for the connector
/// of that name; none for anything else.
pub fn gap_row(name: &str, record: &[u8]) -> Option<GapRow> {
    let record: GapRecord<'_> = serde_json::from_slice(record).ok()?;
    let time = |text: &String| Timestamp::parse_rfc3339(text).ok();
    Some(GapRow {
        source: name.to_owned(),
        partition: TopicPartition::new(&*record.topic, record.partition),
        expected: record.expected,
        found: record.found,
        jump: record.kind == JUMP,
        missing: record.missing,
        after: record.after.as_ref().and_then(time),
        before: record.before.as_ref().and_then(time),
        detected_at: time(&record.noticed)?,
    })
}

/// Reads the stored position, up to the end of what is committed.
///
/// # Errors
/// When the log cannot be read, or holds what this version does not understand.
pub fn load(
    broker: &dyn Broker,
    own: &OwnTopics,
    settings: PositionSettings,
) -> Result<Option<Stored>, LoadError> {
    let place = TopicPartition::new(own.position.as_str(), 0);
    let places = std::slice::from_ref(&place);
    let start = broker
        .start_offsets(places)?
        .get(&place)
        .copied()
        .unwrap_or(0);
    let end = broker.end_offsets(places, Isolation::ReadCommitted)?;
    let end = end.get(&place).copied().unwrap_or(0);
    let mut reader = broker.reader(Isolation::ReadCommitted)?;
    reader.assign(&[(place.clone(), start)])?;
    let mut loader = Loader::new(own);
    let mut waited = Duration::ZERO;
    while reader.position(&place).unwrap_or(start) < end {
        let before = reader.position(&place);
        reader.poll(POLL, 10_000, &mut |record| {
            loader.take(record.key.unwrap_or_default(), record.value);
        })?;
        waited = if reader.position(&place) == before {
            waited + POLL
        } else {
            Duration::ZERO
        };
        if waited >= PATIENCE {
            let action = format!("read topic {} up to offset {end}", own.position);
            let reason = format!("nothing came for {} s", PATIENCE.as_secs());
            return Err(BrokerError::Retry { action, reason }.into());
        }
    }
    loader.finish(settings)
}

#[cfg(test)]
mod tests;
