//! Records that could not be handled: how they lie in their topic, how they are read there, and how they are
//! given to the topology again.
//!
//! ```text
//!   task, sink, ingestion ──▶ <app>-dead-letters ──▶ read ──▶ list, show
//!                                                     │
//!   source topic ◀── the record, marked for the node that has failed ── replay ──▶ <letters>-replayed
//! ```
//!
//! A letter is the record as it came: key, value, headers and time. Whatever else is known stands in headers
//! that begin with `tidemill.`; those of the record that do so were put there when it was replayed, and are
//! not kept.

mod read;
mod replay;

pub use read::read;
pub use replay::{Obstacle, Replayed, ReplayedBefore, obstacle, replay, replayed_before};

use crate::broker::{Offset, OwnedRecord, Partition};
use crate::time::Timestamp;

/// What the names of all headers of Tidemill begin with.
pub const PREFIX: &str = "tidemill.";
/// The consumer group that could not handle the record: each one judges for itself.
pub const GROUP: &str = "tidemill.group";
/// The node that could not.
pub const NODE: &str = "tidemill.node";
/// What kind of trouble: a word of `docs/OPERATIONS.md`.
pub const REASON: &str = "tidemill.reason";
/// What exactly.
pub const MESSAGE: &str = "tidemill.message";
/// The topic that the record came from; at ingestion, the one that it was meant for.
pub const TOPIC: &str = "tidemill.topic";
/// Its partition there.
pub const PARTITION: &str = "tidemill.partition";
/// Its offset there.
pub const OFFSET: &str = "tidemill.offset";
/// Its timestamp there, in milliseconds: that of the letter itself is not ahead of the clock.
pub const TIMESTAMP: &str = "tidemill.timestamp_ms";
/// At ingestion: where the event came from (file and line, or the server's id).
pub const ORIGIN: &str = "tidemill.origin";
/// Of a letter that holds only the beginning of its value: the whole length in bytes.
pub const LENGTH: &str = "tidemill.length";
/// Which topology it was: a number of what it says, in hexadecimal.
pub const CONFIG: &str = "tidemill.config";

/// What the names of those headers begin with that a replayed record has.
pub const REPLAY_PREFIX: &str = "tidemill.replay.";
/// On a record that is given to a topology again: for which consumer group.
pub const REPLAY_GROUP: &str = "tidemill.replay.group";
/// For which node: what is behind and in front of it sees the record, nothing else.
pub const REPLAY_NODE: &str = "tidemill.replay.node";
/// Of which letter, as `partition-offset`.
pub const REPLAY_LETTER: &str = "tidemill.replay.letter";

/// Where a letter lies in its topic. Written `0-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

/// A record that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it lies.
    pub id: LetterId,
    /// When it was written, or the time of the record, if that is earlier.
    pub written: Timestamp,
    /// See [`GROUP`]; empty at ingestion.
    pub group: String,
    /// See [`NODE`]; empty at ingestion.
    pub node: String,
    /// See [`REASON`].
    pub reason: String,
    /// See [`MESSAGE`].
    pub message: String,
    /// See [`TOPIC`].
    pub topic: String,
    /// See [`PARTITION`].
    pub partition: Option<Partition>,
    /// See [`OFFSET`].
    pub offset: Option<Offset>,
    /// See [`TIMESTAMP`].
    pub timestamp: Timestamp,
    /// See [`ORIGIN`].
    pub origin: Option<String>,
    /// See [`CONFIG`].
    pub config: Option<String>,
    /// See [`LENGTH`]: how long the value was that this is the beginning of.
    pub whole_length: Option<usize>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// The record's headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Letter {
    /// Takes a record of a dead-letter topic apart. What is not known is empty.
    pub fn of(record: OwnedRecord) -> Letter {
        let (own, headers): (Vec<_>, Vec<_>) = record
            .headers
            .into_iter()
            .partition(|(name, _)| name.starts_with(PREFIX));
        let text = |name: &str| {
            let found = own.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let length = record.value.as_ref().map_or(0, Vec::len);
        let number = |name: &str| text(name)?.parse::<i64>().ok();
        Letter {
            id: LetterId {
                partition: record.partition,
                offset: record.offset,
            },
            written: record.timestamp,
            group: text(GROUP).unwrap_or_default(),
            node: text(NODE).unwrap_or_default(),
            reason: text(REASON).unwrap_or_default(),
            message: text(MESSAGE).unwrap_or_default(),
            topic: text(TOPIC).unwrap_or_default(),
            partition: number(PARTITION).and_then(|number| number.try_into().ok()),
            offset: number(OFFSET),
            timestamp: number(TIMESTAMP).map_or(record.timestamp, Timestamp),
            origin: text(ORIGIN),
            config: text(CONFIG),
            whole_length: number(LENGTH)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|whole| *whole > length),
            key: record.key,
            value: record.value,
            headers,
        }
    }
}

impl std::fmt::Display for LetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl std::str::FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<LetterId, String> {
        let parsed = text.split_once('-').and_then(|(partition, offset)| {
            Some(LetterId {
                partition: partition.parse().ok()?,
                offset: offset.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| format!("expected partition-offset, such as 0-17, found {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: &[(&str, &str)], value: &str) -> OwnedRecord {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        OwnedRecord {
            topic: "a-dead-letters".into(),
            partition: 0,
            offset: 17,
            timestamp: Timestamp(5),
            key: Some(b"k".to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: headers.collect(),
        }
    }

    #[test]
    fn a_letter_is_the_record_and_what_is_known_of_it() {
        let letter = Letter::of(record(
            &[
                ("own", "1"),
                (GROUP, "a"),
                (NODE, "n"),
                (REASON, "late"),
                (MESSAGE, "too late"),
                (TOPIC, "t"),
                (PARTITION, "3"),
                (OFFSET, "9"),
                (TIMESTAMP, "4"),
                (LENGTH, "700"),
                (REPLAY_NODE, "n"),
            ],
            "half",
        ));
        assert_eq!(letter.id.to_string(), "0-17");
        assert_eq!("0-17".parse(), Ok(letter.id));
        assert_eq!(
            (&*letter.group, &*letter.node, &*letter.reason),
            ("a", "n", "late")
        );
        assert_eq!(
            (&*letter.topic, letter.partition, letter.offset),
            ("t", Some(3), Some(9))
        );
        assert_eq!(letter.timestamp, Timestamp(4));
        assert_eq!(letter.whole_length, Some(700));
        assert_eq!(letter.headers, [("own".to_owned(), b"1".to_vec())]);
    }

    #[test]
    fn what_anybody_writes_into_the_topic_is_a_letter_of_which_little_is_known() {
        let letter = Letter::of(record(&[(OFFSET, "many"), (LENGTH, "4")], "whole"));
        assert_eq!((letter.offset, letter.whole_length), (None, None));
        assert_eq!((&*letter.reason, letter.timestamp), ("", Timestamp(5)));
        assert!("17".parse::<LetterId>().is_err());
    }
}
