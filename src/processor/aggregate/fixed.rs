//! Tumbling windows, and one window over all time: one accumulator per key and window.

use super::by_start::ByStart;
use super::{Addition, Closing, Flush, Keeper};
use crate::processor::ProcessError;
use crate::processor::store::Store;
use crate::processor::table::Folded;
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;
use crate::window::{Place, Windows};

pub(super) struct Fixed {
    windows: Windows,
    results: ByStart<Folded>,
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
        let folded = self.results.entry(store, start, group, || store.empty())?;
        addition.apply(folded);
        Ok(0)
    }

    fn flush(&mut self, flush: &mut Flush<'_, '_>, closing: Closing) -> Result<(), ProcessError> {
        let emits_updates = flush.emits_updates();
        let windows = &self.windows;
        self.results
            .flush(flush, |flush, start, group, folded| match emits_updates {
                true => flush.emit(group, start, end_of(windows, start), Ok(folded)),
                false => Ok(()),
            })?;
        let Some((from, to)) = closing else {
            return Ok(());
        };
        // By start, then key.
        for (key, folded) in self.results.collect(&flush.store(), from, to)? {
            let (start, group) = keys::split_window(&key).expect("a key of the table");
            flush.emit(group, start, end_of(&self.windows, start), Ok(&folded))?;
        }
        Ok(())
    }

    fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        if let Windows::Tumbling(windows) = &self.windows {
            self.results.purge(store, windows.start_of(until), batch);
        }
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
        Windows::Hopping(windows) => windows.end_of(start),
        Windows::Sliding(windows) => windows.end_of(start),
        Windows::Unbounded | Windows::Session(_) => Timestamp(i64::MAX),
    }
}
