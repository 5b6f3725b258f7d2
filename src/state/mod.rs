//! State stores of tasks: bytes to bytes, one batch per commit.
//!
//! A task owns one [`TaskState`] with a numbered store for each of its stateful nodes, and next to
//! them the changelog offset that each store has reached. Both move in one atomic [`StateBatch`],
//! written only after the log has committed, and then not at once ([`write_behind`]): local state is
//! never ahead of the log, so a crash loses at most the tail, which is replayed from the changelog.

pub mod directory;
pub mod global;
pub mod keys;
pub mod memory;
pub mod rocks;
pub mod write_behind;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::broker::Offset;
use crate::time::Timestamp;

/// The number of a store in its task, in the order of the plan.
pub type StoreId = usize;

/// Receives entries of a scan, in the order of their keys.
pub type OnEntry<'f> = &'f mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Keys in their order, each once, with their values; none: the key is removed.
pub type SortedChanges<'c> =
    Box<dyn ExactSizeIterator<Item = (&'c [u8], Option<&'c [u8]>)> + Send + 'c>;

/// What went wrong with local state, by the reaction that it demands.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds the directory.
    #[error("state in {path} is in use by another process")]
    InUse {
        /// The directory.
        path: String,
    },
    /// What is on disk cannot be trusted: set it aside and rebuild from the changelog.
    #[error("state in {path} is damaged: {reason}")]
    Corrupted {
        /// The directory.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// The disk refuses (full, read-only, gone).
    #[error("cannot {action} state in {path}: {reason}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The directory.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// Changes of a task's state that become durable together.
#[derive(Debug, Default)]
pub struct StateBatch {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    store: StoreId,
    kind: OperationKind,
    /// Key (or first key of a range) and value (or end of the range) in `bytes`, one behind the
    /// other.
    start: usize,
    split: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OperationKind {
    Put,
    Delete,
    DeleteRange,
    Expire,
    Checkpoint,
}

/// One change of a [`StateBatch`], in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'b> {
    /// Sets a key.
    Put(StoreId, &'b [u8], &'b [u8]),
    /// Removes a key.
    Delete(StoreId, &'b [u8]),
    /// Removes all keys from the first, included, to the second, excluded.
    DeleteRange(StoreId, &'b [u8], &'b [u8]),
    /// Removes all windowed keys whose window begins before then, for good.
    Expire(StoreId, Timestamp),
    /// The store has reached this offset of its changelog: that of the next record to be applied.
    Checkpoint(StoreId, Offset),
}

impl StateBatch {
    /// Sets a key.
    pub fn put(&mut self, store: StoreId, key: &[u8], value: &[u8]) {
        self.push(store, OperationKind::Put, key, value);
    }

    /// Removes a key.
    pub fn delete(&mut self, store: StoreId, key: &[u8]) {
        self.push(store, OperationKind::Delete, key, &[]);
    }

    /// Removes all keys from `from`, included, to `to`, excluded.
    pub fn delete_range(&mut self, store: StoreId, from: &[u8], to: &[u8]) {
        self.push(store, OperationKind::DeleteRange, from, to);
    }

    /// Removes all keys from the first window of all ([`keys::window_bytes`]) to that which begins at
    /// `until`, excluded; also those that are set later. It only ever moves forward, and costs nothing
    /// per key: readers look past them, and a backend takes their room back when it comes by.
    pub fn expire(&mut self, store: StoreId, until: Timestamp) {
        let until = keys::window_bytes(until);
        self.push(store, OperationKind::Expire, &until, &[]);
    }

    /// Sets and removes keys of a store.
    pub fn extend<'c>(
        &mut self,
        store: StoreId,
        changes: impl Iterator<Item = (&'c [u8], Option<&'c [u8]>)>,
    ) {
        for (key, value) in changes {
            match value {
                Some(value) => self.put(store, key, value),
                None => self.delete(store, key),
            }
        }
    }

    /// The store has reached this offset of its changelog.
    pub fn checkpoint(&mut self, store: StoreId, next: Offset) {
        self.push(store, OperationKind::Checkpoint, &next.to_be_bytes(), &[]);
    }

    fn push(&mut self, store: StoreId, kind: OperationKind, first: &[u8], second: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(first);
        let split = self.bytes.len();
        self.bytes.extend_from_slice(second);
        self.operations.push(Operation {
            store,
            kind,
            start,
            split,
            end: self.bytes.len(),
        });
    }

    /// The changes in the order in which they were added.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.operations.iter().map(|operation| {
            let first = &self.bytes[operation.start..operation.split];
            let second = &self.bytes[operation.split..operation.end];
            match operation.kind {
                OperationKind::Put => Change::Put(operation.store, first, second),
                OperationKind::Delete => Change::Delete(operation.store, first),
                OperationKind::DeleteRange => Change::DeleteRange(operation.store, first, second),
                OperationKind::Expire => {
                    let (until, _) = keys::split_window(first).expect("written by expire()");
                    Change::Expire(operation.store, until)
                }
                OperationKind::Checkpoint => {
                    let next = first.try_into().expect("written by checkpoint()");
                    Change::Checkpoint(operation.store, Offset::from_be_bytes(next))
                }
            }
        })
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.operations.clear();
    }
}

/// The local state of one task. Owned by the thread that runs the task.
pub trait TaskState: Send {
    /// Copies the value of a key into `value`, replacing what is there; false when there is none.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`].
    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError>;

    /// Visits the entries from `from`, included, to `to`, excluded, in the order of their keys,
    /// until the visitor breaks.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`].
    fn scan(
        &self,
        store: StoreId,
        from: &[u8],
        to: &[u8],
        visit: OnEntry<'_>,
    ) -> Result<(), StateError>;

    /// Copies the last key of a store into `key`, replacing what is there; false when the store is
    /// empty.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`].
    fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError>;

    /// Applies all changes, or none.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`]; nothing has changed then.
    fn write(&mut self, batch: &StateBatch) -> Result<(), StateError>;

    /// Applies many changes of a store, and then those of a batch, which are about other keys. The changes
    /// come in parts, one behind the other. They need not be there together, but the batch is there
    /// only when all of them are: it says how far they go.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`]; nothing of the batch has been applied then.
    fn load(
        &mut self,
        store: StoreId,
        parts: Vec<SortedChanges<'_>>,
        mut batch: StateBatch,
    ) -> Result<(), StateError> {
        batch.extend(store, parts.into_iter().flatten());
        self.write(&batch)
    }

    /// The offset of the next changelog record to be applied to a store; none for a new store.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`].
    fn checkpoint(&self, store: StoreId) -> Result<Option<Offset>, StateError>;

    /// The start of the first window of a store that has not expired; none: nothing has.
    fn open_from(&self, store: StoreId) -> Option<Timestamp>;

    /// Bytes on disk (or in memory), about.
    fn size_bytes(&self) -> u64;

    /// Reads the same state, from other threads too.
    fn reader(&self) -> Arc<dyn StateReader>;
}

/// Reads the state of a task that another thread writes. A batch is seen by the time that
/// [`TaskState::write`] of a store has returned; behind [`write_behind::WriteBehind`], when it is settled.
pub trait StateReader: Send + Sync {
    /// As [`TaskState::get`].
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`].
    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError>;
}

/// Opens the states of tasks; shared by the threads of a process.
pub trait StateBackend: Send + Sync {
    /// Opens the state of a task, making it when it is not there. `stores` are the names of its
    /// stores, by which they are found again after the plan has changed.
    ///
    /// # Errors
    /// When it is in use, damaged, or the disk refuses.
    fn open(&self, task: &str, stores: &[String]) -> Result<Box<dyn TaskState>, StateError>;

    /// Sets the state of a task aside, to be rebuilt from the changelog; what was there is kept
    /// beside it for inspection.
    ///
    /// # Errors
    /// When the disk refuses.
    fn set_aside(&self, task: &str) -> Result<(), StateError>;
}

#[cfg(test)]
mod suite {
    //! What every backend must do; run against each.

    use super::*;

    fn entries(
        state: &dyn TaskState,
        store: StoreId,
        from: &[u8],
        to: &[u8],
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        state
            .scan(store, from, to, &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    pub(super) fn all(backend: &dyn StateBackend) {
        let stores = ["a".to_owned(), "b".to_owned()];
        {
            let mut state = backend.open("0_0", &stores).unwrap();
            a_batch_is_visible_after_it_is_written(&mut *state);
            ranges_are_half_open_and_ordered(&mut *state);
            the_checkpoint_moves_with_the_batch(&mut *state);
            what_has_expired_is_gone_for_good(&mut *state);
            what_is_loaded_replaces_what_was_there(&mut *state);
        }
        what_has_expired_is_gone_after_reopening(backend);
        what_was_written_is_there_after_reopening(backend);
        stores_are_found_by_name(backend);
        a_task_that_was_set_aside_begins_empty(backend, &stores);
    }

    fn what_is_loaded_replaces_what_was_there(state: &mut dyn TaskState) {
        let key = |n: u32| [&b"loaded"[..], &n.to_be_bytes()].concat();
        // Few changes, many, and many again over those.
        for (next, count, deleted) in [(40, 10, 3), (41, 20_000, 7), (42, 30_000, 11)] {
            let changes: Vec<_> = (0..count)
                .map(|n| (key(n), (n % deleted != 0).then(|| count.to_be_bytes())))
                .collect();
            let parts = changes.chunks(count as usize / 2 + 1).map(|part| {
                let values = part.iter();
                let values = values.map(|(key, value)| {
                    let value = value.as_ref().map(|value| &value[..]);
                    (key.as_slice(), value)
                });
                Box::new(values) as SortedChanges<'_>
            });
            let mut batch = StateBatch::default();
            batch.put(0, b"how far", &[count as u8]);
            batch.checkpoint(0, next);
            state.load(0, parts.collect(), batch).unwrap();
            let mut value = Vec::new();
            assert!(state.get(0, b"how far", &mut value).unwrap());
            assert_eq!(value, [count as u8]);
            assert_eq!(state.checkpoint(0).unwrap(), Some(next));
            let found = entries(state, 0, b"loaded", b"loadee");
            let expected = changes.into_iter();
            let expected = expected.filter_map(|(key, value)| Some((key, value?.to_vec())));
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }

    fn a_batch_is_visible_after_it_is_written(state: &mut dyn TaskState) {
        let mut value = vec![9];
        assert!(!state.get(0, b"k", &mut value).unwrap());
        let mut batch = StateBatch::default();
        batch.put(0, b"k", b"1");
        batch.put(0, b"k", b"2");
        batch.put(1, b"k", b"3");
        batch.put(0, b"gone", b"x");
        batch.delete(0, b"gone");
        state.write(&batch).unwrap();
        let reader = state.reader();
        let read = std::thread::spawn(move || {
            let mut value = Vec::new();
            let found = reader.get(0, b"k", &mut value).unwrap();
            (
                found,
                value,
                reader.get(0, b"gone", &mut Vec::new()).unwrap(),
            )
        });
        assert_eq!(read.join().unwrap(), (true, b"2".to_vec(), false));
        assert!(state.get(0, b"k", &mut value).unwrap());
        assert_eq!(value, b"2");
        assert!(state.get(1, b"k", &mut value).unwrap());
        assert_eq!(value, b"3");
        assert!(!state.get(0, b"gone", &mut value).unwrap());
    }

    fn ranges_are_half_open_and_ordered(state: &mut dyn TaskState) {
        let mut batch = StateBatch::default();
        for key in [b"r3", b"r1", b"r2", b"r4"] {
            batch.put(0, key, &key[1..]);
        }
        state.write(&batch).unwrap();
        let mut last = Vec::new();
        assert!(state.last_key(0, &mut last).unwrap());
        assert_eq!(last, b"r4");
        let found = entries(state, 0, b"r1", b"r4");
        assert_eq!(
            found.iter().map(|(k, _)| &k[..]).collect::<Vec<_>>(),
            [b"r1", b"r2", b"r3"]
        );
        let mut seen = 0;
        state
            .scan(0, b"r1", b"r9", &mut |_, _| {
                seen += 1;
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(seen, 1);
        batch.clear();
        batch.delete_range(0, b"r1", b"r3");
        state.write(&batch).unwrap();
        assert_eq!(entries(state, 0, b"r", b"s").len(), 2);
        assert_eq!(entries(state, 1, b"", b"z").len(), 1);
    }

    fn the_checkpoint_moves_with_the_batch(state: &mut dyn TaskState) {
        assert_eq!(state.checkpoint(0).unwrap(), None);
        let mut batch = StateBatch::default();
        batch.checkpoint(0, 41);
        batch.checkpoint(0, 42);
        state.write(&batch).unwrap();
        assert_eq!(state.checkpoint(0).unwrap(), Some(42));
        assert_eq!(state.checkpoint(1).unwrap(), None);
    }

    fn windows(state: &dyn TaskState) -> Vec<i64> {
        let found = entries(state, 1, &[0x80], &[0x81]);
        let start = |(key, _): &(Vec<u8>, Vec<u8>)| keys::split_window(key).unwrap().0.0;
        found.iter().map(start).collect()
    }

    fn what_has_expired_is_gone_for_good(state: &mut dyn TaskState) {
        let mut batch = StateBatch::default();
        for start in [10, 20, 30] {
            batch.put(1, &keys::window_key(Timestamp(start), b"g"), b"v");
        }
        batch.expire(1, Timestamp(20));
        state.write(&batch).unwrap();
        assert_eq!(windows(state), [20, 30]);

        batch.clear();
        batch.put(1, &keys::window_key(Timestamp(15), b"late"), b"v");
        batch.expire(1, Timestamp(10));
        state.write(&batch).unwrap();
        assert_eq!(windows(state), [20, 30]);
        let found = |start: i64| {
            let key = keys::window_key(Timestamp(start), b"g");
            let reader = state.reader();
            let read = reader.get(1, &key, &mut Vec::new()).unwrap();
            assert_eq!(state.get(1, &key, &mut Vec::new()).unwrap(), read);
            read
        };
        assert_eq!([10, 20].map(found), [false, true]);

        // What is before all windows stays, and so do other stores.
        batch.clear();
        batch.put(1, &[0], b"before");
        state.write(&batch).unwrap();
        assert!(state.get(1, &[0], &mut Vec::new()).unwrap());
        assert_eq!(entries(state, 1, &[], &[0xFF]).len(), 3);
        assert_eq!(entries(state, 1, &[], &[0]).len(), 0);
        assert!(state.get(0, b"k", &mut Vec::new()).unwrap());
    }

    fn what_has_expired_is_gone_after_reopening(backend: &dyn StateBackend) {
        let stores = ["a".to_owned(), "b".to_owned()];
        let mut state = backend.open("0_0", &stores).unwrap();
        assert_eq!(windows(&*state), [20, 30]);
        let mut last = Vec::new();
        let mut batch = StateBatch::default();
        batch.expire(1, Timestamp(31));
        state.write(&batch).unwrap();
        assert!(state.last_key(1, &mut last).unwrap());
        assert_eq!(last, [0]);
        batch.clear();
        batch.put(1, &keys::window_key(Timestamp(40), b"g"), b"v");
        state.write(&batch).unwrap();
        assert!(state.last_key(1, &mut last).unwrap());
        assert_eq!(last, keys::window_key(Timestamp(40), b"g"));
        batch.clear();
        batch.delete(1, &[0]);
        batch.expire(1, Timestamp(50));
        batch.expire(1, Timestamp(45));
        state.write(&batch).unwrap();
        assert!(!state.last_key(1, &mut last).unwrap());
        assert!(last.is_empty());
    }

    fn what_was_written_is_there_after_reopening(backend: &dyn StateBackend) {
        let state = backend
            .open("0_0", &["a".to_owned(), "b".to_owned()])
            .unwrap();
        let mut value = Vec::new();
        assert!(state.get(0, b"k", &mut value).unwrap());
        assert_eq!(state.checkpoint(0).unwrap(), Some(42));
    }

    fn stores_are_found_by_name(backend: &dyn StateBackend) {
        let state = backend
            .open("0_0", &["c".to_owned(), "b".to_owned(), "a".to_owned()])
            .unwrap();
        let mut value = Vec::new();
        assert!(!state.get(0, b"k", &mut value).unwrap());
        assert!(state.get(2, b"k", &mut value).unwrap());
        assert_eq!(value, b"2");
        assert_eq!(state.checkpoint(2).unwrap(), Some(42));
    }

    fn a_task_that_was_set_aside_begins_empty(backend: &dyn StateBackend, stores: &[String]) {
        backend.set_aside("0_0").unwrap();
        let state = backend.open("0_0", stores).unwrap();
        assert_eq!(state.checkpoint(0).unwrap(), None);
        assert!(entries(&*state, 0, b"", &[0xFF; 9]).is_empty());
        assert!(!state.last_key(0, &mut Vec::new()).unwrap());
    }
}
