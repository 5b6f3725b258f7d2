//! The identities of recent events, to recognise those that come again.
//!
//! Memory is bounded: a ring of the last so many, each 16 bytes and the offset at which the event
//! was seen. The bytes of an identity are the same in every run and on every machine, because the
//! Wikimedia connector keeps them across restarts.

use std::collections::VecDeque;

use hashbrown::HashMap;
use siphasher::sip128::{Hasher128, SipHasher24};

/// What an event is recognised by: its UUID, or a 128-bit hash of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// Of an id as it stands in the event. A UUID is taken as it is, so two of them never collide.
    pub fn of(id: &str) -> EventId {
        match uuid::Uuid::try_parse(id) {
            Ok(uuid) if id.len() == 36 => EventId(uuid.into_bytes()),
            _ => EventId::of_bytes(id.as_bytes()),
        }
    }

    /// Of an event that has no id: its bytes.
    pub fn of_bytes(bytes: &[u8]) -> EventId {
        let mut hasher = SipHasher24::new();
        std::hash::Hasher::write(&mut hasher, bytes);
        EventId(hasher.finish128().as_bytes())
    }
}

/// The last so many identities.
#[derive(Clone, Debug)]
pub struct RecentIds {
    capacity: usize,
    /// Oldest first.
    order: VecDeque<EventId>,
    /// Where each was seen, if that is known and still means something.
    offsets: HashMap<EventId, Option<i64>, foldhash::fast::FixedState>,
    /// How many were ever inserted: the number of the next one.
    inserted: u64,
}

impl RecentIds {
    /// An empty ring for `capacity` identities, at least 1.
    pub fn new(capacity: usize) -> RecentIds {
        RecentIds {
            capacity: capacity.max(1),
            order: VecDeque::new(),
            offsets: HashMap::default(),
            inserted: 0,
        }
    }

    /// Remembers an identity; forgets the oldest when there is no room. False when it is known
    /// already (then nothing changes).
    pub fn insert(&mut self, id: EventId, offset: Option<i64>) -> bool {
        match self.offsets.entry(id) {
            hashbrown::hash_map::Entry::Occupied(_) => return false,
            hashbrown::hash_map::Entry::Vacant(entry) => entry.insert(offset),
        };
        if self.order.len() == self.capacity {
            let oldest = self.order.pop_front().expect("the capacity is at least 1");
            self.offsets.remove(&oldest);
        }
        self.order.push_back(id);
        self.inserted += 1;
        true
    }

    /// None when the identity is not known; otherwise the offset that was noted with it.
    pub fn get(&self, id: EventId) -> Option<Option<i64>> {
        self.offsets.get(&id).copied()
    }

    /// Notes another offset for a known identity.
    pub fn set_offset(&mut self, id: EventId, offset: i64) {
        if let Some(known) = self.offsets.get_mut(&id) {
            *known = Some(offset);
        }
    }

    /// The offsets mean nothing any more; the identities stay.
    pub fn forget_offsets(&mut self) {
        self.offsets.values_mut().for_each(|offset| *offset = None);
    }

    /// How many identities were ever inserted, the forgotten ones included.
    pub fn inserted(&self) -> u64 {
        self.inserted
    }

    /// The number of the oldest one that is still here; equals [`RecentIds::inserted`] when empty.
    pub fn oldest(&self) -> u64 {
        self.inserted - self.order.len() as u64
    }

    /// Those with the numbers from `from` on, oldest first, at most `count`.
    pub fn since(&self, from: u64, count: usize) -> impl Iterator<Item = (EventId, Option<i64>)> {
        let skip = from.saturating_sub(self.oldest()) as usize;
        self.order
            .iter()
            .skip(skip)
            .take(count)
            .map(|id| (*id, self.offsets[id]))
    }

    /// Continues the numbering of an earlier run: the next identity gets the number `next`. For a
    /// ring that is still empty.
    pub fn number_from(&mut self, next: u64) {
        debug_assert!(self.order.is_empty());
        self.inserted = next;
    }

    /// How many fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many are remembered now.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True when none is remembered.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> EventId {
        EventId::of(&n.to_string())
    }

    #[test]
    fn the_identity_of_a_uuid_is_the_uuid_and_of_anything_else_a_hash_that_never_changes() {
        let hex = |id: EventId| id.0.map(|byte| format!("{byte:02x}")).concat();
        let uuid = "500e90f8-36f3-4c1b-be8b-e8af2b55ccef";
        assert_eq!(hex(EventId::of(uuid)), "500e90f836f34c1bbe8be8af2b55ccef");
        // Stored by earlier versions: these bytes must stay what they are.
        assert_eq!(hex(EventId::of("42")), hex(EventId::of_bytes(b"42")));
        assert_eq!(hex(EventId::of("42")), "82f86bb9a157dd9e33fa8ae6235e1f11");
        assert_ne!(EventId::of("42"), EventId::of("43"));
    }

    #[test]
    fn a_full_ring_forgets_the_oldest_first() {
        let mut ring = RecentIds::new(3);
        for n in 0..3 {
            assert!(ring.insert(id(n), Some(n.into())));
        }
        assert!(!ring.insert(id(0), None), "known, so nothing is forgotten");
        assert!(ring.insert(id(3), None));
        assert_eq!(
            [0, 1, 2, 3].map(|n| ring.get(id(n)).is_some()),
            [false, true, true, true]
        );
        assert_eq!((ring.len(), ring.oldest(), ring.inserted()), (3, 1, 4));
    }

    #[test]
    fn forgotten_offsets_leave_the_identities_known() {
        let mut ring = RecentIds::new(3);
        ring.insert(id(1), Some(10));
        ring.forget_offsets();
        assert_eq!(ring.get(id(1)), Some(None));
        ring.set_offset(id(1), 11);
        assert_eq!(ring.get(id(1)), Some(Some(11)));
    }

    #[test]
    fn a_range_is_addressed_by_the_numbers_of_insertion() {
        let mut ring = RecentIds::new(4);
        ring.number_from(100);
        for n in 0..6 {
            ring.insert(id(n), Some(n.into()));
        }
        let offsets = |from, count| -> Vec<i64> {
            ring.since(from, count)
                .filter_map(|(_, offset)| offset)
                .collect()
        };
        assert_eq!(offsets(104, 10), [4, 5]);
        assert_eq!(offsets(102, 2), [2, 3]);
        assert_eq!(offsets(0, 1), [2], "what is forgotten is left out");
        assert_eq!(offsets(106, 1), [0i64; 0]);
    }
}
