//! Entries of keys by the start of a window or pane: what windows on a fixed grid are kept in.
//!
//! The store's key is the start and the key of the group, so old entries are one range. The table in memory has
//! every entry that begins after all those that were stored when it was last empty: none of these is looked for
//! in the store.

use std::collections::BTreeMap;

use super::Flush;
use crate::processor::ProcessError;
use crate::processor::store::{Store, Stored};
use crate::processor::table::{Lookup, Table};
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;

pub(super) struct ByStart<V> {
    table: Table<V>,
    /// Entries that begin after this are in the table, if there are any; unknown until the store was asked.
    known_after: Option<Timestamp>,
    /// Nothing that was ever written here begins after this.
    newest_written: Timestamp,
    /// Entries that begin before this are gone from the store.
    purged_until: Timestamp,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<V: Stored> ByStart<V> {
    pub(super) fn new(budget_bytes: usize) -> ByStart<V> {
        ByStart {
            table: Table::new(budget_bytes),
            known_after: None,
            newest_written: Timestamp::MIN,
            purged_until: Timestamp::MIN,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// The entry of a key that is not purged, to be changed; `empty` if there is none.
    pub(super) fn entry(
        &mut self,
        store: &Store<'_>,
        start: Timestamp,
        group: &[u8],
        empty: impl FnOnce() -> V,
    ) -> Result<&mut V, ProcessError> {
        self.set_key(start, group);
        let id = match self.table.find(&self.key) {
            Lookup::Found(id) => id,
            Lookup::Absent(hash) => {
                let value = self.load(store, start)?.unwrap_or_else(empty);
                self.table.insert(hash, &self.key, value)
            }
        };
        Ok(self.table.change(id))
    }

    /// A copy of the entry of a key.
    pub(super) fn get(
        &mut self,
        store: &Store<'_>,
        start: Timestamp,
        group: &[u8],
    ) -> Result<Option<V>, ProcessError> {
        if self.is_purged(start) {
            return Ok(None);
        }
        self.set_key(start, group);
        match self.table.find(&self.key) {
            Lookup::Found(id) => Ok(Some(self.table.get(id).clone())),
            Lookup::Absent(_) => self.load(store, start),
        }
    }

    fn set_key(&mut self, start: Timestamp, group: &[u8]) {
        self.key.clear();
        keys::push_window(start, &mut self.key);
        self.key.extend_from_slice(group);
    }

    fn load(&mut self, store: &Store<'_>, start: Timestamp) -> Result<Option<V>, ProcessError> {
        let known_after = match self.known_after {
            Some(known_after) => known_after,
            None => *self.known_after.insert(store.newest(&mut self.value)?),
        };
        match start > known_after {
            true => Ok(None),
            false => store.get(&self.key, &mut self.value),
        }
    }

    /// Writes what has changed since the last commit, or deletes it, each entry after `visit` has seen
    /// it with its start and group.
    pub(super) fn flush(
        &mut self,
        flush: &mut Flush<'_, '_>,
        mut visit: impl FnMut(&mut Flush<'_, '_>, Timestamp, &[u8], &mut V) -> Result<(), ProcessError>,
    ) -> Result<(), ProcessError> {
        let newest_written = &mut self.newest_written;
        self.table.drain_dirty(|key, value| {
            let (start, group) = keys::split_window(key).expect("made by set_key");
            *newest_written = start.max(*newest_written);
            visit(flush, start, group, value)?;
            match value.is_deleted() {
                true => flush.writer().delete(key),
                false => flush.writer().put(key, |out| value.encode(out)),
            }
            Ok(())
        })
    }

    /// The entries that begin in `[from, to)`, by start and group: the store's, and over them those
    /// in memory, which are newer.
    pub(super) fn collect(
        &self,
        store: &Store<'_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BTreeMap<Vec<u8>, V>, ProcessError> {
        let from = from.max(self.purged_until);
        let (first, end) = (keys::window_bytes(from), keys::window_bytes(to));
        let mut found = BTreeMap::new();
        store.scan(&first, &end, |key, value| {
            found.insert(key.to_vec(), V::decode(value, store.functions)?);
            Ok(())
        })?;
        for entry in self.table.entries() {
            if first.as_slice() <= &*entry.key && *entry.key < *end.as_slice() {
                match entry.value.is_deleted() {
                    true => found.remove(&*entry.key),
                    false => found.insert(entry.key.to_vec(), entry.value.clone()),
                };
            }
        }
        Ok(found)
    }

    /// Drops entries that begin before `until`, a start.
    pub(super) fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        if until <= self.purged_until {
            return;
        }
        batch.expire(store, until);
        self.table.forget_before(until);
        self.purged_until = until;
    }

    /// Whether entries that begin then are gone.
    pub(super) fn is_purged(&self, start: Timestamp) -> bool {
        start < self.purged_until
    }

    pub(super) fn trim(&mut self) {
        if self.table.trim()
            && let Some(known_after) = &mut self.known_after
        {
            *known_after = self.newest_written.max(*known_after);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }
}
