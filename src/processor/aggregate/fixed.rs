//! Tumbling and calendar windows, and one window over all time: one result per key and window.

use super::by_start::ByStart;
use super::{Addition, Closing, Flush, Keeper};
use crate::processor::ProcessError;
use crate::processor::store::{Store, Stored};
use crate::processor::table::{Folded, FoldedError, Kept};
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function};
use crate::window::{Place, Windows};

pub(super) struct Fixed {
    windows: Windows,
    results: ByStart<Entry>,
}

/// What is known of a key and window.
#[derive(Clone)]
enum Entry {
    Result(Folded),
    /// The result has been deleted; it was of that time.
    Deleted(Timestamp),
}

impl Entry {
    fn result(&self) -> Result<&Folded, Timestamp> {
        match self {
            Entry::Result(folded) => Ok(folded),
            Entry::Deleted(time) => Err(*time),
        }
    }
}

impl Kept for Entry {
    fn heap_bytes(&self) -> usize {
        self.result().map_or(0, Kept::heap_bytes)
    }
}

impl Stored for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        if let Entry::Result(folded) = self {
            folded.encode(out);
        }
    }

    fn decode(bytes: &[u8], functions: &[Function]) -> Result<Entry, FoldedError> {
        Folded::decode(bytes, functions).map(Entry::Result)
    }

    fn is_deleted(&self) -> bool {
        matches!(self, Entry::Deleted(_))
    }
}

impl Fixed {
    pub(super) fn new(windows: Windows, budget_bytes: usize) -> Fixed {
        Fixed {
            windows,
            results: ByStart::new(budget_bytes),
        }
    }
}

impl Keeper for Fixed {
    fn add(
        &mut self,
        store: &Store<'_>,
        emitted_until: Timestamp,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
    ) -> Result<u64, ProcessError> {
        let start = place.at;
        if start < emitted_until || self.results.is_purged(start) {
            return Ok(1);
        }
        let begun = || Entry::Result(store.empty());
        let entry = self.results.entry(store, start, group, begun)?;
        if entry.is_deleted() {
            *entry = begun();
        }
        if let Entry::Result(folded) = entry {
            addition.apply(folded);
            // A window of which nothing is known is none.
            let is_none = !matches!(self.windows, Windows::Unbounded) && folded.is_void();
            if is_none || store.deletes(folded) {
                *entry = Entry::Deleted(Timestamp(folded.max_time_ms));
            }
        }
        Ok(0)
    }

    fn flush(&mut self, flush: &mut Flush<'_, '_>, closing: Closing) -> Result<(), ProcessError> {
        let emits_updates = flush.emits_updates();
        let is_updated = flush.plan.emit == Emit::Updates;
        let windows = &self.windows;
        self.results
            .flush(flush, |flush, start, group, entry| match emits_updates {
                true => flush.emit(group, start, end_of(windows, start), entry.result()),
                false if is_updated => {
                    flush.count();
                    Ok(())
                }
                false => Ok(()),
            })?;
        let Some((from, to)) = closing else {
            return Ok(());
        };
        // By start, then key.
        for (key, entry) in self.results.collect(&flush.store(), from, to)? {
            let (start, group) = keys::split_window(&key).expect("a key of the table");
            flush.emit(group, start, end_of(&self.windows, start), entry.result())?;
        }
        Ok(())
    }

    fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        let until = match &self.windows {
            Windows::Tumbling(windows) => windows.start_of(until),
            Windows::Calendar(windows) => windows.start_of(until),
            _ => return,
        };
        self.results.purge(store, until, batch);
    }

    fn trim(&mut self) {
        self.results.trim();
    }

    fn is_full(&self) -> bool {
        self.results.is_full()
    }
}

/// The end of a window; of the one over all time, the end of time.
pub(in crate::processor) fn end_of(windows: &Windows, start: Timestamp) -> Timestamp {
    match windows {
        Windows::Tumbling(windows) => windows.end_of(start),
        Windows::Calendar(windows) => windows.end_of(start),
        Windows::Hopping(windows) => windows.end_of(start),
        Windows::Sliding(windows) => windows.end_of(start),
        Windows::Unbounded | Windows::Session(_) => Timestamp(i64::MAX),
    }
}
