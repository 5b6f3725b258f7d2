//! Bytes by the key of a record, written back to a store at each commit.

use std::convert::Infallible;

use bumpalo::Bump;

use super::table::{EntryId, Kept, Lookup, Table};
use super::{Context, ProcessError};
use crate::state::{StateBatch, StoreId};

/// Before the key of a record, so that none is the key of the commit marker.
pub(super) const PREFIX: u8 = 1;

/// The key of a record, of its key in the store; none for what no record has written.
pub(crate) fn record_key(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&[PREFIX])
}

/// A store of bytes by the keys of records. Changes stay in memory until the commit, and so does what
/// has been read.
#[derive(Debug)]
pub(super) struct KeyedStore {
    store: StoreId,
    entries: Table<Entry>,
    key: Vec<u8>,
}

/// What is kept of a key, or that nothing is. The memory stays with the key: rows that are updated
/// often allocate nothing.
#[derive(Debug, Default)]
struct Entry {
    bytes: Vec<u8>,
    is_there: bool,
}

impl Entry {
    fn value(&self) -> Option<&[u8]> {
        self.is_there.then_some(self.bytes.as_slice())
    }

    fn set(&mut self, value: Option<&[u8]>) {
        self.bytes.clear();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.is_there = value.is_some();
    }
}

impl Kept for Entry {
    fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

impl KeyedStore {
    pub(super) fn new(store: StoreId, budget_bytes: usize) -> KeyedStore {
        KeyedStore {
            store,
            entries: Table::new(budget_bytes),
            key: Vec::new(),
        }
    }

    /// What is kept of a key.
    pub(super) fn get<'a>(
        &mut self,
        context: &Context<'_>,
        key: &[u8],
        arena: &'a Bump,
    ) -> Result<Option<&'a [u8]>, ProcessError> {
        let id = self.find(context, key)?;
        let value = self.entries.get(id).value();
        Ok(value.map(|bytes| &*arena.alloc_slice_copy(bytes)))
    }

    /// The entry of a key, read from the store if need be.
    fn find(&mut self, context: &Context<'_>, key: &[u8]) -> Result<EntryId, ProcessError> {
        self.key.clear();
        self.key.push(PREFIX);
        self.key.extend_from_slice(key);
        Ok(match self.entries.find(&self.key) {
            Lookup::Found(id) => id,
            Lookup::Absent(hash) => {
                let mut kept = Entry::default();
                kept.is_there = context.state.get(self.store, &self.key, &mut kept.bytes)?;
                self.entries.insert(hash, &self.key, kept)
            }
        })
    }

    /// Replaces what is kept of a key, by nothing to delete it; gives what was kept before.
    pub(super) fn replace<'a>(
        &mut self,
        context: &Context<'_>,
        key: &[u8],
        value: Option<&[u8]>,
        arena: &'a Bump,
    ) -> Result<Option<&'a [u8]>, ProcessError> {
        let id = self.find(context, key)?;
        let before = self.entries.get(id).value();
        let before = before.map(|bytes| &*arena.alloc_slice_copy(bytes));
        if value != before {
            self.entries.change(id).set(value);
        }
        Ok(before)
    }

    /// Writes what has changed since the last commit.
    pub(super) fn flush(&mut self, batch: &mut StateBatch) {
        let store = self.store;
        let Ok(()) = self.entries.drain_dirty(|key, entry| {
            match entry.value() {
                Some(value) => batch.put(store, key, value),
                None => batch.delete(store, key),
            }
            Ok::<(), Infallible>(())
        });
    }

    /// Lets go of memory after a commit.
    pub(super) fn committed(&mut self) {
        self.entries.trim();
    }

    /// Whether a commit is due, to bound memory.
    pub(super) fn is_full(&self) -> bool {
        self.entries.is_full()
    }
}
