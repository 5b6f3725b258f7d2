//! What a global table on disk has of its topics, and whether it can go on from there.
//!
//! The table is a copy of its topics: whenever there is doubt whether it is one, it is read anew.

use std::collections::BTreeMap;
use std::fmt;

use crate::broker::{Fetched, Offset, TopicPartition};
use crate::codec::{self, Decode, DecodeError, Encode};
use crate::state::StoreId;
use crate::time::Timestamp;
use crate::topology::duration::Millis;
#[cfg(doc)]
use crate::topology::plan::GlobalTablePlan;

/// A table whose topics were not read for this long is read anew. A compacted topic forgets deletions some
/// time after they were written: `delete.retention.ms`, a day unless it is set.
const MAX_AWAY_MS: i64 = 12 * 3_600 * 1_000;

/// What a table on disk has of its topics. Written with each batch of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct TableMarker {
    slot: u8,
    /// What its rows have been made by, see [`GlobalTablePlan::content`].
    content: u64,
    /// How far each partition has been read.
    positions: BTreeMap<(String, i32), Reached>,
    /// When everything had been read that there was, in milliseconds of the wall clock.
    read_at_ms: i64,
}

/// How far a partition has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Reached {
    /// The offset of the next record.
    pub(super) next: Offset,
    /// The last record.
    pub(super) last: Option<Seen>,
}

/// A record that was read, so that it can be told from another one at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Seen {
    /// Its offset.
    pub(super) offset: Offset,
    hash: u64,
}

/// The part of a partition that the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first offset.
    pub(super) start: Offset,
    /// The one behind the last record, of open transactions too.
    pub(super) end: Offset,
}

/// Why a table is read anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Anew {
    /// What is on disk cannot be read.
    Damaged,
    /// Its records were read as those of another format or schema.
    Content,
    /// It has the rows of a topic, or of a partition, that is not read.
    Foreign { topic: String, partition: i32 },
    /// Its topics were not read for too long.
    Away { ms: i64 },
    /// The log has deleted what was not read yet.
    Behind {
        at: TopicPartition,
        next: Offset,
        start: Offset,
    },
    /// The log ends before what has been read.
    Beyond {
        at: TopicPartition,
        next: Offset,
        end: Offset,
    },
    /// Another record is in the place of the last one that was read.
    Replaced { at: TopicPartition, offset: Offset },
}

impl TableMarker {
    const FORMAT: u8 = 1;

    /// Before anything has been read into a slot.
    pub(super) fn new(slot: StoreId, content: u64, now: Timestamp) -> TableMarker {
        TableMarker {
            slot: u8::try_from(slot).expect("there are two slots"),
            content,
            positions: BTreeMap::new(),
            read_at_ms: now.0,
        }
    }

    /// Where the rows are.
    pub(super) fn slot(&self) -> StoreId {
        self.slot.into()
    }

    /// How far a partition has been read, if it has.
    pub(super) fn reached(&self, at: &TopicPartition) -> Option<Reached> {
        let key = (at.topic.to_string(), at.partition);
        self.positions.get(&key).copied()
    }

    /// The same when partitions have been read so far.
    pub(super) fn reached_by<'p>(
        &self,
        positions: impl Iterator<Item = (&'p TopicPartition, Reached)>,
    ) -> TableMarker {
        TableMarker {
            positions: positions
                .map(|(at, reached)| ((at.topic.to_string(), at.partition), reached))
                .collect(),
            ..*self
        }
    }

    /// The same when everything had been read at that time that there was.
    #[must_use]
    pub(super) fn read_at(self, time: Timestamp) -> TableMarker {
        TableMarker {
            read_at_ms: time.0,
            ..self
        }
    }

    /// Why the table cannot go on from here; nothing if it can. `content` is what rows are made by now,
    /// `extents` has all partitions of its topics.
    pub(super) fn doubt(
        &self,
        content: u64,
        extents: &BTreeMap<TopicPartition, Extent>,
        now: Timestamp,
    ) -> Option<Anew> {
        if self.content != content {
            return Some(Anew::Content);
        }
        let ms = now.0 - self.read_at_ms;
        if !self.positions.is_empty() && ms > MAX_AWAY_MS {
            return Some(Anew::Away { ms });
        }
        let mut positions = self.positions.iter();
        positions.find_map(|((topic, partition), reached)| {
            let (at, next) = (
                TopicPartition::new(topic.as_str(), *partition),
                reached.next,
            );
            match extents.get(&at) {
                None => Some(Anew::Foreign {
                    topic: topic.clone(),
                    partition: *partition,
                }),
                Some(Extent { start, .. }) if next < *start => {
                    let start = *start;
                    Some(Anew::Behind { at, next, start })
                }
                Some(Extent { end, .. }) if next > *end => {
                    let end = *end;
                    Some(Anew::Beyond { at, next, end })
                }
                Some(_) => None,
            }
        })
    }

    /// Appends the marker.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        codec::encode_version_into(TableMarker::FORMAT, self, out);
    }

    /// Reads what [`TableMarker::encode_into`] wrote.
    ///
    /// # Errors
    /// When it is damaged, or another version of Tidemill wrote it.
    pub(super) fn decode(bytes: &[u8]) -> Result<TableMarker, DecodeError> {
        codec::decode_version(TableMarker::FORMAT, bytes)
    }
}

impl Reached {
    /// From where to read on: from the last record, to see whether it is still there, if that can be.
    pub(super) fn from(&self, start: Offset) -> Offset {
        match self.last {
            Some(last) if last.offset >= start => last.offset,
            _ => self.next.max(start),
        }
    }
}

impl Seen {
    pub(super) fn of(record: &Fetched<'_>) -> Seen {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(&record.timestamp.0.to_le_bytes());
        for part in [record.key, record.value] {
            let length = part.map_or(u64::MAX, |bytes| bytes.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(part.unwrap_or_default());
        }
        Seen {
            offset: record.offset,
            hash: hasher.digest(),
        }
    }
}

impl fmt::Display for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Anew::Damaged => f.write_str("what is on disk is damaged"),
            Anew::Content => f.write_str("its topics have another format or schema than before"),
            Anew::Foreign { topic, partition } => {
                write!(
                    f,
                    "it has rows of {topic}-{partition}, which is not one of its partitions"
                )
            }
            Anew::Away { ms } => write!(
                f,
                "its topics were not read for {}, and may have forgotten deletions since",
                Millis(ms - ms % 60_000)
            ),
            Anew::Behind { at, next, start } => write!(
                f,
                "the records of {at} from {next} to {start} were deleted before they were read"
            ),
            Anew::Beyond { at, next, end } => write!(
                f,
                "it has {at} up to {next}, but that ends at {end}: the topic was deleted and created \
                 again"
            ),
            Anew::Replaced { at, offset } => write!(
                f,
                "the record at {offset} of {at} is another one: the topic was deleted and created again"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// The table has `t-0` up to 10 and has read everything at hour 0. What the log has of `t`, by
    /// partition.
    #[track_caller]
    fn check(log: &[(Offset, Offset)], hour: i64, expected: Option<&str>) {
        let mut marker = TableMarker::new(0, 4, Timestamp(0));
        let reached = Reached {
            next: 10,
            last: None,
        };
        marker.positions.insert(("t".to_owned(), 0), reached);
        let extents = log.iter().zip(0..).map(|((start, end), partition)| {
            let (start, end) = (*start, *end);
            (TopicPartition::new("t", partition), Extent { start, end })
        });
        let doubt = marker.doubt(4, &extents.collect(), Timestamp(hour * HOUR_MS));
        assert_eq!(doubt.map(|doubt| doubt.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_table_goes_on_unless_there_is_doubt() {
        check(&[(0, 10)], 1, None);
        check(&[(10, 10)], 1, None);
        check(&[(3, 90), (0, 7)], 12, None);
        check(
            &[(11, 90)],
            1,
            Some("the records of t-0 from 10 to 11 were deleted before they were read"),
        );
        check(
            &[(0, 9)],
            1,
            Some(
                "it has t-0 up to 10, but that ends at 9: the topic was deleted and created again",
            ),
        );
        check(
            &[],
            1,
            Some("it has rows of t-0, which is not one of its partitions"),
        );
        check(
            &[(0, 10)],
            13,
            Some("its topics were not read for 13h, and may have forgotten deletions since"),
        );
    }

    #[test]
    fn a_table_that_has_nothing_yet_is_not_in_doubt() {
        let marker = TableMarker::new(1, 4, Timestamp(0));
        let extents = BTreeMap::from([(TopicPartition::new("t", 0), Extent { start: 5, end: 9 })]);
        assert_eq!(marker.doubt(4, &extents, Timestamp(99 * HOUR_MS)), None);
    }

    #[test]
    fn rows_of_another_schema_are_of_no_use() {
        let marker = TableMarker::new(0, 4, Timestamp(0));
        let doubt = marker.doubt(5, &BTreeMap::new(), Timestamp(0));
        assert_eq!(doubt, Some(Anew::Content));
    }

    #[test]
    fn reading_begins_with_the_last_record_if_it_can_still_be_there() {
        let reached = |last: Option<Offset>| Reached {
            next: 10,
            last: last.map(|offset| Seen { offset, hash: 0 }),
        };
        assert_eq!(reached(Some(8)).from(0), 8);
        assert_eq!(reached(Some(8)).from(9), 10);
        assert_eq!(reached(None).from(0), 10);
    }

    #[test]
    fn bytes_of_the_format_stay_as_they_are() {
        let mut marker = TableMarker::new(1, 4, Timestamp(3));
        let last = Some(Seen { offset: 6, hash: 9 });
        marker
            .positions
            .insert(("t".to_owned(), 2), Reached { next: 7, last });
        let mut bytes = Vec::new();
        marker.encode_into(&mut bytes);
        assert_eq!(bytes, [1, 1, 4, 1, 1, b't', 4, 14, 1, 12, 9, 6]);
        assert_eq!(TableMarker::decode(&bytes).unwrap(), marker);
    }
}
