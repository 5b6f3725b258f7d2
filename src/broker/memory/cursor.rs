//! Where a reader stands in each of its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chance::Chance;
use super::topics::Topics;
use crate::broker::{BrokerError, Isolation, Offset, OwnedRecord, TopicPartition};

/// The partitions that are being read, and how far.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    partitions: BTreeMap<TopicPartition, Cursor>,
    /// The partition that the last read ended in; the next one begins behind it, so that a busy
    /// partition does not starve the others.
    last: Option<TopicPartition>,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    position: Offset,
    at_end: bool,
    /// It stood outside the log, and that was reported.
    silent: bool,
}

impl Cursors {
    /// Reads exactly these from now on.
    pub(super) fn assign(&mut self, positions: &[(TopicPartition, Offset)]) {
        let cursor = |position| Cursor {
            position,
            at_end: false,
            silent: false,
        };
        self.partitions = positions
            .iter()
            .map(|(p, offset)| (p.clone(), cursor(*offset)))
            .collect();
    }

    /// Reads these no more.
    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        self.partitions
            .retain(|partition, _| !partitions.contains(partition));
    }

    /// Reads nothing more; returns what was being read.
    pub(super) fn clear(&mut self) {
        self.partitions.clear();
    }

    /// The sum of all positions: it rises with each step.
    pub(super) fn reached(&self) -> Offset {
        self.partitions.values().map(|cursor| cursor.position).sum()
    }

    /// The next visible records of all partitions, `max` at most; of which partitions, and how many,
    /// may be left to chance.
    pub(super) fn fetch(
        &mut self,
        topics: &Topics,
        isolation: Isolation,
        max: usize,
        mut chance: Option<&mut Chance>,
    ) -> Result<Vec<Arc<OwnedRecord>>, BrokerError> {
        self.check_positions(topics)?;
        let mut records = Vec::new();
        let mut order = self.in_turn();
        let max = match &mut chance {
            Some(chance) => {
                chance.shuffle(&mut order);
                chance.portion(max)
            }
            None => max,
        };
        for partition in order {
            let log = topics.log(&partition).expect("checked when assigned");
            let cursor = self.partitions.get_mut(&partition).expect("its own key");
            if cursor.silent {
                continue;
            }
            let before = records.len();
            let room = max - before;
            let most = match &mut chance {
                Some(chance) => chance.portion(room),
                None => room,
            };
            let reached = log
                .read(cursor.position, isolation, most, |record| {
                    records.push(record.clone())
                })
                .expect("the position was checked");
            cursor.position = reached.position;
            cursor.at_end = reached.at_end;
            if records.len() > before {
                self.last = Some(partition);
            }
        }
        Ok(records)
    }

    fn check_positions(&mut self, topics: &Topics) -> Result<(), BrokerError> {
        for (partition, cursor) in &mut self.partitions {
            let log = topics.log(partition).expect("checked when assigned");
            if !cursor.silent && log.check_position(cursor.position).is_err() {
                cursor.silent = true;
                return Err(BrokerError::OutOfRange {
                    partition: partition.clone(),
                    offset: cursor.position,
                });
            }
        }
        Ok(())
    }

    fn in_turn(&self) -> Vec<TopicPartition> {
        let behind = |p: &&TopicPartition| self.last.as_ref().is_some_and(|last| *p > last);
        let (first, then): (Vec<_>, Vec<_>) = self.partitions.keys().partition(behind);
        first.into_iter().chain(then).cloned().collect()
    }

    /// The offset of the next record to be delivered.
    pub(super) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.partitions.get(partition).map(|cursor| cursor.position)
    }

    /// Whether the last read reached the end of the partition.
    pub(super) fn at_end(&self, partition: &TopicPartition) -> bool {
        self.partitions
            .get(partition)
            .is_some_and(|cursor| cursor.at_end && !cursor.silent)
    }
}
