//! Inputs that are not read just now, because too many of their records wait for another input.

use std::collections::BTreeSet;

use crate::broker::{Offset, TopicPartition};

/// Which partitions of a member are held: left out of what it reads, so that its memory is bounded
/// while those that they wait for come.
pub(super) struct Holding {
    /// So many bytes may wait. An input that has its equal share of it is not read further until half of that
    /// is processed.
    bytes: usize,
    held: BTreeSet<TopicPartition>,
}

/// A partition that is read.
#[derive(Clone, Copy)]
pub(super) struct Waiting<'w> {
    pub(super) partition: &'w TopicPartition,
    /// The memory of its records that wait.
    pub(super) bytes: usize,
    /// The offset behind the last of them.
    pub(super) next: Offset,
    /// Whether they wait for something else to come, and not just for their turn.
    pub(super) is_stuck: bool,
}

impl Holding {
    /// Nothing is held.
    pub(super) fn new(bytes: usize) -> Holding {
        Holding {
            bytes,
            held: BTreeSet::new(),
        }
    }

    /// Everything is read anew.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// Looks at each partition that is read. Gives the positions that are to be read from now on, if others are held than
    /// before.
    pub(super) fn look<'w>(
        &mut self,
        waiting: impl Iterator<Item = Waiting<'w>> + Clone,
    ) -> Option<Vec<(TopicPartition, Offset)>> {
        let share = self.bytes / waiting.clone().count().max(1);
        let held: BTreeSet<TopicPartition> = waiting
            .clone()
            .filter(|waiting| match self.held.contains(waiting.partition) {
                true => waiting.bytes >= share / 2,
                false => waiting.is_stuck && waiting.bytes >= share,
            })
            .map(|waiting| waiting.partition.clone())
            .collect();
        if held == self.held {
            return None;
        }
        self.held = held;
        let read = waiting.filter(|waiting| !self.held.contains(waiting.partition));
        Some(
            read.map(|waiting| (waiting.partition.clone(), waiting.next))
                .collect(),
        )
    }

    /// What is held.
    pub(super) fn held(&self) -> &BTreeSet<TopicPartition> {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is to be read of two partitions when so many bytes of their records wait.
    fn look(holding: &mut Holding, waiting: [usize; 2]) -> Option<Vec<(i32, Offset)>> {
        look_at(holding, waiting, true)
    }

    fn look_at(
        holding: &mut Holding,
        waiting: [usize; 2],
        is_stuck: bool,
    ) -> Option<Vec<(i32, Offset)>> {
        let partitions = [0, 1].map(|number| TopicPartition::new("t", number));
        let waiting = partitions.iter().zip(waiting);
        let waiting = waiting.map(|(partition, bytes)| Waiting {
            partition,
            bytes,
            next: bytes as Offset,
            is_stuck,
        });
        let read = holding.look(waiting)?;
        Some(
            read.into_iter()
                .map(|(at, next)| (at.partition, next))
                .collect(),
        )
    }

    #[test]
    fn a_partition_is_held_from_its_share_on_until_half_of_it_waits() {
        let mut holding = Holding::new(20);
        assert_eq!(look(&mut holding, [9, 0]), None);
        assert_eq!(look(&mut holding, [12, 3]), Some(vec![(1, 3)]));
        assert_eq!(look(&mut holding, [5, 4]), None);
        assert_eq!(look(&mut holding, [4, 10]), Some(vec![(0, 4)]));
        assert_eq!(look(&mut holding, [4, 4]), Some(vec![(0, 4), (1, 4)]));
        // What only waits for its turn is not held, and what is held is let go as before.
        assert_eq!(look_at(&mut holding, [50, 50], false), None);
        assert_eq!(look(&mut holding, [10, 0]), Some(vec![(1, 0)]));
        assert_eq!(look_at(&mut holding, [6, 50], false), None);
        assert_eq!(
            look_at(&mut holding, [4, 50], false),
            Some(vec![(0, 4), (1, 50)])
        );
        look(&mut holding, [10, 0]);
        holding.clear();
        assert_eq!(look(&mut holding, [9, 0]), None);
    }
}
