//! The last changes of a task's state, in memory, before they are written together.
//!
//! A store has to be told of a key once in a while, not at each commit: what was lost with the process is in
//! the changelog, as is what was lost with the machine. So changes gather here. A key that changes often is
//! written once, and a window that expires meanwhile never.
//!
//! ```text
//!   commit ─→ write ─→ what is pending ──┬─ settle ─→ the store
//!                        ↑               ├─ it is asked for an order
//!                     get, first         └─ a range is deleted
//! ```

use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{Change, OnEntry, StateBatch, StateError, StateReader, StoreId, TaskState, keys};
use crate::broker::Offset;
use crate::time::Timestamp;

/// A task's state that is written behind. Dropped, it forgets what is pending, as a process does that is
/// killed; [`WriteBehind::settle`] first, to have less to restore.
pub struct WriteBehind {
    parts: RefCell<Parts>,
    /// Whether it was asked for an order while something was pending: who does so once does so again, and
    /// nothing is gained by keeping changes back.
    passes_through: Cell<bool>,
}

struct Parts {
    inner: Box<dyn TaskState>,
    pending: Pending,
    /// What is pending as the store wants it; kept for its memory.
    batch: StateBatch,
}

#[derive(Default)]
struct Pending {
    /// Keys and values.
    bytes: Vec<u8>,
    /// Each key once, in the order in which they first changed.
    entries: Vec<Entry>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// By store.
    expiries: Vec<Option<Timestamp>>,
    checkpoints: Vec<Option<Offset>>,
}

struct Entry {
    hash: u64,
    store: StoreId,
    key: Range<usize>,
    /// None: the key is removed.
    value: Option<Range<usize>>,
}

impl WriteBehind {
    /// Nothing is pending.
    pub fn new(inner: Box<dyn TaskState>) -> WriteBehind {
        WriteBehind {
            parts: RefCell::new(Parts {
                inner,
                pending: Pending::default(),
                batch: StateBatch::default(),
            }),
            passes_through: Cell::new(false),
        }
    }

    /// How much memory what is pending takes, in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.parts.borrow().pending.memory()
    }

    /// Writes what is pending.
    ///
    /// # Errors
    /// When the store refuses; it is pending still.
    pub fn settle(&mut self) -> Result<(), StateError> {
        self.parts.get_mut().settle()
    }

    /// The store, with nothing pending, for whoever needs an order.
    fn in_order<T>(
        &self,
        ask: impl FnOnce(&dyn TaskState) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        if !self.parts.borrow().pending.is_empty() {
            self.passes_through.set(true);
            self.parts.borrow_mut().settle()?;
        }
        ask(&*self.parts.borrow().inner)
    }
}

impl Parts {
    fn settle(&mut self) -> Result<(), StateError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.batch.clear();
        self.pending.collect(&mut self.batch);
        self.inner.write(&self.batch)?;
        self.pending.clear();
        Ok(())
    }
}

impl TaskState for WriteBehind {
    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        let parts = self.parts.borrow();
        match parts.pending.find(store, key) {
            Some(found) => {
                value.clear();
                value.extend_from_slice(found.unwrap_or_default());
                Ok(found.is_some())
            }
            None => parts.inner.get(store, key, value),
        }
    }

    fn scan(
        &self,
        store: StoreId,
        from: &[u8],
        to: &[u8],
        visit: OnEntry<'_>,
    ) -> Result<(), StateError> {
        self.in_order(|inner| inner.scan(store, from, to, visit))
    }

    fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError> {
        self.in_order(|inner| inner.last_key(store, key))
    }

    fn write(&mut self, batch: &StateBatch) -> Result<(), StateError> {
        let passes_through = self.passes_through.get();
        let parts = self.parts.get_mut();
        let is_range = |change| matches!(change, Change::DeleteRange(..));
        if passes_through || batch.changes().any(is_range) {
            parts.settle()?;
            return parts.inner.write(batch);
        }
        for change in batch.changes() {
            parts.pending.add(change);
        }
        Ok(())
    }

    fn checkpoint(&self, store: StoreId) -> Result<Option<Offset>, StateError> {
        let parts = self.parts.borrow();
        match parts.pending.checkpoints.get(store).copied().flatten() {
            Some(next) => Ok(Some(next)),
            None => parts.inner.checkpoint(store),
        }
    }

    fn size_bytes(&self) -> u64 {
        let parts = self.parts.borrow();
        parts.inner.size_bytes() + parts.pending.memory() as u64
    }

    /// It sees what has been written, not what is pending.
    fn reader(&self) -> Arc<dyn StateReader> {
        self.parts.borrow().inner.reader()
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.expiries.is_empty() && self.checkpoints.is_empty()
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.entries.len() * (size_of::<Entry>() + size_of::<u32>())
    }

    /// The value of a key; none of it: it is removed; none at all: nothing is known here.
    fn find(&self, store: StoreId, key: &[u8]) -> Option<Option<&[u8]>> {
        if self.has_expired(store, key) {
            return Some(None);
        }
        let hash = self.hasher.hash_one((store, key));
        let at = self.index.find(hash, |at| self.is_of(*at, store, key))?;
        let value = self.entries[*at as usize].value.clone();
        Some(value.map(|value| &self.bytes[value]))
    }

    fn is_of(&self, at: u32, store: StoreId, key: &[u8]) -> bool {
        let entry = &self.entries[at as usize];
        entry.store == store && self.bytes[entry.key.clone()] == *key
    }

    fn has_expired(&self, store: StoreId, key: &[u8]) -> bool {
        let until = self.expiries.get(store).copied().flatten();
        until.is_some_and(|until| {
            let until = keys::window_bytes(until);
            (&keys::FIRST_WINDOW[..]..&until[..]).contains(&key)
        })
    }

    fn add(&mut self, change: Change<'_>) {
        match change {
            Change::Put(store, key, value) => self.set(store, key, Some(value)),
            Change::Delete(store, key) => self.set(store, key, None),
            Change::Expire(store, until) => {
                let latest = slot(&mut self.expiries, store);
                *latest = Some(until).max(*latest);
            }
            Change::Checkpoint(store, next) => *slot(&mut self.checkpoints, store) = Some(next),
            Change::DeleteRange(..) => unreachable!("ranges are not kept back"),
        }
    }

    fn set(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>) {
        let hash = self.hasher.hash_one((store, key));
        let found = self.index.find(hash, |at| self.is_of(*at, store, key));
        let at = match found {
            Some(at) => *at as usize,
            None => {
                let at = u32::try_from(self.entries.len()).expect("few enough for memory");
                let key = push(&mut self.bytes, key);
                let value = None;
                self.entries.push(Entry {
                    hash,
                    store,
                    key,
                    value,
                });
                let entries = &self.entries;
                self.index
                    .insert_unique(hash, at, |at| entries[*at as usize].hash);
                at as usize
            }
        };
        let place = &mut self.entries[at].value;
        *place = match (place.take(), value) {
            // It mostly has the length that it had, or less.
            (Some(old), Some(value)) if value.len() <= old.len() => {
                let new = old.start..old.start + value.len();
                self.bytes[new.clone()].copy_from_slice(value);
                Some(new)
            }
            (_, Some(value)) => Some(push(&mut self.bytes, value)),
            (_, None) => None,
        };
    }

    /// What has to be written.
    fn collect(&self, batch: &mut StateBatch) {
        for entry in &self.entries {
            let key = &self.bytes[entry.key.clone()];
            if self.has_expired(entry.store, key) {
                continue;
            }
            match &entry.value {
                Some(value) => batch.put(entry.store, key, &self.bytes[value.clone()]),
                None => batch.delete(entry.store, key),
            }
        }
        for (store, until) in self.expiries.iter().enumerate() {
            if let Some(until) = until {
                batch.expire(store, *until);
            }
        }
        for (store, next) in self.checkpoints.iter().enumerate() {
            if let Some(next) = next {
                batch.checkpoint(store, *next);
            }
        }
    }

    /// Forgets everything and keeps the memory.
    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.index.clear();
        self.expiries.clear();
        self.checkpoints.clear();
    }
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) -> Range<usize> {
    let start = bytes.len();
    bytes.extend_from_slice(part);
    start..bytes.len()
}

/// The place of a store in a list that is as long as need be.
fn slot<T: Clone>(list: &mut Vec<Option<T>>, store: StoreId) -> &mut Option<T> {
    if list.len() <= store {
        list.resize(store + 1, None);
    }
    &mut list[store]
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::StateBackend;
    use super::super::memory::MemoryBackend;
    use super::*;

    /// Settles when it is dropped, as a task that is closed does.
    struct Settling(WriteBehind);

    impl Drop for Settling {
        fn drop(&mut self) {
            self.0.settle().unwrap();
        }
    }

    impl TaskState for Settling {
        fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
            self.0.get(store, key, value)
        }

        fn scan(
            &self,
            store: StoreId,
            from: &[u8],
            to: &[u8],
            visit: OnEntry<'_>,
        ) -> Result<(), StateError> {
            self.0.scan(store, from, to, visit)
        }

        fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError> {
            self.0.last_key(store, key)
        }

        fn write(&mut self, batch: &StateBatch) -> Result<(), StateError> {
            self.0.write(batch)
        }

        fn checkpoint(&self, store: StoreId) -> Result<Option<Offset>, StateError> {
            self.0.checkpoint(store)
        }

        fn size_bytes(&self) -> u64 {
            self.0.size_bytes()
        }

        fn reader(&self) -> Arc<dyn StateReader> {
            // The suite reads from outside what was written a line before.
            self.0.parts.borrow_mut().settle().unwrap();
            self.0.reader()
        }
    }

    #[derive(Default)]
    struct Behind(MemoryBackend);

    impl StateBackend for Behind {
        fn open(&self, task: &str, stores: &[String]) -> Result<Box<dyn TaskState>, StateError> {
            let inner = self.0.open(task, stores)?;
            Ok(Box::new(Settling(WriteBehind::new(inner))))
        }

        fn set_aside(&self, task: &str) -> Result<(), StateError> {
            self.0.set_aside(task)
        }
    }

    #[test]
    fn it_does_what_every_backend_does() {
        super::super::suite::all(&Behind::default());
    }

    fn open(backend: &MemoryBackend) -> (WriteBehind, Box<dyn TaskState>) {
        let stores = ["a".to_owned(), "b".to_owned()];
        let open = || backend.open("0_0", &stores).unwrap();
        (WriteBehind::new(open()), open())
    }

    fn window(start: i64) -> Vec<u8> {
        keys::window_key(Timestamp(start), b"g")
    }

    fn has(state: &dyn TaskState, store: StoreId, key: &[u8]) -> bool {
        state.get(store, key, &mut Vec::new()).unwrap()
    }

    #[test]
    fn what_expires_before_it_is_settled_is_never_written() {
        let backend = MemoryBackend::default();
        let (mut state, store) = open(&backend);
        let mut batch = StateBatch::default();
        batch.put(1, &window(10), b"v");
        batch.put(1, &window(20), b"v");
        batch.checkpoint(1, 7);
        state.write(&batch).unwrap();
        assert!(has(&state, 1, &window(10)) && has(&state, 1, &window(20)));
        assert!(!has(&*store, 1, &window(20)));
        assert_eq!(state.checkpoint(1).unwrap(), Some(7));
        assert_eq!(store.checkpoint(1).unwrap(), None);

        batch.clear();
        batch.expire(1, Timestamp(20));
        state.write(&batch).unwrap();
        assert!(!has(&state, 1, &window(10)));
        let mut wanted = StateBatch::default();
        state.parts.borrow().pending.collect(&mut wanted);
        let (kept, rest): (Vec<_>, Vec<_>) = wanted
            .changes()
            .partition(|change| matches!(change, Change::Put(..) | Change::Delete(..)));
        assert_eq!(kept, [Change::Put(1, &window(20), b"v")]);
        assert_eq!(
            rest,
            [Change::Expire(1, Timestamp(20)), Change::Checkpoint(1, 7)]
        );
        state.settle().unwrap();
        assert!(has(&*store, 1, &window(20)) && !has(&*store, 1, &window(10)));
        assert_eq!(state.pending_bytes(), 0);
    }

    #[test]
    fn dropped_it_forgets_what_is_pending() {
        let backend = MemoryBackend::default();
        let (mut state, store) = open(&backend);
        let mut batch = StateBatch::default();
        batch.put(0, b"k", b"1");
        batch.checkpoint(0, 1);
        state.write(&batch).unwrap();
        state.settle().unwrap();
        batch.clear();
        batch.put(0, b"k", b"2");
        batch.checkpoint(0, 2);
        state.write(&batch).unwrap();
        drop(state);
        let mut value = Vec::new();
        assert!(store.get(0, b"k", &mut value).unwrap());
        assert_eq!(
            (&value[..], store.checkpoint(0).unwrap()),
            (&b"1"[..], Some(1))
        );
    }

    #[test]
    fn who_asks_for_an_order_is_not_kept_waiting_twice() {
        let backend = MemoryBackend::default();
        let (mut state, store) = open(&backend);
        let mut batch = StateBatch::default();
        batch.put(0, b"k", b"1");
        state.write(&batch).unwrap();
        let mut seen = Vec::new();
        let mut take = |key: &[u8], value: &[u8]| {
            seen.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        state.scan(0, b"", b"z", &mut take).unwrap();
        assert_eq!(seen, [(b"k".to_vec(), b"1".to_vec())]);
        batch.clear();
        batch.delete(0, b"k");
        state.write(&batch).unwrap();
        assert!(!has(&*store, 0, b"k"), "written at once from now on");
    }

    #[test]
    fn values_that_grow_and_shrink_are_what_they_were_set_to() {
        let backend = MemoryBackend::default();
        let (mut state, _) = open(&backend);
        let mut value = Vec::new();
        for text in ["", "abc", "ab", "abcd", "x"] {
            for (store, key) in [(0, &b"k"[..]), (1, b"k"), (0, b"l")] {
                let mut batch = StateBatch::default();
                batch.put(store, key, text.as_bytes());
                state.write(&batch).unwrap();
                assert!(state.get(store, key, &mut value).unwrap());
                assert_eq!(value, text.as_bytes());
            }
        }
        let mut batch = StateBatch::default();
        batch.delete(0, b"k");
        state.write(&batch).unwrap();
        assert!(!has(&state, 0, b"k") && has(&state, 1, b"k") && has(&state, 0, b"l"));
    }
}
