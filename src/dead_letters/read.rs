//! Reads the letters of a topic.

use std::ops::ControlFlow;
use std::time::Duration;

use super::Letter;
use crate::broker::{Broker, BrokerError, Isolation, Offset, OwnedRecord, TopicPartition};

const POLL: Duration = Duration::from_millis(200);

/// After so many polls with nothing the log is taken to be away.
const MOST_EMPTY_POLLS: u32 = 150;

/// Visits all letters of a topic that are there now, partition by partition, until the visitor breaks. A topic
/// that does not exist has none.
///
/// # Errors
/// When the log cannot be read.
pub fn read(
    broker: &dyn Broker,
    topic: &str,
    visit: &mut dyn FnMut(Letter) -> ControlFlow<()>,
) -> Result<(), BrokerError> {
    read_records(broker, topic, &mut |record| visit(Letter::of(record)))
}

/// The same for records of any topic.
pub(super) fn read_records(
    broker: &dyn Broker,
    topic: &str,
    visit: &mut dyn FnMut(OwnedRecord) -> ControlFlow<()>,
) -> Result<(), BrokerError> {
    let counts = broker.partition_counts(&[topic])?;
    let count = counts.get(topic).copied().unwrap_or(0) as i32;
    let partitions: Vec<_> = (0..count)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    let starts = broker.start_offsets(&partitions)?;
    let ends = broker.end_offsets(&partitions, Isolation::ReadCommitted)?;
    let mut reader = broker.reader(Isolation::ReadCommitted)?;
    for partition in partitions {
        let (mut next, end) = (starts[&partition], ends[&partition]);
        if next < end {
            reader.assign(&[(partition.clone(), next)])?;
        }
        let mut empty_polls = 0;
        while next < end {
            let mut flow = ControlFlow::Continue(());
            reader.poll(POLL, 1_000, &mut |record| {
                if flow.is_continue() && record.offset < end {
                    flow = visit(record.to_owned_record());
                }
            })?;
            if flow.is_break() {
                return Ok(());
            }
            let reached: Offset = reader.position(&partition).unwrap_or(next);
            empty_polls = if reached > next { 0 } else { empty_polls + 1 };
            if empty_polls > MOST_EMPTY_POLLS {
                return Err(BrokerError::retry(
                    format!("read {partition}"),
                    format!("nothing comes behind offset {next} of {end}"),
                ));
            }
            next = reached;
        }
    }
    Ok(())
}
