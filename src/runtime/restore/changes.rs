//! The last change of each key in a stretch of a changelog: a hot key is written to the store once, not
//! once per commit.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The value of a key that was deleted.
const DELETED: u32 = u32::MAX;

/// Room that a value gets on top of its length, so that the next one of its key fits as well: counters
/// grow by a byte now and then.
const SLACK: usize = 8;

/// The last change of each key. All bytes stand in one buffer, so a change costs no allocation.
#[derive(Default)]
pub(super) struct LastChanges {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    by_key: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    key_start: u32,
    key_len: u32,
    value_start: u32,
    /// Or [`DELETED`].
    value_len: u32,
    /// How many bytes the value may take where it is.
    room: u32,
}

impl Entry {
    fn key<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.key_start as usize..][..self.key_len as usize]
    }

    fn value<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        match self.value_len {
            DELETED => None,
            len => Some(&bytes[self.value_start as usize..][..len as usize]),
        }
    }
}

impl LastChanges {
    /// The key has this value now; none: it is no more.
    ///
    /// # Panics
    /// Beyond 4 GiB.
    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        let LastChanges {
            bytes,
            entries,
            by_key,
            hasher,
        } = self;
        let hash = hasher.hash_one(key);
        let is_it = |at: &u32| entries[*at as usize].key(bytes) == key;
        let at = match by_key.find(hash, is_it) {
            Some(at) => *at as usize,
            None => {
                let at = entries.len();
                entries.push(Entry {
                    hash,
                    key_start: offset(bytes.len()),
                    key_len: offset(key.len()),
                    value_start: 0,
                    value_len: DELETED,
                    room: 0,
                });
                bytes.extend_from_slice(key);
                by_key.insert_unique(hash, offset(at), |at| entries[*at as usize].hash);
                at
            }
        };
        let entry = &mut entries[at];
        let Some(value) = value else {
            entry.value_len = DELETED;
            return;
        };
        if value.len() > entry.room as usize {
            entry.value_start = offset(bytes.len());
            entry.room = offset(value.len() + SLACK);
            bytes.resize(bytes.len() + value.len() + SLACK, 0);
        }
        entry.value_len = offset(value.len());
        bytes[entry.value_start as usize..][..value.len()].copy_from_slice(value);
    }

    /// The memory in use, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * (size_of::<Entry>() + 2 * size_of::<u32>())
    }

    /// The keys in their order, each with its value; none: it is no more.
    pub(super) fn sorted(&mut self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        let LastChanges { bytes, entries, .. } = self;
        // The table is of no use from now on: it is cleared with the rest.
        entries.sort_unstable_by(|a, b| a.key(bytes).cmp(b.key(bytes)));
        let bytes = &*bytes;
        entries
            .iter()
            .map(|entry| (entry.key(bytes), entry.value(bytes)))
    }

    /// Forgets all changes and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.by_key.clear();
    }
}

fn offset(bytes: usize) -> u32 {
    let small = u32::try_from(bytes).ok().filter(|small| *small != DELETED);
    small.expect("less than 4 GiB of changes")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn the_last_change_of_each_key_is_left_in_the_order_of_keys() {
        let mut random = StdRng::seed_from_u64(7);
        let mut changes = LastChanges::default();
        for round in 0..20 {
            let mut expected = BTreeMap::new();
            for _ in 0..round * 50 {
                let key = vec![random.random_range(0..40); random.random_range(1..3)];
                let value: Vec<u8> = (0..random.random_range(0..30)).collect();
                let value = (random.random_range(0..4) > 0).then_some(value);
                changes.put(&key, value.as_deref());
                expected.insert(key, value);
            }
            assert_eq!(changes.sorted().len(), expected.len());
            let expected: Vec<_> = expected
                .iter()
                .map(|(key, value)| (key.as_slice(), value.as_deref()))
                .collect();
            assert_eq!(changes.sorted().collect::<Vec<_>>(), expected, "{round}");
            changes.clear();
        }
    }

    #[test]
    fn a_hot_key_takes_no_more_room() {
        let mut changes = LastChanges::default();
        for n in 0..100_000_u32 {
            changes.put(b"hot", Some(&n.to_be_bytes()));
        }
        assert!(changes.bytes() < 200, "{}", changes.bytes());
    }
}
