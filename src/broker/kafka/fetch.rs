//! A consumer that has been told what to read: batches, positions, ends.
//!
//! Members and readers both poll through this. It keeps its own positions: librdkafka's are moved
//! wrongly by end-of-partition events (librdkafka#4844), and never step over the control records
//! at the end. The end-of-partition event itself carries topic, partition and the offset that the
//! next fetch will ask for, which for committed reads is the last stable offset: that is how the
//! position gets behind a transaction's marker, and how `at_end` is known.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as c;

use super::classify::{Code, Failure};
use super::list;
use super::message::Message;
use super::native::{Callbacks, Handle, not_null};
use crate::broker::{BrokerError, Fetched, Headers, Offset, OnRecord, TopicPartition};

/// How many records are taken out of librdkafka's queue at a time.
const BATCH: usize = 1024;

/// A poll that has handed over so many bytes of values ends, however many records it may hand over.
const MOST_BYTES: usize = 1 << 20;

/// Whether a consumer takes part in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    Member,
    /// It only names a group because librdkafka wants it to; no right to that group is needed.
    Outsider,
}

/// A consumer and where it stands.
pub(super) struct Fetcher<C: Callbacks> {
    queue: Queue,
    /// After the queue, which must be gone before the client is.
    handle: Handle<C>,
    membership: Membership,
    slots: Vec<Slot>,
    /// Room for a batch, and its messages; empty between polls.
    batch: Vec<*mut c::rd_kafka_message_t>,
    taken: Vec<Message>,
    /// Errors that are to be reported, once the records that came with them are delivered.
    errors: VecDeque<BrokerError>,
}

// SAFETY: what `batch` and `taken` point to is only there during a poll.
unsafe impl<C: Callbacks> Send for Fetcher<C> {}

/// A partition that is being read.
#[derive(Debug)]
struct Slot {
    partition: TopicPartition,
    position: Offset,
    at_end: bool,
}

/// The queue that records and group events of a consumer arrive in.
struct Queue(NonNull<c::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference was given to this value; the client is still alive.
        unsafe { c::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

impl<C: Callbacks> Fetcher<C> {
    /// A fetcher that reads nothing yet.
    pub(super) fn new(
        handle: Handle<C>,
        membership: Membership,
    ) -> Result<Fetcher<C>, BrokerError> {
        // SAFETY: the client is alive and has a group id, hence a consumer queue.
        let queue = unsafe {
            Failure::check(c::rd_kafka_poll_set_consumer(handle.ptr()))
                .map_err(|failure| failure.in_doing("set up a Kafka consumer"))?;
            Queue(not_null(c::rd_kafka_queue_get_consumer(handle.ptr())))
        };
        Ok(Fetcher {
            queue,
            handle,
            membership,
            slots: Vec::new(),
            batch: Vec::with_capacity(BATCH),
            taken: Vec::with_capacity(BATCH),
            errors: VecDeque::new(),
        })
    }

    /// The client.
    pub(super) fn handle(&self) -> &Handle<C> {
        &self.handle
    }

    /// Reads exactly these from now on.
    pub(super) fn assign(
        &mut self,
        positions: &[(TopicPartition, Offset)],
    ) -> Result<(), BrokerError> {
        let list = list::with_offsets("assign partitions", positions)?;
        // SAFETY: client and list are alive.
        let code = unsafe { c::rd_kafka_assign(self.handle.ptr(), list.ptr()) };
        Failure::check(code).map_err(|failure| failure.in_doing("assign partitions"))?;
        let slot = |(partition, position): &(TopicPartition, Offset)| Slot {
            partition: partition.clone(),
            position: *position,
            at_end: false,
        };
        self.slots = positions.iter().map(slot).collect();
        Ok(())
    }

    /// Reads nothing any more; also the answer to a revocation.
    pub(super) fn unassign(&mut self) -> Result<(), BrokerError> {
        self.slots.clear();
        // SAFETY: the client is alive; no list means to give up everything.
        let code = unsafe { c::rd_kafka_assign(self.handle.ptr(), ptr::null()) };
        Failure::check(code).map_err(|failure| failure.in_doing("give up partitions"))
    }

    /// Delivers nothing of these any more.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.slots
            .retain(|slot| !partitions.contains(&slot.partition));
    }

    /// All positions.
    pub(super) fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        self.slots
            .iter()
            .map(|slot| (slot.partition.clone(), slot.position))
            .collect()
    }

    /// The offset of the next record to be delivered.
    pub(super) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.slots
            .iter()
            .find(|slot| slot.partition == *partition)
            .map(|slot| slot.position)
    }

    /// Whether the end of the partition had been reached when it was last heard of.
    pub(super) fn at_end(&self, partition: &TopicPartition) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.partition == *partition && slot.at_end)
    }

    /// An error that a poll has met.
    pub(super) fn take_error(&mut self) -> Option<BrokerError> {
        self.errors.pop_front()
    }

    /// Hands over what has arrived, at most `max_records`; when there is nothing, waits for
    /// `timeout` or until a callback was served. Returns how many records were handed over.
    pub(super) fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> usize {
        let found = self.drain(max_records, on_record);
        let rebalanced = self.handle.take_rebalanced();
        if found.messages > 0 || rebalanced || timeout.is_zero() || max_records == 0 {
            return found.records;
        }
        let Some(first) = self.handle.consume_one(timeout) else {
            return 0;
        };
        let first = self.take(std::iter::once(first), on_record);
        first.records + self.drain(max_records - first.records, on_record).records
    }

    /// Takes what has arrived, without waiting. With no room for records this still shows
    /// librdkafka that the member is alive.
    fn drain(&mut self, max_records: usize, on_record: OnRecord<'_>) -> Found {
        let mut found = Found::default();
        let mut batch = std::mem::take(&mut self.batch);
        loop {
            let wanted = (max_records - found.records).min(BATCH);
            batch.resize(wanted, ptr::null_mut());
            // SAFETY: the queue is alive, and the batch has room for that many messages.
            let count = unsafe {
                let queue = self.queue.0.as_ptr();
                c::rd_kafka_consume_batch_queue(queue, 0, batch.as_mut_ptr(), wanted)
            };
            let count = usize::try_from(count).unwrap_or(0);
            let messages = batch[..count].iter().filter_map(|message| {
                // SAFETY: each message was given to us.
                NonNull::new(*message).map(|message| unsafe { Message::from_ptr(message) })
            });
            let taken = self.take(messages, on_record);
            found.records += taken.records;
            found.bytes += taken.bytes;
            found.messages += taken.messages;
            if count < wanted || wanted == 0 || found.bytes >= MOST_BYTES {
                batch.clear();
                self.batch = batch;
                return found;
            }
        }
    }

    /// Delivers a batch. Messages are kept until its end, so that a topic's pointer names it.
    fn take(&mut self, messages: impl Iterator<Item = Message>, on_record: OnRecord<'_>) -> Found {
        let mut found = Found::default();
        let mut taken = std::mem::take(&mut self.taken);
        let mut last: Option<(*const c::rd_kafka_topic_t, i32, usize)> = None;
        for message in messages {
            let (topic, partition) = (message.topic_ptr(), message.partition());
            let index = match last {
                Some((t, p, index)) if (t, p) == (topic, partition) => Some(index),
                _ => self.find(message.topic(), partition),
            };
            match (message.failure(), index) {
                (None, Some(index)) => {
                    last = Some((topic, partition, index));
                    let slot = &mut self.slots[index];
                    (slot.position, slot.at_end) = (message.offset() + 1, false);
                    on_record(slot.fetched(&message));
                    found.records += 1;
                    found.bytes += message.value().map_or(0, <[u8]>::len);
                }
                // Left over from an earlier assignment.
                (None, None) => {}
                (Some(failure), index) => self.fail(failure, index, &message),
            }
            taken.push(message);
            found.messages += 1;
        }
        taken.clear();
        self.taken = taken;
        found
    }

    fn find(&self, topic: Option<&CStr>, partition: i32) -> Option<usize> {
        let topic = topic?.to_bytes();
        let is_it = |slot: &Slot| {
            slot.partition.partition == partition && slot.partition.topic.as_bytes() == topic
        };
        self.slots.iter().position(is_it)
    }

    fn fail(&mut self, failure: Failure, index: Option<usize>, message: &Message) {
        match (failure.code, index) {
            (Code::PartitionEOF, Some(index)) => {
                let slot = &mut self.slots[index];
                (slot.position, slot.at_end) = (message.offset(), true);
            }
            (Code::PartitionEOF, None) => {}
            (Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation, Some(index)) => {
                let slot = &mut self.slots[index];
                slot.at_end = false;
                let (partition, offset) = (slot.partition.clone(), slot.position);
                // Only here: whether the log was shorter, or another one, and what it told.
                tracing::warn!(%partition, offset, "the log does not have a position: {failure}");
                self.errors
                    .push_back(BrokerError::OutOfRange { partition, offset });
            }
            (Code::Fatal, _) => {
                let failure = self.handle.fatal_error().unwrap_or(failure);
                self.errors.push_back(failure.in_doing("poll"));
            }
            (Code::GroupAuthorizationFailed, _) if self.membership == Membership::Outsider => {}
            (_, index) => self.report(failure, index),
        }
    }

    /// Passing trouble is logged; librdkafka goes on by itself. A member that has been evicted
    /// hears of it as an event.
    fn report(&mut self, failure: Failure, index: Option<usize>) {
        let action = match index {
            Some(index) => format!("read {}", self.slots[index].partition),
            None => "poll".to_owned(),
        };
        match failure.in_doing(action) {
            error @ BrokerError::Fatal { .. } => self.errors.push_back(error),
            error => tracing::warn!("{error}"),
        }
    }
}

#[derive(Default)]
struct Found {
    messages: usize,
    records: usize,
    /// Of values.
    bytes: usize,
}

impl Slot {
    fn fetched<'a>(&'a self, message: &'a Message) -> Fetched<'a> {
        Fetched {
            topic: &self.partition.topic,
            partition: self.partition.partition,
            offset: message.offset(),
            timestamp: message.timestamp(),
            key: message.key(),
            value: message.value(),
            headers: Headers::new(message),
        }
    }
}
