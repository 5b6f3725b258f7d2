//! Where reading begins: the position that was kept, held against what the log still has.
//!
//! ```text
//!         gone            the log             not written yet
//!   ············|start ──────────────── end|··················
//!        ▲                    ▲                     ▲
//!   go on at the start,    go on here        stop: this is another log
//!   and say what is lost
//! ```

use std::collections::BTreeMap;

use crate::broker::{Broker, BrokerError, Isolation, Offset, TopicPartition};

/// The part of each partition that is there.
pub(super) struct LogRanges {
    starts: BTreeMap<TopicPartition, Offset>,
    ends: BTreeMap<TopicPartition, Offset>,
}

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The offset to read from.
    pub(super) offset: Offset,
    /// How many offsets were deleted before they were read.
    pub(super) lost: Offset,
}

/// A position lies behind the end of its partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the position of {partition} is {position}, but the topic ends at {end}: it was deleted and \
     created again, or this is another cluster"
)]
pub struct BeyondEnd {
    /// The partition.
    pub partition: TopicPartition,
    /// The position that was kept.
    pub position: Offset,
    /// The end of the partition.
    pub end: Offset,
}

impl LogRanges {
    /// Asks the log.
    pub(super) fn of(
        broker: &dyn Broker,
        partitions: &[TopicPartition],
    ) -> Result<LogRanges, BrokerError> {
        Ok(LogRanges {
            starts: broker.start_offsets(partitions)?,
            ends: broker.end_offsets(partitions, Isolation::ReadUncommitted)?,
        })
    }

    /// The first offset that is there.
    pub(super) fn start(&self, partition: &TopicPartition) -> Offset {
        self.starts.get(partition).copied().unwrap_or(0)
    }

    /// The offset behind the last one; what open transactions have written counts.
    pub(super) fn end(&self, partition: &TopicPartition) -> Offset {
        let end = self.ends.get(partition).copied();
        end.unwrap_or_else(|| self.start(partition))
    }

    /// Where to begin for a kept position, or without one.
    ///
    /// # Errors
    /// When the position lies behind the end.
    pub(super) fn begin(
        &self,
        partition: &TopicPartition,
        position: Option<Offset>,
    ) -> Result<Start, BeyondEnd> {
        let start = self.start(partition);
        let end = self.end(partition);
        match position {
            None => Ok(Start {
                offset: start,
                lost: 0,
            }),
            Some(position) if position > end => Err(BeyondEnd {
                partition: partition.clone(),
                position,
                end,
            }),
            Some(position) => Ok(Start {
                offset: position.max(start),
                lost: (start - position).max(0),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log has offsets 10 to 20; gives where to begin and what is lost.
    #[track_caller]
    fn check(position: Option<Offset>, expected: Result<(Offset, Offset), &str>) {
        let partition = TopicPartition::new("t", 1);
        let ranges = LogRanges {
            starts: [(partition.clone(), 10)].into(),
            ends: [(partition.clone(), 20)].into(),
        };
        let found = ranges.begin(&partition, position);
        let found = found
            .map(|start| (start.offset, start.lost))
            .map_err(|error| error.to_string());
        match expected {
            Ok(expected) => assert_eq!(found, Ok(expected)),
            Err(part) => assert!(found.unwrap_err().contains(part)),
        }
    }

    #[test]
    fn reading_begins_inside_the_log_and_what_is_lost_is_known() {
        check(None, Ok((10, 0)));
        check(Some(10), Ok((10, 0)));
        check(Some(15), Ok((15, 0)));
        check(Some(20), Ok((20, 0)));
        check(Some(7), Ok((10, 3)));
        check(
            Some(21),
            Err("position of t-1 is 21, but the topic ends at 20"),
        );
    }
}
