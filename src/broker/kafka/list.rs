//! Lists of partitions, in librdkafka's form.

use std::ffi::CStr;
use std::sync::Arc;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;

use super::classify::Failure;
use crate::broker::{BrokerError, Offset, TopicPartition};

/// A partition in a list of librdkafka's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub partition: TopicPartition,
    /// Below zero: none, or one of librdkafka's logical offsets.
    pub offset: Offset,
    pub error: Option<Failure>,
}

/// Builds a list with offsets.
pub(super) fn with_offsets(
    action: &str,
    partitions: &[(TopicPartition, Offset)],
) -> Result<TopicPartitionList, BrokerError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (partition, offset) in partitions {
        // The crate's type panics when a name has a NUL character.
        if partition.topic.contains('\0') {
            return Err(BrokerError::fatal(
                action,
                "a topic's name has a NUL character",
            ));
        }
        list.add_partition_offset(
            &partition.topic,
            partition.partition,
            rdkafka::Offset::from_raw(*offset),
        )
        .map_err(|error| BrokerError::fatal(action, error.to_string()))?;
    }
    Ok(list)
}

/// Copies a list.
///
/// # Safety
/// The pointer is null or a list that lives through this call.
pub(super) unsafe fn read(list: *const c::rd_kafka_topic_partition_list_t) -> Vec<Entry> {
    // SAFETY: as required; a list has `cnt` elements.
    unsafe {
        let Some(list) = list.as_ref() else {
            return Vec::new();
        };
        (0..list.cnt as usize)
            .map(|index| read_entry(list.elems.add(index)))
            .collect()
    }
}

/// Copies an entry.
///
/// # Safety
/// The pointer is an entry that lives through this call.
pub(super) unsafe fn read_entry(entry: *const c::rd_kafka_topic_partition_t) -> Entry {
    // SAFETY: as required. The error is read as a number, as a broker's new code is no value of
    // the enum.
    unsafe {
        let error = (&raw const (*entry).err).cast::<i32>().read();
        let topic: Arc<str> = CStr::from_ptr((*entry).topic).to_string_lossy().into();
        Entry {
            partition: TopicPartition::new(topic, (*entry).partition),
            offset: (*entry).offset,
            error: Failure::from_code(error, None),
        }
    }
}
