//! Records of one partition that wait for their task, copied out of the log client's buffers.
//!
//! All bytes of a queue stand in one buffer that is reused, so a record costs one copy and no
//! allocation; copying at once means that nothing pins the client's fetch buffers. The buffer is at
//! most about twice as large as what waits in it, however long the queue is never empty.

use std::sync::Arc;

use crate::broker::{Fetched, Offset, TopicPartition};
use crate::format::Registries;
use crate::headers::PackedHeaders;
use crate::processor::{self, EventClock, InRecord, Wait, WrittenTime};
use crate::time::Timestamp;
use crate::topology::plan::{Input, Reader};

/// The waiting records of one partition, in order.
pub(super) struct RecordQueue {
    partition: TopicPartition,
    clock: RecordClock,
    /// Whether headers are kept: somebody asks for them.
    with_headers: bool,
    bytes: Vec<u8>,
    records: Vec<Waiting>,
    /// The first record that is still waiting.
    head: usize,
    /// The first record of which it is not known when it happened.
    untimed: usize,
    /// When the record before that one happened.
    last_time: Timestamp,
}

/// What tells when a record of a queue happened, so that those of several inputs can be taken in order.
pub(super) enum RecordClock {
    /// The log.
    Log,
    /// What is written in the record: the log has the time at which that was done.
    Written(WrittenTime),
    /// A field of the event.
    Event(Box<EventClock>),
}

/// A record: key, value and headers stand one behind the other in the queue's bytes.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    offset: Offset,
    /// The time that the log has for it.
    timestamp: Timestamp,
    /// When it happened, once that is known.
    time: Timestamp,
    start: usize,
    split: usize,
    end: usize,
    behind_headers: usize,
    has_key: bool,
    has_value: bool,
}

impl Waiting {
    fn show<'q>(&self, partition: &'q TopicPartition, bytes: &'q [u8]) -> InRecord<'q> {
        InRecord {
            topic: &partition.topic,
            partition: partition.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.has_key.then(|| &bytes[self.start..self.split]),
            value: self.has_value.then(|| &bytes[self.split..self.end]),
            headers: PackedHeaders::of(&bytes[self.end..self.behind_headers]),
        }
    }
}

impl RecordClock {
    /// The clock of an input, one of several of a task.
    pub(super) fn of(reader: &Reader, registries: &Arc<dyn Registries>) -> RecordClock {
        match reader {
            Reader::Source(source) => match EventClock::new(source, registries) {
                Some(clock) => RecordClock::Event(Box::new(clock)),
                None => RecordClock::Log,
            },
            written => match processor::written_time(written) {
                Some(time_of) => RecordClock::Written(time_of),
                None => RecordClock::Log,
            },
        }
    }

    /// When a record happened; none: it will be dropped, or is damaged and will be refused.
    fn time_of(
        &mut self,
        record: &InRecord<'_>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Wait> {
        match self {
            RecordClock::Log => Ok(Some(record.timestamp)),
            RecordClock::Written(time_of) => Ok(time_of(record)),
            RecordClock::Event(clock) => match record.value {
                None => Ok(Some(record.timestamp)),
                Some(event) => clock.time_of(event, now),
            },
        }
    }
}

impl RecordQueue {
    /// A queue for the records of a partition that this input reads.
    pub(super) fn new(partition: TopicPartition, input: &Input, clock: RecordClock) -> RecordQueue {
        RecordQueue {
            partition,
            clock,
            with_headers: input.with_headers,
            bytes: Vec::new(),
            records: Vec::new(),
            head: 0,
            untimed: 0,
            last_time: Timestamp(i64::MIN),
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
        let end = self.bytes.len();
        if self.with_headers {
            PackedHeaders::pack(record.headers.iter(), &mut self.bytes);
        }
        self.records.push(Waiting {
            offset: record.offset,
            timestamp: record.timestamp,
            time: record.timestamp,
            start,
            split,
            end,
            behind_headers: self.bytes.len(),
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

    /// The bytes of the records that wait.
    pub(super) fn bytes(&self) -> usize {
        let first = self.records.get(self.head);
        first.map_or(0, |first| self.bytes.len() - first.start)
    }

    /// The memory that the records that wait take, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes() + self.len() * size_of::<Waiting>()
    }

    /// Finds out when those records happened that have come since it was last asked. One that will be
    /// dropped has the time of the one before it, so that it holds up nobody.
    pub(super) fn find_times(&mut self, now: Timestamp) -> Result<(), Wait> {
        if matches!(self.clock, RecordClock::Log) {
            return Ok(());
        }
        while let Some(record) = self.records.get_mut(self.untimed) {
            let shown = record.show(&self.partition, &self.bytes);
            if let Some(time) = self.clock.time_of(&shown, now)? {
                self.last_time = time;
            }
            record.time = self.last_time;
            self.untimed += 1;
        }
        Ok(())
    }

    /// When the next record happened.
    pub(super) fn head_time(&self) -> Option<Timestamp> {
        self.records.get(self.head).map(|record| record.time)
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
        let count = fitting.take_while(|record| record.time <= up_to).count();
        let count = count.max(usize::from(!waiting.is_empty()));
        waiting[..count]
            .iter()
            .map(|record| record.show(&self.partition, &self.bytes))
    }

    /// The offset of the last record.
    pub(super) fn last_offset(&self) -> Option<Offset> {
        self.records.last().map(|record| record.offset)
    }

    /// The record of that offset, while it waits or has just been taken.
    pub(super) fn find(&self, offset: Offset) -> Option<InRecord<'_>> {
        let at = self
            .records
            .binary_search_by_key(&offset, |record| record.offset)
            .ok()?;
        Some(self.records[at].show(&self.partition, &self.bytes))
    }

    /// Takes the first `count` records out and lets go of them; gives the offset behind the last of
    /// them.
    pub(super) fn advance(&mut self, count: usize) -> Option<Offset> {
        let next = self.take(count);
        self.forget_taken();
        next
    }

    /// Takes the first `count` records out, which can still be [found](RecordQueue::find); gives the
    /// offset behind the last of them.
    pub(super) fn take(&mut self, count: usize) -> Option<Offset> {
        let last = count.checked_sub(1)?;
        let offset = self.records[self.head + last].offset;
        self.head += count;
        Some(offset + 1)
    }

    /// Lets go of the records that have been taken out, once that costs nothing per record: at least
    /// as many are let go as are moved.
    pub(super) fn forget_taken(&mut self) {
        if self.head * 2 >= self.records.len() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let cut = match self.records.get(self.head) {
            Some(first) => first.start,
            None => self.bytes.len(),
        };
        self.bytes.drain(..cut);
        self.records.drain(..self.head);
        self.untimed = self.untimed.saturating_sub(self.head);
        for record in &mut self.records {
            record.start -= cut;
            record.split -= cut;
            record.end -= cut;
            record.behind_headers -= cut;
        }
        self.head = 0;
    }
}

/// Of the queues of a task the one whose head is the oldest, by its place, and up to which time it may
/// be read before another one has its turn; none while one that is not at its end has to be waited for,
/// or nothing waits. `at_end` tells whether all that a partition has is read.
pub(super) fn oldest<'q>(
    queues: impl Iterator<Item = &'q RecordQueue> + Clone,
    at_end: &dyn Fn(&TopicPartition) -> bool,
) -> Option<(usize, Timestamp)> {
    let mut oldest: Option<(usize, Timestamp)> = None;
    let mut count = 0;
    for (at, queue) in queues.clone().enumerate() {
        count += 1;
        match queue.head_time() {
            None if at_end(queue.partition()) => {}
            None => return None,
            Some(head) if oldest.is_none_or(|(_, first)| head < first) => {
                oldest = Some((at, head));
            }
            Some(_) => {}
        }
    }
    let (oldest, _) = oldest?;
    if count == 1 {
        return Some((oldest, Timestamp(i64::MAX)));
    }
    // Of records of the same time those of the first queue come first, in whatever portions they
    // have been read.
    let others = queues.enumerate().filter(|(at, _)| *at != oldest);
    let limits = others.filter_map(|(at, queue)| {
        let head = queue.head_time()?;
        Some(head.plus_millis(-i64::from(at < oldest)))
    });
    Some((oldest, limits.min().unwrap_or(Timestamp(i64::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Headers, OwnedRecord};

    fn queue(with_headers: bool) -> RecordQueue {
        let input = Input {
            topics: vec!["t".to_owned()],
            reader: Reader::Partials,
            with_headers,
            next: Vec::new(),
        };
        RecordQueue::new(TopicPartition::new("t", 0), &input, RecordClock::Log)
    }

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
        let mut queue = queue(false);
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
        assert_eq!(queue.head_time(), Some(Timestamp(3)));
        assert_eq!(queue.advance(1), Some(9));
        assert!(queue.is_empty());
        assert_eq!(queue.advance(0), None);
    }

    #[test]
    fn headers_wait_where_they_are_asked_for() {
        let record = OwnedRecord {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp: Timestamp(1),
            key: None,
            value: Some(b"v".to_vec()),
            headers: vec![("a".to_owned(), b"1".to_vec()), ("b".to_owned(), vec![])],
        };
        let seen = |with_headers| {
            let mut queue = queue(with_headers);
            push(&mut queue, -1, 1, Some("k"), Some("v"));
            queue.push(&record.as_fetched());
            queue.advance(1);
            let mut records = queue.next_batch(1, Timestamp(1));
            let record = records.next().unwrap();
            assert_eq!(record.value, Some(&b"v"[..]));
            let headers = record.headers.iter();
            headers
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(true), record.headers);
        assert_eq!(seen(false), []);
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_grow() {
        let mut queue = queue(false);
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
        let mut queue = queue(false);
        for (offset, time) in [(0, 10), (1, 20), (2, 15), (3, 30)] {
            push(&mut queue, offset, time, None, Some("v"));
        }
        assert_eq!(queue.next_batch(10, Timestamp(20)).len(), 3);
        assert_eq!(queue.next_batch(2, Timestamp(20)).len(), 2);
        assert_eq!(queue.next_batch(10, Timestamp(5)).len(), 1);
    }
}
