//! What a SQL sink has read and not yet written.

use std::ops::Range;

use super::holding::Waiting;
use super::queue::{self, RecordQueue};
use crate::broker::{Fetched, Offset, TopicPartition};
use crate::processor::Wait;
use crate::sql::LedgerMove;
use crate::time::Timestamp;

/// The records of all partitions that a sink reads. Where it has several inputs, those of one
/// partition number are taken as a task takes them: the oldest first, and an input that is not at
/// its end is waited for.
#[derive(Default)]
pub(super) struct SinkQueues {
    /// By partition number, and then in the order of the inputs.
    queues: Vec<SinkQueue>,
    /// Those of one partition number.
    groups: Vec<Range<usize>>,
    /// From how many of them something has been taken.
    moves: u32,
}

/// The records of one partition.
pub(super) struct SinkQueue {
    pub(super) records: RecordQueue,
    /// The input that they belong to.
    pub(super) input: usize,
    /// The offset of the next record that is not in the table.
    written: Offset,
    /// The offset of the next record that has not been taken.
    next: Offset,
    /// Which of the moves of this write is its own; none: nothing has been taken for it.
    moved: Option<u32>,
}

impl SinkQueue {
    /// An empty queue: the table has what is before `written`, and the partition is read from `next` on.
    pub(super) fn new(
        records: RecordQueue,
        input: usize,
        written: Offset,
        next: Offset,
    ) -> SinkQueue {
        SinkQueue {
            records,
            input,
            written,
            next,
            moved: None,
        }
    }

    /// Adds a record; gives the offset that was expected if there is a gap in front of it.
    pub(super) fn push(&mut self, record: &Fetched<'_>) -> Option<Offset> {
        let expected = self.behind_last();
        self.records.push(record);
        (record.offset != expected).then_some(expected)
    }

    fn behind_last(&self) -> Offset {
        let last = self.records.last_offset();
        last.map_or(self.next, |last| last + 1)
    }
}

impl SinkQueues {
    /// These queues.
    pub(super) fn new(mut queues: Vec<SinkQueue>) -> SinkQueues {
        let number = |queue: &SinkQueue| queue.records.partition().partition;
        queues.sort_by_key(|queue| (number(queue), queue.input));
        let mut groups = Vec::new();
        let mut start = 0;
        for group in queues.chunk_by(|a, b| number(a) == number(b)) {
            groups.push(start..start + group.len());
            start += group.len();
        }
        SinkQueues {
            queues,
            groups,
            moves: 0,
        }
    }

    /// Whether nothing is read at all.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The queue of that number.
    pub(super) fn get(&self, at: usize) -> &SinkQueue {
        &self.queues[at]
    }

    /// The queue of a partition.
    pub(super) fn of(&mut self, topic: &str, partition: i32) -> Option<&mut SinkQueue> {
        self.queues.iter_mut().find(|queue| {
            let own = queue.records.partition();
            own.partition == partition && *own.topic == *topic
        })
    }

    /// How many records wait.
    pub(super) fn records(&self) -> usize {
        self.queues.iter().map(|queue| queue.records.len()).sum()
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.queues.iter().map(|queue| queue.records.bytes()).sum()
    }

    /// Each partition, with what of it waits.
    pub(super) fn waiting(
        &self,
        at_end: &dyn Fn(&TopicPartition) -> bool,
    ) -> impl Iterator<Item = Waiting<'_>> + Clone {
        let is_stuck = !self.is_ready(at_end);
        self.queues.iter().map(move |queue| Waiting {
            partition: queue.records.partition(),
            bytes: queue.records.memory(),
            next: queue.behind_last(),
            is_stuck,
        })
    }

    /// Finds out when those records happened that have come since it was last asked. `now` is the
    /// wall-clock time.
    ///
    /// # Errors
    /// When a schema cannot be had.
    pub(super) fn find_times(&mut self, now: Timestamp) -> Result<(), Wait> {
        let mut queues = self.queues.iter_mut();
        queues.try_for_each(|queue| queue.records.find_times(now))
    }

    /// The numbers of the queues of each partition number, which are taken together.
    pub(super) fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        self.groups.clone().into_iter()
    }

    /// The queue of a group that is to be taken from, and up to which time, as [`queue::oldest`].
    pub(super) fn oldest(
        &self,
        group: &Range<usize>,
        at_end: &dyn Fn(&TopicPartition) -> bool,
    ) -> Option<(usize, Timestamp)> {
        let queues = self.queues[group.clone()]
            .iter()
            .map(|queue| &queue.records);
        let (at, up_to) = queue::oldest(queues, at_end)?;
        Some((group.start + at, up_to))
    }

    /// Whether anything can be taken.
    pub(super) fn is_ready(&self, at_end: &dyn Fn(&TopicPartition) -> bool) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| self.oldest(group, at_end).is_some())
    }

    /// The number that the move of a queue has or will have.
    pub(super) fn number_of_move(&mut self, at: usize) -> u32 {
        let moves = &mut self.moves;
        *self.queues[at].moved.get_or_insert_with(|| {
            *moves += 1;
            *moves - 1
        })
    }

    /// Takes `count` records out of a queue.
    pub(super) fn take(&mut self, at: usize, count: usize) {
        let queue = &mut self.queues[at];
        if let Some(next) = queue.records.take(count) {
            queue.next = next;
        }
    }

    /// How far what has been taken moves the ledger, by number.
    pub(super) fn moves(&self) -> Vec<LedgerMove> {
        let moved = self
            .queues
            .iter()
            .filter_map(|queue| Some((queue.moved?, queue)));
        let mut moved: Vec<_> = moved.collect();
        moved.sort_by_key(|(number, _)| *number);
        let moves = moved.into_iter().map(|(_, queue)| LedgerMove {
            partition: queue.records.partition().clone(),
            from: queue.written,
            to: queue.next,
        });
        moves.collect()
    }

    /// What has been taken is in the table.
    pub(super) fn written(&mut self) {
        self.moves = 0;
        // The ledger of the others stands where it stood, perhaps before what is left of their log.
        let moved = self.queues.iter_mut();
        for queue in moved.filter(|queue| queue.moved.is_some()) {
            queue.written = queue.next;
            queue.moved = None;
            queue.records.forget_taken();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::OwnedRecord;
    use crate::runtime::queue::RecordClock;
    use crate::topology::plan::{Input, Reader};

    /// ```text
    ///   t-0   the ledger is at 5, and so is the log
    ///   t-1   the ledger is at 100, the log begins at 150
    /// ```
    #[test]
    fn the_ledger_moves_from_where_it_stands_whatever_others_have_written() {
        let queue = |partition, written, next| {
            let input = Input {
                topics: vec!["t".to_owned()],
                reader: Reader::Partials,
                with_headers: false,
                next: Vec::new(),
            };
            let partition = TopicPartition::new("t", partition);
            let records = RecordQueue::new(partition, &input, RecordClock::Log);
            SinkQueue::new(records, 0, written, next)
        };
        let mut queues = SinkQueues::new(vec![queue(1, 100, 150), queue(0, 5, 5)]);
        let mut write = |partition, offset| {
            let record = OwnedRecord {
                topic: "t".into(),
                partition,
                offset,
                timestamp: Timestamp(0),
                key: None,
                value: None,
                headers: Vec::new(),
            };
            let queue = queues.of("t", partition).unwrap();
            assert_eq!(queue.push(&record.as_fetched()), None, "no gap");
            for group in queues.groups() {
                while let Some((at, _)) = queues.oldest(&group, &|_| true) {
                    queues.number_of_move(at);
                    queues.take(at, 1);
                }
            }
            let moves = queues.moves();
            queues.written();
            let [only] = moves.as_slice() else {
                panic!("{moves:?}");
            };
            (only.partition.partition, only.from, only.to)
        };
        assert_eq!(write(0, 5), (0, 5, 6));
        assert_eq!(write(1, 150), (1, 100, 151));
        assert_eq!(write(1, 151), (1, 151, 152));
    }
}
