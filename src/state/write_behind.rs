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
    /// What is pending may take so many bytes.
    most_bytes: usize,
    /// How often something was pending when it was asked for an order.
    in_the_way: Cell<u32>,
    /// How many batches have passed through since then.
    passed: u32,
}

/// Who asks for an order so often while something is pending goes on doing so: nothing is gained by keeping
/// changes back,
const OFTEN: u32 = 3;

/// until so many batches have passed through.
const AGAIN_AFTER: u32 = 100;

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
    /// Up to where the windows of each store have expired, as far as that was said here.
    expiries: Vec<Option<Timestamp>>,
    /// Whether that has changed.
    has_new_expiries: bool,
    /// By store.
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
    /// Nothing is pending; it may take so many bytes.
    pub fn new(inner: Box<dyn TaskState>, most_bytes: usize) -> WriteBehind {
        WriteBehind {
            parts: RefCell::new(Parts {
                inner,
                pending: Pending::default(),
                batch: StateBatch::default(),
            }),
            most_bytes,
            in_the_way: Cell::new(0),
            passed: 0,
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

    /// Makes sure that nothing is pending, for whoever needs an order; tells whether something was.
    fn make_way(&self) -> Result<bool, StateError> {
        let is_pending = !self.parts.borrow().pending.is_empty();
        if is_pending {
            self.parts.borrow_mut().settle()?;
        }
        Ok(is_pending)
    }

    /// Whether the next batch is written at once.
    fn passes_through(&mut self) -> bool {
        let passes = self.in_the_way.get() >= OFTEN;
        if passes {
            self.passed += 1;
            if self.passed >= AGAIN_AFTER {
                self.passed = 0;
                self.in_the_way.set(0);
            }
        }
        passes
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
        if self.make_way()? {
            self.in_the_way.set(self.in_the_way.get() + 1);
        }
        self.parts.borrow().inner.scan(store, from, to, visit)
    }

    fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError> {
        // Asked once in the life of a task.
        self.make_way()?;
        self.parts.borrow().inner.last_key(store, key)
    }

    fn write(&mut self, batch: &StateBatch) -> Result<(), StateError> {
        let passes_through = self.passes_through();
        let parts = self.parts.get_mut();
        let is_too_much = parts.pending.memory() + batch.bytes() > self.most_bytes;
        let is_range = |change| matches!(change, Change::DeleteRange(..));
        if passes_through || is_too_much || batch.changes().any(is_range) {
            parts.settle()?;
            parts.inner.write(batch)?;
            parts.pending.note_expiries(batch);
            return Ok(());
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

    fn open_from(&self, store: StoreId) -> Option<Timestamp> {
        let parts = self.parts.borrow();
        let said_here = parts.pending.expiries.get(store).copied().flatten();
        said_here.max(parts.inner.open_from(store))
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
        self.entries.is_empty() && !self.has_new_expiries && self.checkpoints.is_empty()
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.entries.len() * (size_of::<Entry>() + size_of::<u32>())
    }

    /// The value of a key; none of it: it is removed; none at all: nothing is known here.
    fn find(&self, store: StoreId, key: &[u8]) -> Option<Option<&[u8]>> {
        if self.has_expired(store, key) {
            return Some(None);
        }
        if self.entries.is_empty() {
            return None;
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
        until.is_some_and(|until| keys::has_expired(key, &keys::window_bytes(until)))
    }

    fn add(&mut self, change: Change<'_>) {
        match change {
            Change::Put(store, key, value) => self.set(store, key, Some(value)),
            Change::Delete(store, key) => self.set(store, key, None),
            Change::Expire(store, until) => {
                self.expire(store, until);
                self.has_new_expiries = true;
            }
            Change::Checkpoint(store, next) => *slot(&mut self.checkpoints, store) = Some(next),
            Change::DeleteRange(..) => unreachable!("ranges are not kept back"),
        }
    }

    fn expire(&mut self, store: StoreId, until: Timestamp) {
        let latest = slot(&mut self.expiries, store);
        *latest = Some(until).max(*latest);
    }

    /// What has expired with a batch that was written past this.
    fn note_expiries(&mut self, batch: &StateBatch) {
        for change in batch.changes() {
            if let Change::Expire(store, until) = change {
                self.expire(store, until);
            }
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
        if self.has_new_expiries {
            for (store, until) in self.expiries.iter().enumerate() {
                if let Some(until) = until {
                    batch.expire(store, *until);
                }
            }
        }
        for (store, next) in self.checkpoints.iter().enumerate() {
            if let Some(next) = next {
                batch.checkpoint(store, *next);
            }
        }
    }

    /// Forgets what was pending, and keeps the memory.
    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.index.clear();
        self.has_new_expiries = false;
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

    use proptest::prelude::*;

    use super::super::StateBackend;
    use super::super::memory::MemoryBackend;
    use super::*;

    fn open(backend: &MemoryBackend) -> (WriteBehind, Box<dyn TaskState>) {
        let stores = ["a".to_owned(), "b".to_owned()];
        let open = || backend.open("0_0", &stores).unwrap();
        (WriteBehind::new(open(), 1 << 20), open())
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
    fn who_often_asks_for_an_order_is_not_kept_waiting() {
        let backend = MemoryBackend::default();
        let (mut state, store) = open(&backend);
        let mut batch = StateBatch::default();
        let mut write = |state: &mut WriteBehind, value: u32| {
            batch.clear();
            batch.put(0, b"k", &value.to_be_bytes());
            state.write(&batch).unwrap();
            let mut found = Vec::new();
            store.get(0, b"k", &mut found).unwrap() && found == value.to_be_bytes()
        };
        for value in 0..OFTEN {
            assert!(!write(&mut state, value), "kept back");
            let entry = (b"k".to_vec(), value.to_be_bytes().to_vec());
            assert_eq!(scanned(&state, 0), [entry]);
        }
        for value in 100..100 + AGAIN_AFTER {
            assert!(write(&mut state, value), "written at once");
        }
        assert!(!write(&mut state, 7), "it is tried again");
        let mut last = Vec::new();
        assert!(state.last_key(0, &mut last).unwrap());
        assert!(!write(&mut state, 8), "the last key is asked for once");
    }

    #[test]
    fn a_batch_that_is_too_large_goes_past() {
        let backend = MemoryBackend::default();
        let stores = ["a".to_owned(), "b".to_owned()];
        let mut state = WriteBehind::new(backend.open("0_0", &stores).unwrap(), 1_000);
        let mut batch = StateBatch::default();
        batch.put(0, b"small", b"1");
        state.write(&batch).unwrap();
        assert!(state.pending_bytes() > 0);
        batch.clear();
        batch.put(0, b"large", &[0; 2_000]);
        batch.put(1, &window(10), b"v");
        batch.expire(1, Timestamp(20));
        state.write(&batch).unwrap();
        assert_eq!(state.pending_bytes(), 0);
        assert!(has(&state, 0, b"small") && has(&state, 0, b"large"));
        assert_eq!(state.open_from(1), Some(Timestamp(20)));
        batch.clear();
        batch.put(1, &window(15), b"late");
        state.write(&batch).unwrap();
        assert!(!has(&state, 1, &window(15)), "it had expired before");
    }

    /// One thing that is done to a state.
    #[derive(Clone, Debug)]
    enum Step {
        Put(StoreId, i64, u8),
        Delete(StoreId, i64),
        DeleteRange(StoreId, i64, i64),
        Expire(StoreId, i64),
        Checkpoint(StoreId, i64),
        Write,
        Settle,
        Scan(StoreId),
        Last(StoreId),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (store, start) = (0..2usize, 0..8i64);
        prop_oneof![
            6 => (store.clone(), start.clone(), 0..40u8).prop_map(|(s, at, n)| Step::Put(s, at, n)),
            3 => (store.clone(), start.clone()).prop_map(|(s, at)| Step::Delete(s, at)),
            1 => (store.clone(), start.clone(), start.clone())
                .prop_map(|(s, from, to)| Step::DeleteRange(s, from, to)),
            1 => (store.clone(), start.clone()).prop_map(|(s, at)| Step::Expire(s, at)),
            1 => (store.clone(), start).prop_map(|(s, at)| Step::Checkpoint(s, at)),
            5 => Just(Step::Write),
            1 => Just(Step::Settle),
            1 => store.clone().prop_map(Step::Scan),
            1 => store.prop_map(Step::Last),
        ]
    }

    fn scanned(state: &dyn TaskState, store: StoreId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut take = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        state.scan(store, b"", &[0xFF; 9], &mut take).unwrap();
        found
    }

    proptest! {
        /// Whatever is done in whatever order, it answers as a state does that is written at once.
        #[test]
        fn it_answers_as_a_state_that_is_written_at_once(steps in prop::collection::vec(step(), 1..80), most in 100..2_000usize) {
            let stores = ["a".to_owned(), "b".to_owned()];
            let (model, behind) = (MemoryBackend::default(), MemoryBackend::default());
            let mut model = model.open("0_0", &stores).unwrap();
            let mut state = WriteBehind::new(behind.open("0_0", &stores).unwrap(), most);
            let mut batch = StateBatch::default();
            for step in steps {
                match step {
                    Step::Put(store, at, n) => batch.put(store, &window(at), &vec![n; n.into()]),
                    Step::Delete(store, at) => batch.delete(store, &window(at)),
                    Step::DeleteRange(store, from, to) => batch.delete_range(store, &window(from), &window(to)),
                    Step::Expire(store, at) => batch.expire(store, Timestamp(at)),
                    Step::Checkpoint(store, next) => batch.checkpoint(store, next),
                    Step::Write => {
                        model.write(&batch).unwrap();
                        state.write(&batch).unwrap();
                        batch.clear();
                    }
                    Step::Settle => state.settle().unwrap(),
                    Step::Scan(store) => prop_assert_eq!(scanned(&state, store), scanned(&*model, store)),
                    Step::Last(store) => {
                        let (mut found, mut expected) = (Vec::new(), Vec::new());
                        prop_assert_eq!(
                            state.last_key(store, &mut found).unwrap(),
                            model.last_key(store, &mut expected).unwrap()
                        );
                        prop_assert_eq!(found, expected);
                    }
                }
                for store in 0..2 {
                    for at in 0..8 {
                        let (mut found, mut expected) = (Vec::new(), Vec::new());
                        prop_assert_eq!(
                            state.get(store, &window(at), &mut found).unwrap(),
                            model.get(store, &window(at), &mut expected).unwrap()
                        );
                        prop_assert_eq!(found, expected);
                    }
                    prop_assert_eq!(state.checkpoint(store).unwrap(), model.checkpoint(store).unwrap());
                    prop_assert_eq!(state.open_from(store), model.open_from(store));
                }
            }
            // What it has said is in the store as well.
            state.settle().unwrap();
            let written = behind.open("0_0", &stores).unwrap();
            for store in 0..2 {
                prop_assert_eq!(scanned(&*written, store), scanned(&*model, store));
                prop_assert_eq!(written.checkpoint(store).unwrap(), model.checkpoint(store).unwrap());
            }
        }
    }
}
