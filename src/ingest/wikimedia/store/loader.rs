//! Puts the records of the position topic together again.

use std::collections::BTreeMap;

use super::{
    CHUNK_ENTRY, CHUNK_HEAD, LoadError, OwnTopics, PositionRecord, Stored, TopicRecord, VERSION,
};
use crate::broker::{Offset, TopicPartition};
use crate::ingest::recent::{EventId, RecentIds};
use crate::ingest::wikimedia::position::{PositionSettings, TopicPosition};
use crate::time::Timestamp;

/// Puts the stored records together.
pub(super) struct Loader<'a> {
    own: &'a OwnTopics,
    position: Option<Vec<u8>>,
    /// By topic and number of the first identity. A slot that was written again stands here with
    /// both its chunks; the older one is beyond the ring.
    chunks: BTreeMap<(TopicPartition, u64), Chunk>,
    broken: Option<String>,
}

struct Chunk {
    numbering: u32,
    entries: Vec<(EventId, Offset)>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(own: &'a OwnTopics) -> Loader<'a> {
        Loader {
            own,
            position: None,
            chunks: BTreeMap::new(),
            broken: None,
        }
    }

    pub(super) fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        let (Ok(key), Some(value)) = (std::str::from_utf8(key), value) else {
            return;
        };
        if key == self.own.name {
            self.position = Some(value.to_vec());
        } else if let Some(place) = self.chunk_place(key) {
            match read_chunk(value) {
                Some((first, chunk)) => {
                    self.chunks.insert((place, first), chunk);
                }
                None => self.broken = Some(format!("record {key} is not a chunk of identities")),
            }
        }
    }

    /// `<name>/ids/<topic>/<partition>/<slot>`
    fn chunk_place(&self, key: &str) -> Option<TopicPartition> {
        let rest = key
            .strip_prefix(self.own.name.as_str())?
            .strip_prefix("/ids/")?;
        let mut parts = rest.rsplitn(3, '/');
        let (_slot, partition, topic) = (parts.next()?, parts.next()?, parts.next()?);
        Some(TopicPartition::new(topic, partition.parse().ok()?))
    }

    pub(super) fn finish(
        mut self,
        settings: PositionSettings,
    ) -> Result<Option<Stored>, LoadError> {
        let Some(json) = self.position.take() else {
            return Ok(None);
        };
        let unreadable = |reason| LoadError::Unreadable {
            name: self.own.name.clone(),
            topic: self.own.position.clone(),
            reason,
        };
        if let Some(reason) = self.broken.take() {
            return Err(unreadable(reason));
        }
        let record: PositionRecord =
            serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))?;
        if record.version != VERSION {
            let found = record.version;
            return Err(unreadable(format!(
                "expected version {VERSION}, found {found}"
            )));
        }
        let topics = record
            .topics
            .iter()
            .map(|topic| self.topic(topic, settings))
            .collect();
        Ok(Some(Stored {
            session: record.session,
            streams: record.streams,
            began: Timestamp(record.began),
            learn: record.learn,
            server_id: record.server_id,
            topics,
        }))
    }

    fn topic(
        &self,
        record: &TopicRecord,
        settings: PositionSettings,
    ) -> (TopicPartition, TopicPosition) {
        let place = TopicPartition::new(record.topic.as_str(), record.partition);
        let ids = self.ring(&place, record, settings.ids_per_topic);
        let mut topic = TopicPosition::restored(Timestamp(record.began), ids);
        topic.time = record.time.map(Timestamp);
        topic.next = record.next;
        topic.numbering = record.numbering;
        topic.last = record.last.map(Timestamp);
        (place, topic)
    }

    /// The chunks that lie one behind the other up to the last identity, in a ring.
    fn ring(&self, place: &TopicPartition, record: &TopicRecord, capacity: usize) -> RecentIds {
        let mut next = record.ids;
        let mut usable = Vec::new();
        let all = (place.clone(), 0)..=(place.clone(), record.ids);
        for ((_, first), chunk) in self.chunks.range(all).rev() {
            // A chunk may overlap with the next one when the ring was smaller once.
            if first + (chunk.entries.len() as u64) < next || record.ids - next >= capacity as u64 {
                break;
            }
            usable.push((chunk, next.saturating_sub(*first) as usize));
            next = *first;
        }
        let mut ids = RecentIds::new(capacity);
        ids.number_from(next);
        for (chunk, count) in usable.into_iter().rev() {
            for (id, offset) in &chunk.entries[..count] {
                let means_something = chunk.numbering == record.numbering && *offset != Offset::MIN;
                ids.insert(*id, means_something.then_some(*offset));
            }
        }
        ids
    }
}

fn read_chunk(bytes: &[u8]) -> Option<(u64, Chunk)> {
    let (head, entries) = bytes.split_at_checked(CHUNK_HEAD)?;
    if head[0] != VERSION || entries.len() % CHUNK_ENTRY != 0 {
        return None;
    }
    let numbering = u32::from_le_bytes(head[1..5].try_into().ok()?);
    let first = u64::from_le_bytes(head[5..13].try_into().ok()?);
    let entries = entries.chunks_exact(CHUNK_ENTRY).map(|entry| {
        let (id, offset) = entry.split_at(16);
        let id = EventId(id.try_into().expect("split at 16"));
        (
            id,
            Offset::from_le_bytes(offset.try_into().expect("8 of 24 are left")),
        )
    });
    Some((
        first,
        Chunk {
            numbering,
            entries: entries.collect(),
        },
    ))
}
