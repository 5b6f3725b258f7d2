//! The topics of a global table being read: how far that has come, and what is still to be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use super::marker::{Anew, Extent, Reached, Seen, TableMarker};
use super::sheet::Sheet;
use crate::broker::{BrokerError, Fetched, Offset, Reader, TopicPartition};
use crate::processor::{NodeCounts, ProcessError};
use crate::time::Timestamp;

/// Records that are handed over by one poll.
const POLL_RECORDS: usize = 10_000;

/// Progress is logged this often.
const REPORT_EVERY_MS: i64 = 5_000;

/// The topics being read.
pub(super) struct Reading {
    reader: Box<dyn Reader>,
    /// How far that has come, a little ahead of the disk.
    positions: BTreeMap<TopicPartition, Reached>,
    /// The records that were the last ones when it began, and are to be there still.
    expected: BTreeMap<TopicPartition, Seen>,
    /// The offsets up to which partitions have to be read for the table to be whole.
    targets: BTreeMap<TopicPartition, Offset>,
    began: Timestamp,
    /// How many offsets there were to be read then.
    total: i64,
    shown: Timestamp,
    looked: Looked,
}

/// What the log had when it was last asked.
struct Looked {
    at: Timestamp,
    ends: BTreeMap<TopicPartition, Offset>,
}

/// What a poll has found.
#[derive(Default)]
pub(super) struct Polled {
    /// Whether there is something to be written.
    pub(super) has_moved: bool,
    pub(super) records: u64,
    /// Of their keys and values.
    pub(super) bytes: u64,
    pub(super) counts: NodeCounts,
    /// The table is told to stop.
    pub(super) failed: Option<ProcessError>,
    /// What has been read is not what the log has.
    pub(super) doubt: Option<Anew>,
}

impl Reading {
    /// Goes on from a marker that is in no doubt, up to the targets and beyond.
    ///
    /// # Errors
    /// When the log refuses.
    pub(super) fn begin(
        mut reader: Box<dyn Reader>,
        marker: &TableMarker,
        extents: &BTreeMap<TopicPartition, Extent>,
        targets: BTreeMap<TopicPartition, Offset>,
        now: Timestamp,
    ) -> Result<Reading, BrokerError> {
        let mut positions = BTreeMap::new();
        let mut expected = BTreeMap::new();
        let mut from = Vec::new();
        for (at, Extent { start, .. }) in extents {
            let reached = marker.reached(at).unwrap_or(Reached {
                next: *start,
                last: None,
            });
            let offset = reached.from(*start);
            let last = reached.last.filter(|last| last.offset == offset);
            expected.extend(last.map(|last| (at.clone(), last)));
            positions.insert(at.clone(), reached);
            from.push((at.clone(), offset));
        }
        reader.assign(&from)?;
        let total = left(&positions, &targets);
        Ok(Reading {
            reader,
            positions,
            expected,
            targets,
            began: now,
            total,
            shown: now,
            looked: Looked {
                at: now,
                ends: BTreeMap::new(),
            },
        })
    }

    /// Reads what there is onto the sheet; waits up to `timeout` for the first record.
    ///
    /// # Errors
    /// What the log says.
    pub(super) fn poll(
        &mut self,
        timeout: Duration,
        sheet: &mut Sheet<'_>,
    ) -> Result<Polled, BrokerError> {
        let Reading {
            reader,
            positions,
            expected,
            ..
        } = self;
        let mut polled = Polled::default();
        reader.poll(timeout, POLL_RECORDS, &mut |record| {
            if polled.failed.is_some() || polled.doubt.is_some() {
                return;
            }
            let at = TopicPartition::new(record.topic, record.partition);
            let seen = Seen::of(&record);
            // Where the last record was compacted away, a later one comes first.
            let last = expected
                .remove(&at)
                .filter(|last| last.offset == seen.offset);
            match last {
                Some(last) if last != seen => {
                    let offset = seen.offset;
                    polled.doubt = Some(Anew::Replaced { at, offset });
                }
                Some(_) => {}
                None => {
                    polled.failed = sheet.apply(&record, &mut polled.counts).err();
                    if polled.failed.is_none() {
                        polled.add(&record);
                        let reached = positions.get_mut(&at);
                        let reached = reached.expect("only its partitions are read");
                        reached.next = seen.offset + 1;
                        reached.last = Some(seen);
                    }
                }
            }
        })?;
        if polled.failed.is_none() && polled.doubt.is_none() {
            self.pass_markers(&mut polled);
        }
        Ok(polled)
    }

    /// Goes past what is no record, such as the markers of transactions.
    fn pass_markers(&mut self, polled: &mut Polled) {
        for (at, reached) in &mut self.positions {
            let Some(next) = self.reader.position(at) else {
                continue;
            };
            if next > reached.next {
                reached.next = next;
                polled.has_moved = true;
            }
            if self.expected.get(at).is_some_and(|last| last.offset < next) {
                // It was compacted away, and nothing has come since.
                self.expected.remove(at);
            }
        }
    }

    /// How far each partition has been read.
    pub(super) fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Reached)> {
        let positions = self.positions.iter();
        positions.map(|(at, reached)| (at, *reached))
    }

    /// How many offsets there are up to the targets.
    pub(super) fn left(&self) -> i64 {
        left(&self.positions, &self.targets)
    }

    /// Whether everything has been read that there was, and what had been read before is still there.
    pub(super) fn is_whole(&self) -> bool {
        self.left() == 0 && self.expected.is_empty()
    }

    /// Nobody waits for it any more.
    pub(super) fn forget_targets(&mut self) {
        self.targets.clear();
    }

    /// When the log was last asked about its partitions.
    pub(super) fn looked(&self) -> Timestamp {
        self.looked.at
    }

    /// Takes what the log has now; gives since when all has been read that there was, if that is known.
    pub(super) fn look(
        &mut self,
        ends: BTreeMap<TopicPartition, Offset>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let before = std::mem::replace(&mut self.looked, Looked { at: now, ends });
        let has_read = |looked: &Looked| {
            let is_known = !looked.ends.is_empty();
            is_known && left(&self.positions, &looked.ends) == 0
        };
        // While records keep coming, it is never through with what there is just now.
        let read = [&self.looked, &before];
        let read = read.into_iter().find(|looked| has_read(looked));
        read.map(|looked| looked.at)
    }

    /// For how long it has been reading, in milliseconds.
    pub(super) fn ms(&self, now: Timestamp) -> i64 {
        now.0 - self.began.0
    }

    /// Logs now and then how far it has come.
    pub(super) fn report(&mut self, table: &str, now: Timestamp) {
        if now.0 - self.shown.0 < REPORT_EVERY_MS {
            return;
        }
        self.shown = now;
        let (left, of) = (self.left(), self.total);
        let elapsed_s = self.ms(now) as f64 / 1_000.0;
        let left_s = (elapsed_s * left as f64 / (of - left).max(1) as f64).round();
        tracing::info!(table, left, of, left_s, "reading a global table");
    }
}

impl Polled {
    fn add(&mut self, record: &Fetched<'_>) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
        self.has_moved = true;
        self.records += 1;
        self.bytes += length(record.key) + length(record.value);
    }
}

/// How many offsets there are up to these ends.
fn left(
    positions: &BTreeMap<TopicPartition, Reached>,
    ends: &BTreeMap<TopicPartition, Offset>,
) -> i64 {
    let next = |at: &TopicPartition| positions.get(at).map_or(0, |reached| reached.next);
    let left = ends.iter().map(|(at, end)| (end - next(at)).max(0));
    left.sum()
}
