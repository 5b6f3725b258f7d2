//! Records of one partition that wait for their task, copied out of the log client's buffers.
//!
//! All bytes of a queue stand in one buffer that is reused, so a record costs one copy and no
//! allocation; copying at once means that nothing pins the client's fetch buffers. The buffer is at
//! most about twice as large as what waits in it, however long the queue is never empty.

use crate::broker::{Fetched, Offset, TopicPartition};
use crate::processor::InRecord;
use crate::record::RowChange;
use crate::time::Timestamp;

/// The waiting records of one partition, in order.
#[derive(Debug)]
pub(super) struct RecordQueue {
    partition: TopicPartition,
    clock: RecordClock,
    bytes: Vec<u8>,
    records: Vec<Waiting>,
    /// The first record that is still waiting.
    head: usize,
}

/// What tells when a record of a queue happened, so that those of several inputs can be taken in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordClock {
    /// The log.
    Log,
    /// The row that the record holds: the log has the time at which it was sent.
    Row,
}

/// A record: key and value stand one behind the other in the queue's bytes.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    offset: Offset,
    timestamp: Timestamp,
    start: usize,
    split: usize,
    end: usize,
    has_key: bool,
    has_value: bool,
}

impl RecordClock {
    /// A row that is damaged is refused when it is processed.
    fn time_of(self, record: &Fetched<'_>) -> Timestamp {
        match (self, record.value) {
            (RecordClock::Row, Some(row)) => RowChange::time_of(row).unwrap_or(record.timestamp),
            _ => record.timestamp,
        }
    }
}

impl RecordQueue {
    pub(super) fn new(partition: TopicPartition, clock: RecordClock) -> RecordQueue {
        RecordQueue {
            partition,
            clock,
            bytes: Vec::new(),
            records: Vec::new(),
            head: 0,
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub(super) fn push(&mut self, record: &Fetched<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record.key.unwrap_or_default());
        let split = self.bytes.len();
        self.bytes
            .extend_from_slice(record.value.unwrap_or_default());
        self.records.push(Waiting {
            offset: record.offset,
            timestamp: self.clock.time_of(record),
            start,
            split,
            end: self.bytes.len(),
            has_key: record.key.is_some(),
            has_value: record.value.is_some(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.records.len()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len() - self.head
    }

    /// The time of the next record.
    pub(super) fn head_timestamp(&self) -> Option<Timestamp> {
        self.records.get(self.head).map(|record| record.timestamp)
    }

    /// The next records, at most `most`, while they are not newer than `up_to`; at least one if
    /// there is one.
    pub(super) fn next_batch(
        &self,
        most: usize,
        up_to: Timestamp,
    ) -> impl ExactSizeIterator<Item = InRecord<'_>> {
        let waiting = &self.records[self.head..];
        let fitting = waiting.iter().take(most);
        let count = fitting
            .take_while(|record| record.timestamp <= up_to)
            .count();
        let count = count.max(usize::from(!waiting.is_empty()));
        waiting[..count].iter().map(|record| self.show(record))
    }

    /// The offset of the last record.
    pub(super) fn last_offset(&self) -> Option<Offset> {
        self.records.last().map(|record| record.offset)
    }

    /// The waiting record of that offset.
    pub(super) fn find(&self, offset: Offset) -> Option<InRecord<'_>> {
        let at = self
            .records
            .binary_search_by_key(&offset, |record| record.offset)
            .ok()?;
        Some(self.show(&self.records[at]))
    }

    fn show(&self, record: &Waiting) -> InRecord<'_> {
        InRecord {
            topic: &self.partition.topic,
            partition: self.partition.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record
                .has_key
                .then(|| &self.bytes[record.start..record.split]),
            value: record
                .has_value
                .then(|| &self.bytes[record.split..record.end]),
        }
    }

    /// Takes the first `count` records out; gives the offset behind the last of them.
    pub(super) fn advance(&mut self, count: usize) -> Option<Offset> {
        let last = count
            .checked_sub(1)
            .map(|before| self.records[self.head + before].offset);
        self.head += count;
        // At least as many records are let go as are moved, so the moves cost nothing per record.
        if self.head * 2 >= self.records.len() {
            self.compact();
        }
        last.map(|offset| offset + 1)
    }

    /// Lets go of the bytes of the records that have been taken out.
    fn compact(&mut self) {
        let cut = match self.records.get(self.head) {
            Some(first) => first.start,
            None => self.bytes.len(),
        };
        self.bytes.drain(..cut);
        self.records.drain(..self.head);
        for record in &mut self.records {
            record.start -= cut;
            record.split -= cut;
            record.end -= cut;
        }
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Headers;

    fn push(
        queue: &mut RecordQueue,
        offset: Offset,
        time: i64,
        key: Option<&str>,
        value: Option<&str>,
    ) {
        queue.push(&Fetched {
            topic: "t",
            partition: 0,
            offset,
            timestamp: Timestamp(time),
            key: key.map(str::as_bytes),
            value: value.map(str::as_bytes),
            headers: Headers::default(),
        });
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut queue = RecordQueue::new(TopicPartition::new("t", 0), RecordClock::Log);
        push(&mut queue, 5, 1, Some("k"), Some("v"));
        push(&mut queue, 7, 2, None, Some(""));
        push(&mut queue, 8, 3, Some(""), None);
        let seen: Vec<_> = queue
            .next_batch(10, Timestamp(i64::MAX))
            .map(|r| {
                (
                    r.offset,
                    r.key.map(<[u8]>::to_vec),
                    r.value.map(<[u8]>::to_vec),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (5, Some(b"k".to_vec()), Some(b"v".to_vec())),
                (7, None, Some(vec![])),
                (8, Some(vec![]), None)
            ]
        );
        assert_eq!(queue.advance(2), Some(8));
        assert_eq!(queue.head_timestamp(), Some(Timestamp(3)));
        assert_eq!(queue.advance(1), Some(9));
        assert!(queue.is_empty());
        assert_eq!(queue.advance(0), None);
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_grow() {
        let mut queue = RecordQueue::new(TopicPartition::new("t", 0), RecordClock::Log);
        let value = "v".repeat(100);
        let mut taken = 0;
        for offset in 0..100_000 {
            push(&mut queue, offset, offset, Some("k"), Some(&value));
            // Seven wait all the time.
            if queue.len() > 7 {
                let record = queue.next_batch(1, Timestamp(i64::MAX)).next().unwrap();
                assert_eq!((record.offset, record.key), (taken, Some(&b"k"[..])));
                assert_eq!(record.value.map(<[u8]>::len), Some(100));
                taken = queue.advance(1).unwrap();
            }
        }
        assert_eq!(queue.len(), 7);
        assert!(
            queue.bytes.capacity() < 10_000,
            "{}",
            queue.bytes.capacity()
        );
        assert!(queue.records.capacity() < 100);
    }

    #[test]
    fn a_batch_stops_at_the_time_up_to_which_other_inputs_have_come() {
        let mut queue = RecordQueue::new(TopicPartition::new("t", 0), RecordClock::Log);
        for (offset, time) in [(0, 10), (1, 20), (2, 15), (3, 30)] {
            push(&mut queue, offset, time, None, Some("v"));
        }
        assert_eq!(queue.next_batch(10, Timestamp(20)).len(), 3);
        assert_eq!(queue.next_batch(2, Timestamp(20)).len(), 2);
        assert_eq!(queue.next_batch(10, Timestamp(5)).len(), 1);
    }
}
