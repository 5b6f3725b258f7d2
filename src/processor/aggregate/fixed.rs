//! Tumbling windows, and one window over all time: one accumulator per key and window, kept under
//! the window's start and the key.

use std::collections::BTreeMap;

use super::store::Store;
use super::{Addition, Flush};
use crate::processor::ProcessError;
use crate::processor::table::{Folded, Lookup, Table};
use crate::state::{StateBatch, keys};
use crate::time::Timestamp;
use crate::topology::plan::AggregatePlan;
use crate::window::{Place, Windows};

/// The windows to be closed: those that begin from the first time on and before the second.
pub(super) type Closing = Option<(Timestamp, Timestamp)>;

pub(super) struct Fixed {
    table: Table<Folded>,
    /// No stored window begins after this; unknown until the store was asked.
    newest_stored: Option<Timestamp>,
    /// Windows that begin before this are gone from the store.
    purged_until: Timestamp,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Fixed {
    pub(super) fn new(budget_bytes: usize) -> Fixed {
        Fixed {
            table: Table::new(budget_bytes),
            newest_stored: None,
            purged_until: Timestamp::MIN,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        store: &Store<'_>,
        emitted_until: Timestamp,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
    ) -> Result<u64, ProcessError> {
        let start = place.at;
        if start < emitted_until || start < self.purged_until {
            return Ok(1);
        }
        self.key.clear();
        keys::push_window(start, &mut self.key);
        self.key.extend_from_slice(group);
        let id = match self.table.find(&self.key) {
            Lookup::Found(id) => id,
            Lookup::Absent(hash) => {
                let newest = match self.newest_stored {
                    Some(newest) => newest,
                    None => *self.newest_stored.insert(store.newest(&mut self.value)?),
                };
                let stored = match start > newest {
                    true => None,
                    false => store.get(&self.key, &mut self.value, Folded::decode)?,
                };
                let folded = stored.unwrap_or_else(|| store.empty());
                self.table.insert(hash, &self.key, folded)
            }
        };
        addition.apply(self.table.change(id));
        Ok(0)
    }

    pub(super) fn flush(
        &mut self,
        flush: &mut Flush<'_, '_>,
        closing: Closing,
    ) -> Result<(), ProcessError> {
        let emits_updates = flush.emits_updates();
        let windows = flush.plan.shape.windows;
        let newest_stored = &mut self.newest_stored;
        self.table.drain_dirty(|key, folded| {
            flush.put(key, |out| folded.encode(out))?;
            let (start, group) = keys::split_window(key).expect("made by add");
            *newest_stored = newest_stored.map(|newest| newest.max(start));
            match emits_updates {
                true => flush.emit(group, start, end_of(&windows, start), Ok(folded)),
                false => Ok(()),
            }
        })?;
        match closing {
            Some((from, to)) => self.close(flush, from, to),
            None => Ok(()),
        }
    }

    /// Sends the results of windows that begin in `[from, to)`, by start, then key.
    fn close(
        &mut self,
        flush: &mut Flush<'_, '_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(), ProcessError> {
        let windows = flush.plan.shape.windows;
        for (key, folded) in self.collect(&flush.store(), from, to)? {
            let (start, group) = keys::split_window(&key).expect("made by add");
            flush.emit(group, start, end_of(&windows, start), Ok(&folded))?;
        }
        Ok(())
    }

    /// The results of the windows that begin in `[from, to)`: the store's, and over them those in
    /// memory, which are newer.
    fn collect(
        &self,
        store: &Store<'_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BTreeMap<Vec<u8>, Folded>, ProcessError> {
        let (first, end) = (keys::window_bytes(from), keys::window_bytes(to));
        let mut found = BTreeMap::new();
        store.scan(&first, &end, |key, value| {
            found.insert(key.to_vec(), Folded::decode(value, store.functions)?);
            Ok(())
        })?;
        for entry in self.table.entries() {
            if first.as_slice() <= &*entry.key && *entry.key < *end.as_slice() {
                found.insert(entry.key.to_vec(), entry.value.clone());
            }
        }
        Ok(found)
    }

    /// Drops windows that begin before `until`.
    pub(super) fn purge(&mut self, plan: &AggregatePlan, until: Timestamp, batch: &mut StateBatch) {
        let Windows::Tumbling(windows) = plan.shape.windows else {
            return;
        };
        let until = windows.start_of(until);
        if until <= self.purged_until {
            return;
        }
        let first = keys::window_bytes(Timestamp::MIN);
        batch.delete_range(plan.store, &first, &keys::window_bytes(until));
        self.table.forget_before(until);
        self.purged_until = until;
    }

    pub(super) fn committed(&mut self) {
        self.table.trim();
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }
}

/// The end of a window; of the one over all time, the end of time.
pub(in crate::processor) fn end_of(windows: &Windows, start: Timestamp) -> Timestamp {
    match windows {
        Windows::Tumbling(windows) => windows.end_of(start),
        Windows::Hopping(windows) => windows.end_of(start),
        Windows::Sliding(windows) => windows.end_of(start),
        Windows::Unbounded | Windows::Session(_) => Timestamp(i64::MAX),
    }
}
