//! One partition: records, control markers, and who may see what.
//!
//! Offsets are given out one by one, to records and to the marker that ends a transaction alike.
//! What a committed read sees is decided here alone:
//!
//! ```text
//!   start                          last stable offset              end (high watermark)
//!   │                              │                               │
//!   r  r  A1 r  B1 [commit B] ...  A2  r  r [ ... ] A3 ...         ·
//!   ◀── committed read sees r, B1 ─▶◀── not yet: A is still open ─▶
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::broker::{Isolation, Offset, OwnedRecord};

/// Names one transaction among all that the log has ever seen.
pub(super) type TransactionNumber = u64;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    Aborted,
}

/// A position that is not between the start and the end of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfRange;

/// What a read leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// Where the next record, if there is one, will be found.
    pub position: Offset,
    /// Nothing more is visible at the moment.
    pub at_end: bool,
}

/// A partition's log.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    /// By ascending offset; deleted and compacted entries leave holes.
    entries: Vec<Entry>,
    start: Offset,
    end: Offset,
    /// The first offset of each transaction that is open here.
    open: BTreeMap<TransactionNumber, Offset>,
    aborted: HashSet<TransactionNumber>,
}

#[derive(Debug)]
struct Entry {
    offset: Offset,
    transaction: Option<TransactionNumber>,
    /// None: a control marker.
    record: Option<Arc<OwnedRecord>>,
}

impl PartitionLog {
    /// The first offset that is still there.
    pub(super) fn start(&self) -> Offset {
        self.start
    }

    /// The offset behind the last entry that is visible at this isolation.
    pub(super) fn end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.end,
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Everything before this offset is decided: no transaction that is still open wrote there.
    fn last_stable_offset(&self) -> Offset {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Adds a record, whose offset is set here.
    pub(super) fn append(
        &mut self,
        mut record: OwnedRecord,
        transaction: Option<TransactionNumber>,
    ) -> Offset {
        let offset = self.next_offset();
        record.offset = offset;
        if let Some(number) = transaction {
            self.open.entry(number).or_insert(offset);
        }
        self.entries.push(Entry {
            offset,
            transaction,
            record: Some(Arc::new(record)),
        });
        offset
    }

    /// Ends a transaction that wrote here: its marker takes an offset.
    pub(super) fn end_transaction(&mut self, number: TransactionNumber, outcome: Outcome) {
        let was_open = self.open.remove(&number).is_some();
        assert!(
            was_open,
            "only partitions that a transaction wrote to get its marker"
        );
        if outcome == Outcome::Aborted {
            self.aborted.insert(number);
        }
        let offset = self.next_offset();
        self.entries.push(Entry {
            offset,
            transaction: Some(number),
            record: None,
        });
    }

    fn next_offset(&mut self) -> Offset {
        self.end += 1;
        self.end - 1
    }

    /// Whether a reader may stand at `position`.
    pub(super) fn check_position(&self, position: Offset) -> Result<(), OutOfRange> {
        if (self.start..=self.end).contains(&position) {
            Ok(())
        } else {
            Err(OutOfRange)
        }
    }

    /// Hands up to `max` visible records from `position` on to `take`. The position that it leads
    /// to is behind everything invisible, so that at the end it equals [`PartitionLog::end`].
    pub(super) fn read(
        &self,
        position: Offset,
        isolation: Isolation,
        max: usize,
        mut take: impl FnMut(&Arc<OwnedRecord>),
    ) -> Result<Reached, OutOfRange> {
        self.check_position(position)?;
        let end = self.end(isolation);
        let from = self
            .entries
            .partition_point(|entry| entry.offset < position);
        let mut taken = 0;
        for entry in &self.entries[from..] {
            let Some(record) = self.visible(entry, isolation) else {
                continue;
            };
            if entry.offset >= end {
                break;
            }
            if taken == max {
                return Ok(Reached {
                    position: entry.offset,
                    at_end: false,
                });
            }
            take(record);
            taken += 1;
        }
        // A committed reader may have been started beyond the last stable offset.
        Ok(Reached {
            position: position.max(end),
            at_end: true,
        })
    }

    fn visible<'e>(&self, entry: &'e Entry, isolation: Isolation) -> Option<&'e Arc<OwnedRecord>> {
        let hidden = isolation == Isolation::ReadCommitted && self.is_aborted(entry);
        entry.record.as_ref().filter(|_| !hidden)
    }

    fn is_aborted(&self, entry: &Entry) -> bool {
        entry
            .transaction
            .is_some_and(|number| self.aborted.contains(&number))
    }

    /// Deletes everything before `before` (which is cut to the end of the log).
    pub(super) fn delete_before(&mut self, before: Offset) {
        self.start = before.clamp(self.start, self.end);
        let start = self.start;
        self.entries.retain(|entry| entry.offset >= start);
    }

    /// Below the last stable offset, keeps of each key only the newest committed record (tombstones
    /// are records), and nothing of aborted transactions. Returns how many records are gone.
    pub(super) fn compact(&mut self) -> usize {
        let stable = self.last_stable_offset();
        let mut newest: HashMap<Option<&[u8]>, Offset> = HashMap::new();
        for entry in self
            .entries
            .iter()
            .take_while(|entry| entry.offset < stable)
        {
            if let Some(record) = self.visible(entry, Isolation::ReadCommitted) {
                newest.insert(record.key.as_deref(), entry.offset);
            }
        }
        let kept: HashSet<Offset> = newest.into_values().collect();
        let before = self.entries.len();
        self.entries.retain(|entry| {
            entry.offset >= stable || entry.record.is_none() || kept.contains(&entry.offset)
        });
        before - self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn record(text: &str) -> OwnedRecord {
        let (key, value) = text.split_once('=').expect("key=value");
        OwnedRecord {
            topic: "t".into(),
            partition: 0,
            offset: -1,
            timestamp: Timestamp(0),
            key: Some(key.as_bytes().to_vec()),
            value: (!value.is_empty()).then(|| value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    /// Builds a log from a script: `a=1` a plain record, `7:a=1` one of transaction 7,
    /// `7+` its commit, `7-` its abort.
    fn log(script: &str) -> PartitionLog {
        let mut log = PartitionLog::default();
        for word in script.split_whitespace() {
            if let Some(number) = word.strip_suffix('+') {
                log.end_transaction(number.parse().unwrap(), Outcome::Committed);
            } else if let Some(number) = word.strip_suffix('-') {
                log.end_transaction(number.parse().unwrap(), Outcome::Aborted);
            } else if let Some((number, text)) = word.split_once(':') {
                log.append(record(text), Some(number.parse().unwrap()));
            } else {
                log.append(record(word), None);
            }
        }
        log
    }

    /// `offset:key=value …` and where the read ended.
    fn read(log: &PartitionLog, from: Offset, isolation: Isolation, max: usize) -> String {
        let mut words = Vec::new();
        let reached = log.read(from, isolation, max, |record| {
            let text = |bytes: &Option<Vec<u8>>| {
                String::from_utf8(bytes.clone().unwrap_or_default()).unwrap()
            };
            words.push(format!(
                "{}:{}={}",
                record.offset,
                text(&record.key),
                text(&record.value)
            ));
        });
        match reached {
            Ok(Reached {
                position,
                at_end: true,
            }) => words.push(format!("end@{position}")),
            Ok(Reached {
                position,
                at_end: false,
            }) => words.push(format!("more@{position}")),
            Err(OutOfRange) => words.push("out of range".to_owned()),
        }
        words.join(" ")
    }

    #[track_caller]
    fn check(script: &str, committed: &str, uncommitted: &str) {
        let log = log(script);
        assert_eq!(
            read(&log, 0, Isolation::ReadCommitted, 100),
            committed,
            "{script}"
        );
        assert_eq!(
            read(&log, 0, Isolation::ReadUncommitted, 100),
            uncommitted,
            "{script}"
        );
    }

    #[test]
    fn a_committed_read_stops_at_the_first_open_transaction_and_skips_aborted_ones() {
        check("", "end@0", "end@0");
        check("a=1 b=2", "0:a=1 1:b=2 end@2", "0:a=1 1:b=2 end@2");
        check("7:a=1", "end@0", "0:a=1 end@1");
        check("7:a=1 b=2", "end@0", "0:a=1 1:b=2 end@2");
        check("7:a=1 7+", "0:a=1 end@2", "0:a=1 end@2");
        check("7:a=1 7-", "end@2", "0:a=1 end@2");
        check(
            "a=1 7:b=1 8:c=1 8+ 7-",
            "0:a=1 2:c=1 end@5",
            "0:a=1 1:b=1 2:c=1 end@5",
        );
        check("7:a=1 8:b=1 7+", "0:a=1 end@1", "0:a=1 1:b=1 end@3");
        check("7:a=1 7- 9:a=2 9+", "2:a=2 end@4", "0:a=1 2:a=2 end@4");
    }

    #[test]
    fn a_short_read_ends_at_the_next_visible_record() {
        let log = log("7:a=1 7+ 8:b=1 8- c=1");
        assert_eq!(read(&log, 0, Isolation::ReadCommitted, 1), "0:a=1 more@4");
        assert_eq!(read(&log, 4, Isolation::ReadCommitted, 1), "4:c=1 end@5");
        assert_eq!(read(&log, 1, Isolation::ReadUncommitted, 1), "2:b=1 more@4");
        assert_eq!(read(&log, 0, Isolation::ReadCommitted, 0), "more@0");
    }

    #[test]
    fn only_positions_inside_the_log_can_be_read_from() {
        let mut log = log("a=1 b=1 7:c=1");
        log.delete_before(1);
        assert_eq!(read(&log, 0, Isolation::ReadCommitted, 9), "out of range");
        assert_eq!(read(&log, 1, Isolation::ReadCommitted, 9), "1:b=1 end@2");
        assert_eq!(read(&log, 3, Isolation::ReadCommitted, 9), "end@3");
        assert_eq!(read(&log, 4, Isolation::ReadCommitted, 9), "out of range");
        log.delete_before(100);
        assert_eq!(log.start(), 3);
    }

    #[test]
    fn compaction_keeps_the_newest_committed_record_of_each_key_below_the_stable_offset() {
        let mut log = log("a=1 b=1 7:a=2 7+ 8:b=9 8- b= 9:a=3 a=4");
        assert_eq!(log.compact(), 3);
        let all = "2:a=2 6:b= 7:a=3 8:a=4 end@9";
        assert_eq!(read(&log, 0, Isolation::ReadUncommitted, 9), all);
        assert_eq!(
            read(&log, 0, Isolation::ReadCommitted, 9),
            "2:a=2 6:b= end@7"
        );
        assert_eq!(log.compact(), 0);
    }
}
