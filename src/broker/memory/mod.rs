//! A log in memory: deterministic, for tests and the demo.
//!
//! It has what the engine relies on in Kafka: partitions, transactions with control markers and
//! read-committed reads, fencing of producers by their transactional id and of members by their
//! generation, static membership, and timeouts by the clock that it is handed. A poll or any other
//! call with a zero timeout never blocks, so one thread can play all parts. It is not durable and
//! has no limits; the one thing that frees memory is [`MemoryBroker::delete_records`].
//!
//! Reading order: [`log`] (one partition) → [`topics`] → [`group`] (membership and offsets, with
//! [`assign`]) → [`state`] (transactions across all of it) → the handles [`producer`], [`reader`]
//! and [`member`]. The invariant: all state is behind one lock, which is never held while code of
//! a caller runs.

mod assign;
mod chance;
mod cursor;
mod fault;
mod group;
mod log;
mod member;
mod producer;
mod reader;
mod state;
mod topics;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::chance::Chance;
use self::fault::Effect;
use self::member::{Membership, MemoryMember};
use self::producer::MemoryProducer;
use self::reader::MemoryReader;
use self::state::State;
use crate::broker::{
    Broker, BrokerError, GroupMember, GroupMetadata, Isolation, MemberOptions, Offset, OnRecord,
    OwnedRecord, Partition, Producer, ProducerOptions, Reader, TopicPartition, TopicSpec,
};
use crate::time::{Clock, ManualClock, Timestamp};

pub use self::fault::Operation;

/// A log in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryBroker(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
    /// Whoever waits moves it, and waits no longer.
    moved_by_waiting: Option<ManualClock>,
}

impl MemoryBroker {
    /// An empty log. Sessions and transactions time out by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryBroker {
        MemoryBroker(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            clock,
            moved_by_waiting: None,
        }))
    }

    /// An empty log for one thread that plays all parts: nothing can change while a call waits, so
    /// waiting takes no time and moves the clock instead.
    pub fn in_simulated_time(clock: ManualClock) -> MemoryBroker {
        MemoryBroker(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            clock: Arc::new(clock.clone()),
            moved_by_waiting: Some(clock),
        }))
    }

    /// The next call of `operation`, by anyone, fails with `error` and has no effect. Scripted
    /// errors of one operation queue up.
    ///
    /// The log then behaves as if the error were real: after [`BrokerError::Fenced`] the producer
    /// *is* fenced, after [`BrokerError::Abort`] it must abort.
    pub fn fail_next(&self, operation: Operation, error: BrokerError) {
        self.0.lock().0.faults.add(operation, Effect::None, error);
    }

    /// The next call of `operation` takes place, but its caller gets `error` instead of the answer.
    /// A producer that is told [`BrokerError::Retry`] so, gets the answer by calling again.
    pub fn lose_answer(&self, operation: Operation, error: BrokerError) {
        self.0.lock().0.faults.add(operation, Effect::Done, error);
    }

    /// From now on members of groups and readers read in portions, and from partitions, of chance, and
    /// members hear of their eviction late, as over a network; the same `seed` gives the same chances.
    pub fn shuffle_reads(&self, seed: u64) {
        self.0.lock().0.chance = Some(Chance::new(seed));
    }

    /// How many scripted faults have not happened yet.
    pub fn pending_faults(&self) -> usize {
        self.0.lock().0.faults.len()
    }

    /// From now on all members are said to be of one process; without this, each is of its own.
    pub fn make_one_process(&self) {
        self.0.lock().0.is_one_process = true;
    }

    /// What a reader of this isolation sees in a partition, from its start to its end.
    ///
    /// # Panics
    /// When the partition does not exist.
    pub fn records(
        &self,
        topic: &str,
        partition: Partition,
        isolation: Isolation,
    ) -> Vec<OwnedRecord> {
        let (state, _) = self.0.lock();
        let log = state.topics.log(&TopicPartition::new(topic, partition));
        let log = log.unwrap_or_else(|| panic!("there is no partition {topic}-{partition}"));
        let mut records = Vec::new();
        log.read(log.start(), isolation, usize::MAX, |record| {
            records.push((**record).clone())
        })
        .expect("a log's start is in the log");
        records
    }

    /// All offsets that a group has committed, whatever transactions are open.
    pub fn committed_offsets(&self, group: &str) -> BTreeMap<TopicPartition, Offset> {
        let (state, _) = self.0.lock();
        state
            .groups
            .get(group)
            .map(|group| group.all_committed().clone())
            .unwrap_or_default()
    }

    /// Sets a group's offset, as an operator does, or as a group does that went on elsewhere.
    ///
    /// # Panics
    /// When the group does not exist.
    pub fn set_committed(&self, group: &str, partition: &TopicPartition, offset: Offset) {
        let (mut state, _) = self.0.lock();
        match state.groups.get_mut(group) {
            Some(group) => group.commit([(partition.clone(), offset)]),
            None => panic!("there is no group {group}"),
        }
    }

    /// The transactional ids with a transaction that has written something and not ended.
    pub fn open_transactions(&self) -> Vec<String> {
        self.0.lock().0.open_transactions()
    }

    /// Compacts a topic: below the last stable offset of each partition only the newest committed
    /// record of each key stays (tombstones too), and nothing of aborted transactions. Returns how
    /// many records are gone.
    ///
    /// # Panics
    /// When there is no such topic with `compact` in its `cleanup.policy`.
    pub fn compact(&self, topic: &str) -> usize {
        let compacted = self.0.lock().0.topics.compact(topic);
        compacted.unwrap_or_else(|| panic!("{topic} is not a compacted topic"))
    }

    /// Deletes the records of a partition before an offset; cut to the end of the log.
    ///
    /// # Panics
    /// When the partition does not exist.
    pub fn delete_records(&self, partition: &TopicPartition, before: Offset) {
        let (mut state, _) = self.0.lock();
        match state.topics.log_mut(partition) {
            Some(log) => log.delete_before(before),
            None => panic!("there is no partition {partition}"),
        }
    }

    /// Empties a topic, as if it had been deleted and created again: offsets begin at 0. For times
    /// when nobody reads it.
    ///
    /// # Panics
    /// When there is no such topic.
    pub fn recreate_topic(&self, topic: &str) {
        let recreated = self.0.lock().0.topics.recreate(topic);
        assert!(recreated, "there is no topic {topic}");
    }
}

impl Broker for MemoryBroker {
    fn partition_counts(&self, topics: &[&str]) -> Result<BTreeMap<String, u32>, BrokerError> {
        self.0.call(Operation::PartitionCounts, |state, _| {
            let count = |topic: &&str| Some(((*topic).to_owned(), state.topics.find(topic)?.1));
            Ok(topics.iter().filter_map(count).collect())
        })
    }

    fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BrokerError> {
        self.0.call(Operation::CreateTopics, |state, _| {
            topics.iter().try_for_each(|spec| state.topics.create(spec))
        })
    }

    fn delete_topics(&self, topics: &[&str]) -> Result<(), BrokerError> {
        self.0.call(Operation::DeleteTopics, |state, _| {
            topics.iter().for_each(|topic| state.topics.remove(topic));
            Ok(())
        })
    }

    fn members(&self, group: &str) -> Result<Vec<String>, BrokerError> {
        self.0.call(Operation::Members, |state, _| {
            let group = state.groups.get(group);
            Ok(group.map_or_else(Vec::new, group::Group::names))
        })
    }

    fn is_held_elsewhere(&self, _group: &str, _instance_id: &str) -> Result<bool, BrokerError> {
        Ok(!self.0.lock().0.is_one_process)
    }

    fn delete_group(&self, group: &str) -> Result<(), BrokerError> {
        self.0.call(Operation::DeleteGroup, |state, _| {
            let members = state
                .groups
                .get(group)
                .map_or_else(Vec::new, group::Group::names);
            if !members.is_empty() {
                let reason = format!("it has members: {}", members.join(", "));
                return Err(BrokerError::fatal(format!("delete group {group}"), reason));
            }
            state.groups.remove(group);
            Ok(())
        })
    }

    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        self.0.call(Operation::EndOffsets, |state, _| {
            offsets(state, partitions, "find the end", |log| log.end(isolation))
        })
    }

    fn start_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        self.0.call(Operation::StartOffsets, |state, _| {
            offsets(
                state,
                partitions,
                "find the start",
                log::PartitionLog::start,
            )
        })
    }

    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        self.0.call(Operation::Committed, |state, _| {
            let Some(found) = state.groups.get(group) else {
                return Ok(BTreeMap::new());
            };
            if let Some(unstable) = partitions.iter().find(|p| found.is_unstable(p)) {
                return Err(BrokerError::retry(
                    format!("find the committed offset of {unstable} (group {group})"),
                    "a transaction with offsets of this partition is open",
                ));
            }
            Ok(partitions
                .iter()
                .filter_map(|p| Some((p.clone(), found.committed(p)?)))
                .collect())
        })
    }

    fn member(&self, options: &MemberOptions) -> Result<Box<dyn GroupMember>, BrokerError> {
        Ok(Box::new(MemoryMember::new(self.0.clone(), options)?))
    }

    fn outsider(&self, group: &str) -> GroupMetadata {
        GroupMetadata(Arc::new(Membership::of_nobody(group)))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, BrokerError> {
        self.0.call(Operation::NewReader, |_, _| Ok(()))?;
        Ok(Box::new(MemoryReader::new(self.0.clone(), isolation)))
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>, BrokerError> {
        Ok(Box::new(MemoryProducer::new(self.0.clone(), options)?))
    }
}

fn offsets(
    state: &State,
    partitions: &[TopicPartition],
    action: &str,
    offset: impl Fn(&log::PartitionLog) -> Offset,
) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
    let of = |partition: &TopicPartition| {
        let log = state.topics.log(partition);
        let log = log.ok_or_else(|| topics::missing_partition(action.to_owned(), partition))?;
        Ok((partition.clone(), offset(log)))
    };
    partitions.iter().map(of).collect()
}

impl Shared {
    /// The state as of now: what has timed out by now has done so.
    fn lock(&self) -> (MutexGuard<'_, State>, Timestamp) {
        // A panic can only come out of a failed assertion; the tests that provoke one go on.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        state.expire(now);
        (state, now)
    }

    /// Runs a call, with the faults that are scripted for it.
    fn call<T>(
        &self,
        operation: Operation,
        call: impl FnOnce(&mut State, Timestamp) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let (mut state, now) = self.lock();
        state.faults.take(operation, Effect::None)?;
        let result = call(&mut state, now)?;
        self.changed.notify_all();
        state.faults.take(operation, Effect::Done)?;
        Ok(result)
    }

    /// Looks until something is found, for `timeout` at most; with a zero timeout once.
    fn wait<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(&mut State, Timestamp) -> Option<T>,
    ) -> Option<T> {
        let (mut state, now) = self.lock();
        let mut found = look(&mut state, now);
        if let Some(clock) = &self.moved_by_waiting {
            drop(state);
            if found.is_none() && !timeout.is_zero() {
                clock.advance_millis(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
                let (mut state, now) = self.lock();
                found = look(&mut state, now);
            }
            return found;
        }
        if found.is_none() && !timeout.is_zero() {
            let waited = self.changed.wait_timeout_while(state, timeout, |state| {
                let now = self.clock.now();
                state.expire(now);
                found = look(state, now);
                found.is_none()
            });
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        self.changed.notify_all();
        found
    }
}

/// Hands records to a caller. The log must not be locked: the caller may use it.
fn deliver(records: &[Arc<OwnedRecord>], on_record: OnRecord<'_>) {
    for record in records {
        on_record(record.as_fetched());
    }
}
