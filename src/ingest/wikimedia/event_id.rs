//! The `id` of EventStreams' frames, and the `Last-Event-ID` that is sent back.
//!
//! Both are a JSON array with an entry per topic and partition. What the server sends is read for
//! the topics' names and for the time of the event it came with; it is never sent back as it is,
//! because that loses events (see [`super::position`]).

use serde::{Deserialize, Serialize};

use crate::broker::{Offset, TopicPartition};
use crate::time::Timestamp;

/// Where one topic and partition stands, as the server puts it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IdEntry {
    topic: String,
    partition: i32,
    timestamp: Option<i64>,
}

/// A place in a topic's log to read on from. An entry holds one of the two, never both: the
/// server ignores entries that hold both as soon as another one has a timestamp alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeAt {
    /// The first event with this log time or a later one.
    Time(Timestamp),
    /// Exactly this one.
    Offset(Offset),
}

impl IdEntry {
    /// Which topic and partition.
    pub fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }

    /// The log time of the last event that this connection has brought from there; none when it
    /// has brought none (then the server names an offset, −1 for "the end").
    pub fn time(&self) -> Option<Timestamp> {
        self.timestamp.map(|next| Timestamp(next).plus_millis(-1))
    }
}

/// Reads a frame's id; none when it is not such an array.
pub fn read_id(id: &str) -> Option<Vec<IdEntry>> {
    serde_json::from_str(id).ok()
}

/// The topic that the event with the id `now` came from, when the event does not say: the one
/// whose time has changed since the id before it, or the only one that has a time.
pub fn speaker(before: &[IdEntry], now: &[IdEntry]) -> Option<TopicPartition> {
    let time_before = |entry: &IdEntry| {
        let same = |old: &&IdEntry| old.topic == entry.topic && old.partition == entry.partition;
        before.iter().find(same).and_then(|old| old.timestamp)
    };
    let with_time = || now.iter().filter(|entry| entry.timestamp.is_some());
    let changed = only(with_time().filter(|entry| entry.timestamp != time_before(entry)));
    changed
        .or_else(|| only(with_time()))
        .map(IdEntry::partition)
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next();
    if items.next().is_some() { None } else { first }
}

/// The text of a `Last-Event-ID` header.
pub fn last_event_id<'a>(entries: impl Iterator<Item = (&'a TopicPartition, ResumeAt)>) -> String {
    #[derive(Serialize)]
    struct Entry<'a> {
        topic: &'a str,
        partition: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<i64>,
    }
    let entries: Vec<Entry<'_>> = entries
        .map(|(place, at)| {
            let (timestamp, offset) = match at {
                ResumeAt::Time(time) => (Some(time.millis()), None),
                ResumeAt::Offset(offset) => (None, Some(offset)),
            };
            Entry {
                topic: &place.topic,
                partition: place.partition,
                timestamp,
                offset,
            }
        })
        .collect();
    serde_json::to_string(&entries).expect("texts and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Vec<IdEntry> {
        read_id(text).expect("an id")
    }

    #[test]
    fn an_id_of_the_real_stream_tells_the_topics_and_the_time_of_the_event() {
        let entries = id(
            r#"[{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":1744183398001},
                {"topic":"codfw.mediawiki.recentchange","partition":0,"offset":-1}]"#,
        );
        let read: Vec<_> = entries
            .iter()
            .map(|e| (e.partition().to_string(), e.time()))
            .collect();
        let expected = [
            (
                "eqiad.mediawiki.recentchange-0".to_owned(),
                Some(Timestamp(1_744_183_398_000)),
            ),
            ("codfw.mediawiki.recentchange-0".to_owned(), None),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_not_such_an_array_is_no_id() {
        for text in [
            "",
            "7",
            "{}",
            r#"[{"topic":"t"}]"#,
            "[7]",
            r#"[{"topic":1,"partition":0}]"#,
        ] {
            assert_eq!(read_id(text), None, "{text}");
        }
    }

    #[test]
    fn the_speaker_is_the_topic_whose_time_has_changed() {
        let both = |a: &str, b: &str| {
            id(&format!(
                r#"[{{"topic":"a","partition":0,{a}}},{{"topic":"b","partition":0,{b}}}]"#
            ))
        };
        let check = |before: &[IdEntry], now: &[IdEntry], expected: Option<&str>| {
            let found = speaker(before, now).map(|place| place.topic.to_string());
            assert_eq!(found.as_deref(), expected, "{before:?} {now:?}");
        };
        let first = both(r#""timestamp":1"#, r#""offset":-1"#);
        let second = both(r#""timestamp":1"#, r#""timestamp":5"#);
        check(&[], &first, Some("a"));
        check(&first, &second, Some("b"));
        check(&first, &first, Some("a"));
        check(&second, &second, None);
        check(&[], &second, None);
        check(&[], &[], None);
    }

    #[test]
    fn an_entry_that_is_sent_back_holds_a_time_or_an_offset_but_never_both() {
        let (a, b) = (TopicPartition::new("a", 0), TopicPartition::new("b", 1));
        let entries = [
            (&a, ResumeAt::Time(Timestamp(12))),
            (&b, ResumeAt::Offset(34)),
        ];
        assert_eq!(
            last_event_id(entries.into_iter()),
            r#"[{"topic":"a","partition":0,"timestamp":12},{"topic":"b","partition":1,"offset":34}]"#
        );
    }
}
