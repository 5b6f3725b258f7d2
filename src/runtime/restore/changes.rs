//! The last change of each key in a stretch of a changelog: a hot key is written to the store once, not
//! once per commit.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::state::SortedChanges;

/// The value of a key that was deleted.
const DELETED: u32 = u32::MAX;

/// Room that a value gets on top of its length, so that the next one of its key fits as well: counters
/// grow by a byte now and then.
const SLACK: usize = 8;

/// So many changes are sorted and written in two halves at once.
const TOGETHER: usize = 30_000;

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

/// Changes in the order of their keys.
pub(super) struct Sorted<'c> {
    changes: &'c LastChanges,
    order: Vec<Position>,
}

/// Where a change stands. Most keys differ in what is kept of them here, so that comparing them does not
/// look for them in memory: a window, and much of what it is grouped by.
struct Position {
    beginning: [u64; 4],
    at: u32,
}

/// The first bytes of a key, which compare as the key does if they differ.
fn beginning(key: &[u8]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(key.chunks(size_of::<u64>())) {
        let mut padded = [0; size_of::<u64>()];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_be_bytes(padded);
    }
    words
}

impl Sorted<'_> {
    /// One behind the other, to be written at once if there are many.
    pub(super) fn parts(&self) -> Vec<SortedChanges<'_>> {
        let size = match self.order.len() < TOGETHER {
            true => self.order.len(),
            false => self.order.len().div_ceil(2),
        };
        let parts = self.order.chunks(size.max(1));
        parts
            .map(|part| {
                let LastChanges { bytes, entries, .. } = self.changes;
                let change = move |position: &Position| {
                    let entry = &entries[position.at as usize];
                    (entry.key(bytes), entry.value(bytes))
                };
                Box::new(part.iter().map(change)) as SortedChanges<'_>
            })
            .collect()
    }
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

    /// All of them in the order of their keys.
    pub(super) fn sorted(&self) -> Sorted<'_> {
        let LastChanges { bytes, entries, .. } = self;
        let mut order: Vec<Position> = (0..)
            .zip(entries)
            .map(|(at, entry)| Position {
                beginning: beginning(entry.key(bytes)),
                at,
            })
            .collect();
        let by_key = |one: &Position, other: &Position| {
            let by_beginning = one.beginning.cmp(&other.beginning);
            let key = |position: &Position| entries[position.at as usize].key(bytes);
            by_beginning.then_with(|| key(one).cmp(key(other)))
        };
        let middle = order.len() / 2;
        match order.len() < TOGETHER {
            true => order.sort_unstable_by(by_key),
            false => {
                let (lower, _, upper) = order.select_nth_unstable_by(middle, by_key);
                std::thread::scope(|scope| {
                    scope.spawn(|| lower.sort_unstable_by(by_key));
                    upper.sort_unstable_by(by_key);
                });
            }
        }
        Sorted {
            changes: self,
            order,
        }
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

    type Change = (Vec<u8>, Option<Vec<u8>>);

    fn all(changes: &LastChanges) -> Vec<Change> {
        let sorted = changes.sorted();
        let all = sorted.parts().into_iter().flatten();
        all.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
            .collect()
    }

    #[test]
    fn the_last_change_of_each_key_is_left_in_the_order_of_keys() {
        let mut random = StdRng::seed_from_u64(7);
        for round in 0..20 {
            let mut changes = LastChanges::default();
            let mut expected = BTreeMap::new();
            for _ in 0..round * 50 {
                let key = vec![random.random_range(0..40); random.random_range(1..3)];
                let value: Vec<u8> = (0..random.random_range(0..30)).collect();
                let value = (random.random_range(0..4) > 0).then_some(value);
                changes.put(&key, value.as_deref());
                expected.insert(key, value);
            }
            let expected: Vec<Change> = expected.into_iter().collect();
            assert_eq!(all(&changes), expected, "{round}");
        }
    }

    /// Keys that begin alike, and that end where others go on.
    #[test]
    fn many_are_sorted_in_two_parts() {
        let mut random = StdRng::seed_from_u64(5);
        let mut changes = LastChanges::default();
        let mut expected = BTreeMap::new();
        while expected.len() < TOGETHER + 1 {
            let length = random.random_range(1..22);
            let key: Vec<u8> = (0..length).map(|_| random.random_range(0..3)).collect();
            changes.put(&key, Some(b"v"));
            expected.insert(key, Some(b"v".to_vec()));
        }
        let sorted = changes.sorted();
        let lengths: Vec<usize> = sorted.parts().iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [TOGETHER / 2 + 1, TOGETHER / 2]);
        assert_eq!(all(&changes), expected.into_iter().collect::<Vec<_>>());
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
