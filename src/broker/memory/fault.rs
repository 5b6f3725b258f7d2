//! Scripted faults: what a test wants to go wrong, and when.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::BrokerError;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Broker::partition_counts`](crate::broker::Broker::partition_counts)
    PartitionCounts,
    /// [`Broker::create_topics`](crate::broker::Broker::create_topics)
    CreateTopics,
    /// [`Broker::delete_topics`](crate::broker::Broker::delete_topics)
    DeleteTopics,
    /// [`Broker::members`](crate::broker::Broker::members)
    Members,
    /// [`Broker::delete_group`](crate::broker::Broker::delete_group)
    DeleteGroup,
    /// [`Broker::end_offsets`](crate::broker::Broker::end_offsets)
    EndOffsets,
    /// [`Broker::start_offsets`](crate::broker::Broker::start_offsets)
    StartOffsets,
    /// [`Broker::committed`](crate::broker::Broker::committed)
    Committed,
    /// [`Broker::member`](crate::broker::Broker::member)
    NewMember,
    /// [`Broker::reader`](crate::broker::Broker::reader)
    NewReader,
    /// [`Broker::producer`](crate::broker::Broker::producer)
    NewProducer,
    /// [`GroupMember::poll`](crate::broker::GroupMember::poll)
    MemberPoll,
    /// [`GroupMember::acknowledge`](crate::broker::GroupMember::acknowledge)
    Acknowledge,
    /// [`GroupMember::commit`](crate::broker::GroupMember::commit)
    MemberCommit,
    /// [`Reader::assign`](crate::broker::Reader::assign)
    ReaderAssign,
    /// [`Reader::poll`](crate::broker::Reader::poll)
    ReaderPoll,
    /// [`Producer::send`](crate::broker::Producer::send)
    Send,
    /// [`Producer::begin`](crate::broker::Producer::begin)
    Begin,
    /// [`Producer::send_offsets`](crate::broker::Producer::send_offsets)
    SendOffsets,
    /// [`Producer::commit`](crate::broker::Producer::commit)
    Commit,
    /// [`Producer::abort`](crate::broker::Producer::abort)
    Abort,
    /// [`Producer::flush`](crate::broker::Producer::flush)
    Flush,
}

/// Whether the operation takes place before it is reported as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing happens.
    None,
    /// It happens, but the caller gets the error instead of the answer.
    Done,
}

/// The faults that have not happened yet, in order, per operation.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<Operation, VecDeque<(Effect, BrokerError)>>);

impl Faults {
    /// One more fault.
    pub(super) fn add(&mut self, operation: Operation, effect: Effect, error: BrokerError) {
        self.0
            .entry(operation)
            .or_default()
            .push_back((effect, error));
    }

    /// The next fault of this operation, if it is of this effect.
    pub(super) fn take(&mut self, operation: Operation, effect: Effect) -> Result<(), BrokerError> {
        let Some(queue) = self.0.get_mut(&operation) else {
            return Ok(());
        };
        match queue.pop_front_if(|(wanted, _)| *wanted == effect) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// How many faults wait to happen.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}
