//! A store of processors: bytes by bytes, with what is written since the last commit over what the
//! store has.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::processor::keyed::PREFIX;
use crate::state::{OnEntry, StateBatch, StateError, StoreId, TaskState};

/// Entries in memory, by their keys in the store: what has changed, and what has been read.
pub(super) struct EntryStore {
    store: StoreId,
    entries: BTreeMap<Vec<u8>, Entry>,
    heap_bytes: usize,
    budget_bytes: usize,
    key: Vec<u8>,
}

#[derive(Default)]
struct Entry {
    bytes: Vec<u8>,
    /// Whether there is a value, or none.
    is_there: bool,
    is_dirty: bool,
}

/// What an entry takes besides its bytes, about.
const ENTRY_BYTES: usize = size_of::<Vec<u8>>() + size_of::<Entry>() + 16;

impl Entry {
    fn value(&self) -> Option<&[u8]> {
        self.is_there.then_some(self.bytes.as_slice())
    }
}

impl EntryStore {
    pub(super) fn new(store: StoreId, budget_bytes: usize) -> EntryStore {
        EntryStore {
            store,
            entries: BTreeMap::new(),
            heap_bytes: 0,
            budget_bytes,
            key: Vec::new(),
        }
    }

    fn set_key(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.push(PREFIX);
        self.key.extend_from_slice(key);
    }

    /// Makes sure that the entry of a key is in memory.
    pub(super) fn read(&mut self, state: &dyn TaskState, key: &[u8]) -> Result<(), StateError> {
        self.set_key(key);
        if !self.entries.contains_key(&self.key) {
            let mut entry = Entry::default();
            entry.is_there = state.get(self.store, &self.key, &mut entry.bytes)?;
            self.heap_bytes += ENTRY_BYTES + self.key.len() + entry.bytes.len();
            self.entries.insert(self.key.clone(), entry);
        }
        Ok(())
    }

    /// The value of a key that has been [read](EntryStore::read).
    pub(super) fn value(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.set_key(key);
        self.entries.get(&self.key).and_then(Entry::value)
    }

    /// Sets the value of a key, or removes it.
    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.set_key(key);
        if !self.entries.contains_key(&self.key) {
            self.heap_bytes += ENTRY_BYTES + self.key.len();
            self.entries.insert(self.key.clone(), Entry::default());
        }
        let entry = self.entries.get_mut(&self.key).expect("just made");
        self.heap_bytes -= entry.bytes.len();
        entry.bytes.clear();
        entry.bytes.extend_from_slice(value.unwrap_or_default());
        self.heap_bytes += entry.bytes.len();
        entry.is_there = value.is_some();
        entry.is_dirty = true;
    }

    /// Visits the entries from one key, included, to another, excluded (none: to the end).
    pub(super) fn scan(
        &self,
        state: &dyn TaskState,
        from: &[u8],
        to: Option<&[u8]>,
        visit: OnEntry<'_>,
    ) -> Result<(), StateError> {
        let stored_key = |key: &[u8]| [&[PREFIX], key].concat();
        let from = stored_key(from);
        let to = to.map_or(vec![PREFIX + 1], stored_key);
        if from >= to {
            return Ok(());
        }
        let mut flow = ControlFlow::Continue(());
        let mut visit = |key: &[u8], value: Option<&[u8]>| match value {
            Some(value) => visit(&key[1..], value),
            None => ControlFlow::Continue(()),
        };
        let mut written = self.entries.range(from.clone()..to.clone()).peekable();
        state.scan(self.store, &from, &to, &mut |key, value| {
            while let Some((own, entry)) = written.next_if(|(own, _)| own.as_slice() < key) {
                flow = visit(own, entry.value());
                flow?;
            }
            flow = match written.next_if(|(own, _)| own.as_slice() == key) {
                Some((own, entry)) => visit(own, entry.value()),
                None => visit(key, Some(value)),
            };
            flow
        })?;
        if flow.is_continue() {
            // Whoever has seen enough is all there is to stop for.
            let _ = written.try_for_each(|(own, entry)| visit(own, entry.value()));
        }
        Ok(())
    }

    /// Writes what has changed since the last commit.
    pub(super) fn flush(&mut self, batch: &mut StateBatch) {
        let dirty = self.entries.iter_mut().filter(|(_, entry)| entry.is_dirty);
        for (key, entry) in dirty {
            entry.is_dirty = false;
            match entry.value() {
                Some(value) => batch.put(self.store, key, value),
                None => batch.delete(self.store, key),
            }
        }
    }

    /// Forgets everything if it has outgrown half its budget: the store has all of it.
    pub(super) fn committed(&mut self) {
        if self.heap_bytes > self.budget_bytes / 2 {
            self.entries.clear();
            self.heap_bytes = 0;
        }
    }

    /// Whether it has outgrown its budget, so that a commit is due.
    pub(super) fn is_full(&self) -> bool {
        self.heap_bytes > self.budget_bytes
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::state::StateBackend as _;
    use crate::state::memory::MemoryBackend;

    fn scanned(
        store: &EntryStore,
        state: &dyn TaskState,
        from: &[u8],
        to: Option<&[u8]>,
        most: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            match found.len() < most {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        store.scan(state, from, to, &mut visit).unwrap();
        found
    }

    /// Whatever memory has room for, and whenever it is written: it is a map.
    #[test]
    fn it_reads_and_scans_as_a_map_does() {
        for seed in 0..100 {
            let random = &mut StdRng::seed_from_u64(seed);
            let budget = [0, 2_000, 1 << 20][random.random_range(0..3)];
            let mut state = MemoryBackend::default()
                .open("t", &["s".to_owned()])
                .unwrap();
            let mut store = EntryStore::new(0, budget);
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for step in 0..300_u32 {
                let key = random.random_range(0..30_u8);
                let key = [key / 6, key % 6];
                let key = &key[..random.random_range(0..3)];
                match random.random_range(0..6) {
                    0 | 1 => {
                        let value = step.to_be_bytes();
                        store.set(key, Some(&value));
                        model.insert(key.to_vec(), value.to_vec());
                    }
                    2 => {
                        store.set(key, None);
                        model.remove(key);
                    }
                    3 => {
                        store.read(&*state, key).unwrap();
                        let found = store.value(key).map(<[u8]>::to_vec);
                        assert_eq!(found.as_ref(), model.get(key), "seed {seed}, {key:?}");
                    }
                    4 => {
                        let to = [random.random_range(0..6)];
                        let to = random.random_bool(0.7).then_some(&to[..]);
                        let most = random.random_range(1..20);
                        let expected = model.iter().filter(|(each, _)| {
                            each.as_slice() >= key && to.is_none_or(|to| each.as_slice() < to)
                        });
                        let expected: Vec<_> = expected
                            .take(most)
                            .map(|(key, value)| (key.clone(), value.clone()))
                            .collect();
                        let found = scanned(&store, &*state, key, to, most);
                        assert_eq!(found, expected, "seed {seed}, {key:?} to {to:?}");
                    }
                    _ => {
                        let mut batch = StateBatch::default();
                        store.flush(&mut batch);
                        state.write(&batch).unwrap();
                        store.committed();
                    }
                }
            }
        }
    }
}
