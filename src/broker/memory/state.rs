//! Everything that the log's lock protects, and the transactions that tie it together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::chance::Chance;
use super::fault::Faults;
use super::group::Group;
use super::log::{Outcome, TransactionNumber};
use super::topics::Topics;
use crate::broker::{BrokerError, Offset, Outgoing, TopicPartition};
use crate::time::Timestamp;

/// Counts the producers that have had a transactional id.
pub(super) type Epoch = u32;

/// A producer as the log knows it: the id, and which of its holders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub transactional_id: String,
    pub epoch: Epoch,
}

/// The state of the whole log.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether all members are said to be of one process.
    pub is_one_process: bool,
    pub topics: Topics,
    pub groups: BTreeMap<String, Group>,
    pub faults: Faults,
    /// How members read, where that is left to chance.
    pub chance: Option<Chance>,
    ids: BTreeMap<String, TransactionalId>,
    transactions: TransactionNumber,
    members: u64,
}

#[derive(Debug)]
struct TransactionalId {
    epoch: Epoch,
    timeout: Duration,
    open: Option<Transaction>,
}

/// Begins with the first record or offset that is written in it.
#[derive(Debug)]
struct Transaction {
    number: TransactionNumber,
    since: Timestamp,
    partitions: BTreeSet<TopicPartition>,
    groups: BTreeSet<String>,
}

impl State {
    /// A number for a new member.
    pub(super) fn next_member(&mut self) -> u64 {
        self.members += 1;
        self.members
    }

    /// Lets time pass: overdue transactions are aborted, silent members evicted.
    pub(super) fn expire(&mut self, now: Timestamp) {
        for group in self.groups.values_mut() {
            group.expire(now);
        }
        let overdue = |id: &TransactionalId| {
            let limit = i64::try_from(id.timeout.as_millis()).unwrap_or(i64::MAX);
            id.open
                .as_ref()
                .is_some_and(|open| now > open.since.plus_millis(limit))
        };
        let overdue: Vec<String> = self
            .ids
            .iter()
            .filter(|(_, id)| overdue(id))
            .map(|(name, _)| name.clone())
            .collect();
        for id in overdue {
            self.fence(&id);
        }
    }

    /// A new producer takes the id over.
    pub(super) fn take_over(&mut self, transactional_id: &str, timeout: Duration) -> Holder {
        self.fence(transactional_id);
        let id = self
            .ids
            .entry(transactional_id.to_owned())
            .or_insert(TransactionalId {
                epoch: 0,
                timeout,
                open: None,
            });
        id.timeout = timeout;
        Holder {
            transactional_id: transactional_id.to_owned(),
            epoch: id.epoch,
        }
    }

    /// Whoever holds the id is out, and its open transaction is aborted.
    pub(super) fn fence(&mut self, transactional_id: &str) {
        self.close(transactional_id, Outcome::Aborted);
        if let Some(id) = self.ids.get_mut(transactional_id) {
            id.epoch += 1;
        }
    }

    /// Refuses all but the present holder of the id.
    pub(super) fn check_holder(&self, action: &str, holder: &Holder) -> Result<(), BrokerError> {
        match self.ids.get(&holder.transactional_id) {
            Some(id) if id.epoch == holder.epoch => Ok(()),
            _ => Err(BrokerError::fenced(
                action,
                format!(
                    "transactional id {} has a newer producer, or its transaction timed out",
                    holder.transactional_id
                ),
            )),
        }
    }

    /// Writes a record, in the holder's transaction if there is a holder.
    pub(super) fn append(
        &mut self,
        record: &Outgoing<'_>,
        holder: Option<&Holder>,
        now: Timestamp,
    ) -> Result<(TopicPartition, Offset), BrokerError> {
        let Some(holder) = holder else {
            return self.topics.append(record, None, now);
        };
        let number = self.number_of(holder, now);
        let (partition, offset) = self.topics.append(record, Some(number), now)?;
        self.transaction(holder, now)
            .partitions
            .insert(partition.clone());
        Ok((partition, offset))
    }

    /// Adds a group's offsets to the holder's transaction.
    pub(super) fn add_offsets(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
        holder: &Holder,
        now: Timestamp,
    ) {
        let number = self.number_of(holder, now);
        self.transaction(holder, now)
            .groups
            .insert(group.to_owned());
        let group = self.groups.entry(group.to_owned()).or_default();
        group.add_pending(number, offsets.iter().cloned());
    }

    fn number_of(&mut self, holder: &Holder, now: Timestamp) -> TransactionNumber {
        self.transaction(holder, now).number
    }

    /// The open transaction of the id; a new one if need be.
    fn transaction(&mut self, holder: &Holder, now: Timestamp) -> &mut Transaction {
        let id = self
            .ids
            .get_mut(&holder.transactional_id)
            .expect("the holder was checked");
        id.open.get_or_insert_with(|| {
            self.transactions += 1;
            Transaction {
                number: self.transactions,
                since: now,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
            }
        })
    }

    /// Ends the open transaction of the id, if there is one.
    pub(super) fn close(&mut self, transactional_id: &str, outcome: Outcome) {
        let Some(id) = self.ids.get_mut(transactional_id) else {
            return;
        };
        let Some(transaction) = id.open.take() else {
            return;
        };
        for partition in &transaction.partitions {
            let log = self.topics.log_mut(partition).expect("it was written to");
            log.end_transaction(transaction.number, outcome);
        }
        for group in &transaction.groups {
            let group = self.groups.get_mut(group).expect("its offsets were added");
            group.end_transaction(transaction.number, outcome == Outcome::Committed);
        }
    }

    /// The transactional ids with an open transaction.
    pub(super) fn open_transactions(&self) -> Vec<String> {
        let open = self.ids.iter().filter(|(_, id)| id.open.is_some());
        open.map(|(name, _)| name.clone()).collect()
    }
}
