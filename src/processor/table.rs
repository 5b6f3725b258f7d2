//! The write-back table of a fold: decoded accumulators by window and key.
//!
//! During a commit interval a hot key is updated here, in place; neither the codec nor the store
//! sees it. At the commit each entry that changed is encoded once. Entries stay for the next
//! interval until the table outgrows its budget; then all of them go (they are in the store).

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::aggregate::Accumulator;
use crate::codec::{self, Decode, DecodeError, Encode};
use crate::state::keys;
use crate::time::Timestamp;
use crate::topology::graph::Function;

/// The result of one key and window so far.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Folded {
    /// The largest event time in it, in milliseconds.
    pub max_time_ms: i64,
    /// One per function.
    pub accumulators: Vec<Accumulator>,
}

/// Stored results that do not belong to this topology or are damaged.
#[derive(Debug, thiserror::Error)]
pub enum FoldedError {
    /// Damaged, or of another version.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Not under a key that an aggregate writes.
    #[error("damaged key")]
    Key,
    /// Written for other aggregate functions.
    #[error("stored results are of other aggregate functions than the topology's {expected}")]
    OtherFunctions {
        /// How many functions the topology has.
        expected: usize,
    },
}

impl Folded {
    /// Before the first record.
    pub fn new(functions: &[Function]) -> Folded {
        let accumulators = functions.iter().map(Accumulator::new).collect();
        Folded {
            max_time_ms: i64::MIN,
            accumulators,
        }
    }

    /// Reads what [`Folded::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged or belong to other functions.
    pub fn decode(bytes: &[u8], functions: &[Function]) -> Result<Folded, FoldedError> {
        let folded: Folded = codec::decode(bytes)?;
        folded.check(functions)?;
        Ok(folded)
    }

    /// The event time of what [`Folded::encode`] wrote, without reading the rest.
    ///
    /// # Errors
    /// When the bytes are damaged, as far as that is seen.
    pub fn time_of(bytes: &[u8]) -> Result<Timestamp, DecodeError> {
        codec::decode_beginning(bytes).map(Timestamp)
    }

    /// Whether it is of these functions.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, functions: &[Function]) -> Result<(), FoldedError> {
        let states = self.accumulators.iter().zip(functions);
        let fits = self.accumulators.len() == functions.len()
            && states.into_iter().all(|(state, of)| state.is_of(of));
        match fits {
            true => Ok(()),
            false => Err(FoldedError::OtherFunctions {
                expected: functions.len(),
            }),
        }
    }

    /// Whether all its results are null: nothing has come but records that count for nothing.
    pub fn is_void(&self) -> bool {
        self.accumulators.iter().all(Accumulator::is_void)
    }

    /// Forgets all records.
    pub fn begin_anew(&mut self, functions: &[Function]) {
        self.max_time_ms = i64::MIN;
        for (accumulator, function) in self.accumulators.iter_mut().zip(functions) {
            *accumulator = Accumulator::new(function);
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        codec::encode_into(self, out);
    }

    /// Takes over what the other has seen.
    pub fn merge(&mut self, other: &Folded) {
        self.max_time_ms = self.max_time_ms.max(other.max_time_ms);
        for (mine, other) in self.accumulators.iter_mut().zip(&other.accumulators) {
            mine.merge(other);
        }
    }
}

/// What a table keeps.
pub trait Kept {
    /// How many bytes it takes in memory beyond its own size, about.
    fn heap_bytes(&self) -> usize;
}

impl Kept for Folded {
    fn heap_bytes(&self) -> usize {
        let own = self.accumulators.capacity() * size_of::<Accumulator>();
        let accumulators = self.accumulators.iter().map(Accumulator::heap_bytes);
        own + accumulators.sum::<usize>()
    }
}

/// An entry of the table.
#[derive(Debug)]
pub struct Entry<V> {
    /// Window and key, as in the store.
    pub key: Box<[u8]>,
    /// The result so far.
    pub value: V,
    hash: u64,
    dirty: bool,
}

/// Decoded results by window and key.
#[derive(Debug)]
pub struct Table<V> {
    hasher: RandomState,
    index: HashTable<u32>,
    entries: Vec<Entry<V>>,
    /// Entries that changed since the last commit, in the order in which they first did.
    dirty: Vec<u32>,
    /// Entries of windows that begin before this are of no use any more.
    gone_before: Timestamp,
    /// How many entries were left when such entries were last let go.
    left: usize,
    heap_bytes: usize,
    budget_bytes: usize,
}

/// Where an entry stands, until the table is next cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId(u32);

/// Where a key was found, or how it hashes.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// Here.
    Found(EntryId),
    /// Nowhere; the hash is for [`Table::insert`].
    Absent(u64),
}

impl<V: Kept> Table<V> {
    /// An empty table that may grow to about this size between commits.
    pub fn new(budget_bytes: usize) -> Table<V> {
        Table {
            hasher: RandomState::default(),
            index: HashTable::new(),
            entries: Vec::new(),
            dirty: Vec::new(),
            gone_before: Timestamp::MIN,
            left: 0,
            heap_bytes: 0,
            budget_bytes,
        }
    }

    /// Looks a key up.
    pub fn find(&self, key: &[u8]) -> Lookup {
        let hash = self.hasher.hash_one(key);
        match self
            .index
            .find(hash, |at| *self.entries[*at as usize].key == *key)
        {
            Some(at) => Lookup::Found(EntryId(*at)),
            None => Lookup::Absent(hash),
        }
    }

    /// Adds a key that [`Table::find`] did not find.
    pub fn insert(&mut self, hash: u64, key: &[u8], value: V) -> EntryId {
        let at = u32::try_from(self.entries.len()).expect("fewer than 2^32 entries fit in memory");
        self.heap_bytes += size_of::<Entry<V>>() + key.len() + value.heap_bytes() + 8;
        self.entries.push(Entry {
            key: key.into(),
            value,
            hash,
            dirty: false,
        });
        let entries = &self.entries;
        self.index
            .insert_unique(hash, at, |at| entries[*at as usize].hash);
        EntryId(at)
    }

    /// An entry.
    pub fn get(&self, id: EntryId) -> &V {
        &self.entries[id.0 as usize].value
    }

    /// The result of an entry, to be changed.
    pub fn change(&mut self, id: EntryId) -> &mut V {
        let entry = &mut self.entries[id.0 as usize];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(id.0);
        }
        &mut entry.value
    }

    /// Visits the changed entries in the order in which they first changed; they count as
    /// unchanged from then on.
    pub fn drain_dirty<E>(
        &mut self,
        mut visit: impl FnMut(&[u8], &mut V) -> Result<(), E>,
    ) -> Result<(), E> {
        for at in self.dirty.drain(..) {
            let entry = &mut self.entries[at as usize];
            entry.dirty = false;
            // Sketches grow in place, so their size is taken here, once per commit.
            self.heap_bytes += entry.value.heap_bytes() / 8;
            visit(&entry.key, &mut entry.value)?;
        }
        Ok(())
    }

    /// All entries, in no particular order.
    pub fn entries(&self) -> &[Entry<V>] {
        &self.entries
    }

    /// Whether it has outgrown its budget, so that a commit is due.
    pub fn is_full(&self) -> bool {
        self.heap_bytes > self.budget_bytes
    }

    /// Forgets everything if it has outgrown half its budget; called after a commit, when the
    /// store has all of it. Tells whether it has.
    pub fn trim(&mut self) -> bool {
        debug_assert!(
            self.dirty.is_empty(),
            "trimmed between flush and the next record"
        );
        if self.heap_bytes > self.budget_bytes / 2 {
            self.let_go();
        }
        let is_too_large = self.heap_bytes > self.budget_bytes / 2;
        if is_too_large {
            self.clear();
        }
        is_too_large
    }

    /// Forgets everything, changed or not.
    pub fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        self.dirty.clear();
        self.left = 0;
        self.heap_bytes = 0;
    }

    /// Nobody asks any more for entries of windows that begin before `start`. They are let go when that
    /// is worth a pass over all entries: when there are twice as many as the last pass has left.
    pub fn forget_before(&mut self, start: Timestamp) {
        self.gone_before = self.gone_before.max(start);
        if self.entries.len() >= 2 * self.left {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        let start = self.gone_before;
        let is_old = |entry: &Entry<V>| {
            keys::split_window(&entry.key).is_ok_and(|(window, _)| window < start)
        };
        if self.entries.iter().any(is_old) {
            let entries = std::mem::take(&mut self.entries);
            self.clear();
            for entry in entries.into_iter().filter(|entry| !is_old(entry)) {
                let id = self.insert(entry.hash, &entry.key, entry.value);
                if entry.dirty {
                    self.change(id);
                }
            }
        }
        self.left = self.entries.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(start: i64, name: &str) -> Vec<u8> {
        let mut key = Vec::new();
        keys::push_window(Timestamp(start), &mut key);
        key.extend_from_slice(name.as_bytes());
        key
    }

    fn add(table: &mut Table<Folded>, key: &[u8]) {
        let id = match table.find(key) {
            Lookup::Found(id) => id,
            Lookup::Absent(hash) => table.insert(hash, key, Folded::new(&[Function::Count])),
        };
        table.change(id).accumulators[0].add(&Function::Count, &[], Timestamp(0));
    }

    fn drain(table: &mut Table<Folded>) -> Vec<(Vec<u8>, Folded)> {
        let mut seen = Vec::new();
        let drained: Result<(), ()> = table.drain_dirty(|key, folded| {
            seen.push((key.to_vec(), folded.clone()));
            Ok(())
        });
        drained.unwrap();
        seen
    }

    #[test]
    fn changed_entries_come_out_once_in_the_order_of_their_first_change() {
        let mut table: Table<Folded> = Table::new(1 << 20);
        for name in ["b", "a", "b", "c"] {
            add(&mut table, &key(0, name));
        }
        let drained = drain(&mut table);
        assert_eq!(
            drained.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>(),
            [key(0, "b"), key(0, "a"), key(0, "c")]
        );
        assert_eq!(drained[0].1.accumulators, [Accumulator::Count(2)]);
        assert!(drain(&mut table).is_empty());
        add(&mut table, &key(0, "a"));
        assert_eq!(drain(&mut table)[0].1.accumulators, [Accumulator::Count(2)]);
    }

    #[test]
    fn old_windows_are_forgotten_and_the_rest_is_still_found() {
        let mut table: Table<Folded> = Table::new(1 << 20);
        for start in 0..10 {
            add(&mut table, &key(start, "x"));
        }
        table.forget_before(Timestamp(7));
        assert_eq!(table.entries().len(), 3);
        for start in 10..13 {
            table.forget_before(Timestamp(start - 2));
            add(&mut table, &key(start, "x"));
        }
        assert_eq!(table.entries().len(), 6);
        table.forget_before(Timestamp(7));
        assert_eq!(table.entries().len(), 3, "from 10 to 12");
        assert!(matches!(table.find(&key(9, "x")), Lookup::Absent(_)));
        assert!(matches!(table.find(&key(10, "x")), Lookup::Found(_)));
        assert_eq!(drain(&mut table).len(), 3);
    }

    #[test]
    fn it_says_when_it_is_full_and_is_empty_after_the_trim() {
        let mut table: Table<Folded> = Table::new(4_000);
        let mut count = 0;
        while !table.is_full() {
            add(&mut table, &key(count, "some key"));
            count += 1;
        }
        assert!((10..100).contains(&count), "{count}");
        drain(&mut table);
        table.trim();
        assert_eq!(table.entries().len(), 0);
        assert_eq!(table.heap_bytes, 0);
    }

    #[test]
    fn results_of_other_functions_are_refused() {
        let mut bytes = Vec::new();
        Folded::new(&[Function::Count]).encode(&mut bytes);
        assert!(Folded::decode(&bytes, &[Function::CountIf]).is_ok());
        assert!(Folded::decode(&bytes, &[Function::Sum]).is_err());
        assert!(Folded::decode(&bytes, &[Function::Count, Function::Count]).is_err());
    }
}
