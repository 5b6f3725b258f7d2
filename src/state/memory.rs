//! State in memory: the model that the others are measured by, and the test driver's store.
//!
//! It outlives the tasks that use it, as a disk does, so a test can crash a task and open it again.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Change, OnEntry, StateBackend, StateBatch, StateError, StateReader, StoreId, TaskState, keys,
};
use crate::broker::Offset;
use crate::time::Timestamp;

/// Keeps the states of tasks in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend(Arc<Mutex<HashMap<String, SharedTask>>>);

type SharedTask = Arc<Mutex<HashMap<String, Store>>>;

#[derive(Debug, Default)]
struct Store {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The start of the first window that has not expired.
    open_from: [u8; keys::WINDOW_BYTES],
    checkpoint: Option<Offset>,
}

#[derive(Clone, Debug)]
struct MemoryState {
    task: SharedTask,
    names: Vec<String>,
}

impl Store {
    fn has_expired(&self, key: &[u8]) -> bool {
        keys::has_expired(key, &self.open_from)
    }
}

impl StateBackend for MemoryBackend {
    fn open(&self, task: &str, stores: &[String]) -> Result<Box<dyn TaskState>, StateError> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let task = Arc::clone(tasks.entry(task.to_owned()).or_default());
        Ok(Box::new(MemoryState {
            task,
            names: stores.to_vec(),
        }))
    }

    fn set_aside(&self, task: &str) -> Result<(), StateError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(task);
        Ok(())
    }
}

impl MemoryState {
    fn with<T>(&self, store: StoreId, work: impl FnOnce(&mut Store) -> T) -> T {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        work(task.entry(self.names[store].clone()).or_default())
    }
}

impl StateReader for MemoryState {
    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        value.clear();
        Ok(self.with(store, |store| match store.entries.get(key) {
            Some(found) => {
                value.extend_from_slice(found);
                true
            }
            None => false,
        }))
    }
}

impl TaskState for MemoryState {
    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        StateReader::get(self, store, key, value)
    }

    fn reader(&self) -> Arc<dyn StateReader> {
        Arc::new(self.clone())
    }

    fn scan(
        &self,
        store: StoreId,
        from: &[u8],
        to: &[u8],
        visit: OnEntry<'_>,
    ) -> Result<(), StateError> {
        if from < to {
            self.with(store, |store| {
                let range = (Bound::Included(from), Bound::Excluded(to));
                let _ = store
                    .entries
                    .range::<[u8], _>(range)
                    .try_for_each(|(k, v)| visit(k, v));
            });
        }
        Ok(())
    }

    fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError> {
        key.clear();
        Ok(
            self.with(store, |store| match store.entries.last_key_value() {
                Some((last, _)) => {
                    key.extend_from_slice(last);
                    true
                }
                None => false,
            }),
        )
    }

    fn write(&mut self, batch: &StateBatch) -> Result<(), StateError> {
        for change in batch.changes() {
            match change {
                Change::Put(store, key, value) => {
                    self.with(store, |s| {
                        if !s.has_expired(key) {
                            s.entries.insert(key.to_vec(), value.to_vec());
                        }
                    });
                }
                Change::Delete(store, key) => {
                    self.with(store, |s| s.entries.remove(key));
                }
                Change::DeleteRange(store, from, to) => {
                    self.with(store, |s| {
                        s.entries.retain(|key, _| key[..] < *from || key[..] >= *to)
                    });
                }
                Change::Expire(store, until) => self.with(store, |s| {
                    s.open_from = s.open_from.max(keys::window_bytes(until));
                    let mut open = s.entries.split_off(&s.open_from[..]);
                    s.entries.split_off(&keys::FIRST_WINDOW[..]);
                    s.entries.append(&mut open);
                }),
                Change::Checkpoint(store, next) => {
                    self.with(store, |s| s.checkpoint = Some(next));
                }
            }
        }
        Ok(())
    }

    fn checkpoint(&self, store: StoreId) -> Result<Option<Offset>, StateError> {
        Ok(self.with(store, |store| store.checkpoint))
    }

    fn open_from(&self, store: StoreId) -> Option<Timestamp> {
        self.with(store, |store| keys::open_from(store.open_from))
    }

    fn size_bytes(&self) -> u64 {
        let sizes = (0..self.names.len()).map(|store| {
            self.with(store, |s| {
                s.entries
                    .iter()
                    .map(|(k, v)| k.len() + v.len())
                    .sum::<usize>()
            })
        });
        sizes.sum::<usize>() as u64
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_does_what_every_backend_does() {
        super::super::suite::all(&super::MemoryBackend::default());
    }
}
