//! Sliding windows: one accumulator per key and window, kept under the window's start and the key.
//!
//! ```text
//!   difference 10 s       a          t              a record at t
//!            |--- above --|-----|    ·              belongs to the windows that hold t,
//!                      |------- left |              makes the one that ends with it,
//!                          |---------|-- after a |  the one right after the record before it,
//!                                     |- right --|  and the one right after itself, if a later
//!                                                   record lies in it
//! ```
//!
//! A new window takes over what an existing one has of its records, so no record is kept. Source of
//! the method: Kafka Streams 4.3, with its consequences (see docs/ARCHITECTURE.md).

use std::collections::{HashMap, HashSet};

use super::{Addition, Closing, Flush, Keeper};
use crate::processor::ProcessError;
use crate::processor::store::Store;
use crate::processor::table::Folded;
use crate::processor::timelines::{KeyId, Timelines};
use crate::state::{StateBatch, StoreId};
use crate::time::Timestamp;
use crate::topology::graph::Emit;
use crate::window::{Place, Sliding};

pub(super) struct SlidingWindows {
    windows: Sliding,
    /// With `emit: updates`, the windows whose results have changed since the last commit, in the
    /// order in which they did.
    changed: Option<Vec<(KeyId, Timestamp)>>,
    /// With `emit: updates`, those that have been deleted since, with the time of their results. Some
    /// may be there again.
    deleted: HashMap<(KeyId, Timestamp), Timestamp>,
    lines: Timelines<Folded>,
    /// The starts of the windows around a record; kept for its memory.
    around: Vec<Timestamp>,
}

/// A record on its way into the windows of its key.
struct Arrival<'a, 'r> {
    key: KeyId,
    time: Timestamp,
    /// Windows that begin before this take no more records.
    open_from: Timestamp,
    addition: &'a Addition<'r>,
    store: &'a Store<'r>,
    late: u64,
}

impl SlidingWindows {
    pub(super) fn new(windows: Sliding, emit: Emit, budget_bytes: usize) -> SlidingWindows {
        let bucket_ms = windows
            .difference_ms
            .saturating_mul(2)
            .saturating_add(windows.grace_ms);
        SlidingWindows {
            windows,
            changed: (emit == Emit::Updates).then(Vec::new),
            deleted: HashMap::new(),
            lines: Timelines::new(bucket_ms, budget_bytes),
            around: Vec::new(),
        }
    }

    fn add_usual(&mut self, arrival: &mut Arrival<'_, '_>, existing: &[Timestamp]) {
        let time = arrival.time;
        let left = time.plus_millis(-self.windows.difference_ms);
        let mut above = None;
        let mut below = None;
        let mut previous = None;
        let holding = existing.iter().rev().filter(|start| **start <= time);
        for (at, start) in holding.copied().enumerate() {
            let end = self.windows.end_of(start);
            if end > time {
                if at == 0 {
                    above = self.with_later(arrival, start);
                }
                self.update(arrival, start, None);
            } else if end == time {
                let newest = self.newest(arrival.key, start);
                self.update(arrival, start, None);
                if newest >= Some(time) {
                    // A record of this time has been here before and made all windows.
                    return;
                }
                previous = newest;
            } else {
                previous = self.newest(arrival.key, start);
                below = Some(start);
                break;
            }
        }
        if let Some(previous) = previous {
            let start = previous.plus_millis(1);
            if !existing.contains(&start) && self.windows.end_of(start) >= time {
                self.update(arrival, start, Some(arrival.store.empty()));
            }
        }
        if !existing.contains(&left) {
            let held = below.filter(|_| previous >= Some(left));
            let held = held.and_then(|start| self.lines.get(arrival.key, start).cloned());
            let begun = held.unwrap_or_else(|| arrival.store.empty());
            self.update(arrival, left, Some(begun));
        }
        self.make_right(arrival, existing, above);
    }

    /// One window from the epoch on serves all records of its length.
    fn add_early(&mut self, arrival: &mut Arrival<'_, '_>, existing: &[Timestamp]) {
        let (epoch, time) = (Timestamp(0), arrival.time);
        let mut above = None;
        let mut newest_above = epoch;
        for start in existing.iter().copied() {
            if start > epoch && start <= time {
                newest_above = start;
                above = self.with_later(arrival, start);
                self.update(arrival, start, None);
            }
        }
        if newest_above == epoch {
            above = self.with_later(arrival, epoch);
        }
        let previous = self.newest(arrival.key, epoch);
        self.make_right(arrival, existing, above);
        if let Some(previous) = previous.filter(|previous| *previous < time) {
            let start = previous.plus_millis(1);
            if !existing.contains(&start) {
                self.update(arrival, start, Some(arrival.store.empty()));
            }
        }
        let begun = (!existing.contains(&epoch)).then(|| arrival.store.empty());
        self.update(arrival, epoch, begun);
    }

    /// A copy of a window, if a record later than this one is in it.
    fn with_later(&self, arrival: &Arrival<'_, '_>, start: Timestamp) -> Option<Folded> {
        let folded = self.lines.get(arrival.key, start)?;
        (folded.max_time_ms > arrival.time.0).then(|| folded.clone())
    }

    /// The window right after the record, if a later record lies in it: what `above`, the newest
    /// window that held both, had before.
    fn make_right(
        &mut self,
        arrival: &Arrival<'_, '_>,
        existing: &[Timestamp],
        above: Option<Folded>,
    ) {
        let start = arrival.time.plus_millis(1);
        if let Some(above) = above.filter(|_| !existing.contains(&start)) {
            self.lines.set(arrival.key, start, Some(above));
            self.note(arrival.key, start);
        }
    }

    /// Folds the record into a window: into `begun`, or into what is there.
    fn update(&mut self, arrival: &mut Arrival<'_, '_>, start: Timestamp, begun: Option<Folded>) {
        if start < arrival.open_from {
            arrival.late += 1;
            return;
        }
        if let Some(begun) = begun {
            self.lines.set(arrival.key, start, Some(begun));
        }
        if let Some(folded) = self.lines.change(arrival.key, start) {
            arrival.addition.apply(folded);
            // A window of which nothing is known is none.
            if folded.is_void() || arrival.store.deletes(folded) {
                let time = Timestamp(folded.max_time_ms);
                self.deleted.insert((arrival.key, start), time);
                self.lines.set(arrival.key, start, None);
            }
            self.note(arrival.key, start);
        }
    }

    fn note(&mut self, key: KeyId, start: Timestamp) {
        if let Some(changed) = &mut self.changed {
            changed.push((key, start));
        }
    }

    /// The time of the newest record in a window.
    fn newest(&self, key: KeyId, start: Timestamp) -> Option<Timestamp> {
        let folded = self.lines.get(key, start)?;
        Some(Timestamp(folded.max_time_ms))
    }
}

impl Keeper for SlidingWindows {
    fn add(
        &mut self,
        store: &Store<'_>,
        emitted_until: Timestamp,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
    ) -> Result<u64, ProcessError> {
        let time = place.at;
        let open_from = self.windows.open_from(place.from).max(emitted_until);
        // The latest window that holds it begins with it.
        if time < open_from || self.lines.is_purged(time) {
            return Ok(1);
        }
        let difference_ms = self.windows.difference_ms;
        let earliest = time.plus_millis(-2 * difference_ms);
        // Of those that a record changes or makes, the last one begins right after it.
        let latest = time.plus_millis(1);
        let key = self.lines.open(store, group, earliest, latest)?;
        let mut existing = std::mem::take(&mut self.around);
        existing.clear();
        let windows = self.lines.between(key, earliest, latest);
        existing.extend(windows.map(|(start, _)| start));
        let mut arrival = Arrival {
            key,
            time,
            open_from,
            addition,
            store,
            late: 0,
        };
        // No window begins before the epoch, as long as no record lies before it.
        match (0..difference_ms).contains(&time.0) {
            true => self.add_early(&mut arrival, &existing),
            false => self.add_usual(&mut arrival, &existing),
        }
        let late = arrival.late;
        self.around = existing;
        Ok(late)
    }

    fn flush(&mut self, flush: &mut Flush<'_, '_>, closing: Closing) -> Result<(), ProcessError> {
        let changed = self
            .changed
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let deleted = std::mem::take(&mut self.deleted);
        if flush.emits_updates() {
            let mut told = HashSet::new();
            for (key, start) in changed {
                let folded = self.lines.get(key, start).map(Ok);
                let deleted = || deleted.get(&(key, start)).copied().map(Err);
                if told.insert((key, start))
                    && let Some(result) = folded.or_else(deleted)
                {
                    let group = self.lines.group(key);
                    flush.emit(group, start, self.windows.end_of(start), result)?;
                }
            }
        }
        if let Some((from, to)) = closing {
            let mut closed = self.lines.collect(&flush.store(), from..to)?;
            closed.sort_by(|(start, group, _), (other, other_group, _)| {
                (start, group).cmp(&(other, other_group))
            });
            for (start, group, folded) in closed {
                flush.emit(&group, start, self.windows.end_of(start), Ok(&folded))?;
            }
        }
        self.lines.flush(&mut flush.writer());
        Ok(())
    }

    fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        self.lines.purge(store, until, batch);
    }

    fn trim(&mut self) {
        self.lines.trim();
    }

    fn is_full(&self) -> bool {
        self.lines.is_full()
    }
}
