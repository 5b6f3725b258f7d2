//! Hopping windows: one accumulator per key and pane, kept under the pane's start and the key. A
//! window's result is that of its panes, merged when it leaves, so a record costs the same however
//! many windows it belongs to.
//!
//! A record that comes after some of its windows have closed counts in the others only. So a pane
//! has a [`Segment`] for each first window that its records count in; nearly always that is one.
//!
//! ```text
//!   windows 0, 20, 40 over the pane of 40:   [0 ······ [20 ······ [40 ▓▓▓|
//!     segment from 0:  records that came while all three were open
//!     segment from 20: records that came when 0 was closed
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::by_start::ByStart;
use super::{Addition, Closing, Flush, Keeper};
use crate::codec::{self, Decode, Encode};
use crate::processor::ProcessError;
use crate::processor::store::{Store, Stored};
use crate::processor::table::{Folded, FoldedError, Kept};
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;
use crate::topology::graph::Function;
use crate::window::{Hopping, Place};

/// The records of one key and pane.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub(in crate::processor) struct Pane {
    /// By first window; at least one in the store.
    segments: Vec<Segment>,
}

/// Records of a pane that count in the same windows.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct Segment {
    /// The start of the first window that they count in; they count in all later ones.
    from_ms: i64,
    folded: Folded,
    /// Whether it has changed since the last commit; false in the store.
    changed: bool,
}

impl Stored for Pane {
    fn encode(&self, out: &mut Vec<u8>) {
        codec::encode_into(self, out);
    }

    fn decode(bytes: &[u8], functions: &[Function]) -> Result<Pane, FoldedError> {
        let pane: Pane = codec::decode(bytes)?;
        for segment in &pane.segments {
            segment.folded.check(functions)?;
        }
        Ok(pane)
    }
}

impl Pane {
    fn segment(&mut self, from_ms: i64, empty: impl FnOnce() -> Folded) -> &mut Segment {
        let at = match self.segments.iter().position(|s| s.from_ms == from_ms) {
            Some(at) => at,
            None => {
                self.segments.push(Segment {
                    from_ms,
                    folded: empty(),
                    changed: false,
                });
                self.segments.len() - 1
            }
        };
        &mut self.segments[at]
    }

    /// What counts in the window that begins at `start`.
    fn seen_from(&self, start: Timestamp) -> impl Iterator<Item = &Folded> {
        let counts = move |segment: &&Segment| segment.from_ms <= start.0;
        self.segments.iter().filter(counts).map(|s| &s.folded)
    }
}

impl Kept for Pane {
    fn heap_bytes(&self) -> usize {
        let own = self.segments.capacity() * size_of::<Segment>();
        own + self
            .segments
            .iter()
            .map(|s| s.folded.heap_bytes())
            .sum::<usize>()
    }
}

pub(super) struct Panes {
    windows: Hopping,
    panes: ByStart<Pane>,
}

/// The panes of a key by their starts.
type PanesOfKey = BTreeMap<Timestamp, Pane>;

impl Panes {
    pub(super) fn new(windows: Hopping, budget_bytes: usize) -> Panes {
        Panes {
            windows,
            panes: ByStart::new(budget_bytes),
        }
    }

    /// The panes of a key under the windows that begin at these times.
    fn panes_of(
        &mut self,
        store: &Store<'_>,
        group: &[u8],
        starts: &BTreeSet<i64>,
    ) -> Result<PanesOfKey, ProcessError> {
        let mut panes = PanesOfKey::new();
        let (Some(first), Some(last)) = (starts.first(), starts.last()) else {
            return Ok(panes);
        };
        let mut at = Timestamp(*first);
        while at < self.windows.end_of(Timestamp(*last)) {
            let pane = self.panes.get(store, at, group)?;
            panes.extend(pane.map(|pane| (at, pane)));
            at = at.plus_millis(self.windows.panes().size_ms);
        }
        Ok(panes)
    }

    /// Sends the results of windows that begin in `[from, to)`, by start, then key.
    fn close(
        &self,
        flush: &mut Flush<'_, '_>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(), ProcessError> {
        let windows = self.windows;
        let last_end = windows.end_of(to.plus_millis(-windows.advance_ms));
        let panes = self.panes.collect(&flush.store(), from, last_end)?;
        let mut closed = BTreeMap::new();
        for (group, panes) in panes_by_key(panes) {
            let starts = starts_over(&windows, &panes, from, to);
            for (start, folded) in results(&windows, &panes, starts, flush.functions) {
                closed.insert((start, group.clone()), folded);
            }
        }
        for ((start, group), folded) in closed {
            flush.emit(&group, start, windows.end_of(start), Ok(&folded))?;
        }
        Ok(())
    }
}

impl Keeper for Panes {
    fn add(
        &mut self,
        store: &Store<'_>,
        emitted_until: Timestamp,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
    ) -> Result<u64, ProcessError> {
        let last = self.windows.last_start_over(place.at);
        let advance_ms = self.windows.advance_ms;
        let from = place.from.max(emitted_until);
        let late = (from.min(last.plus_millis(advance_ms)).0 - place.from.0) / advance_ms;
        if from > last || self.panes.is_purged(place.at) {
            return Ok(late.max(1) as u64);
        }
        let pane = self.panes.entry(store, place.at, group, Pane::default)?;
        let segment = pane.segment(from.0, || store.empty());
        segment.changed = true;
        addition.apply(&mut segment.folded);
        Ok(late as u64)
    }

    fn flush(&mut self, flush: &mut Flush<'_, '_>, closing: Closing) -> Result<(), ProcessError> {
        let windows = self.windows;
        let emits_updates = flush.emits_updates();
        let mut changed = Changed::default();
        self.panes.flush(flush, |_, start, group, pane| {
            let last = windows.last_start_over(start);
            for segment in &mut pane.segments {
                if std::mem::take(&mut segment.changed) && emits_updates {
                    changed.add(group, segment.from_ms, last.0, windows.advance_ms);
                }
            }
            Ok(())
        })?;
        for (group, starts) in changed.in_order() {
            let panes = self.panes_of(&flush.store(), &group, &starts)?;
            let starts = starts.into_iter().map(Timestamp);
            for (start, folded) in results(&windows, &panes, starts, flush.functions) {
                flush.emit(&group, start, windows.end_of(start), Ok(&folded))?;
            }
        }
        match closing {
            Some((from, to)) => self.close(flush, from, to),
            None => Ok(()),
        }
    }

    fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        let until = self.windows.panes().start_of(until);
        self.panes.purge(store, until, batch);
    }

    fn trim(&mut self) {
        self.panes.trim();
    }

    fn is_full(&self) -> bool {
        self.panes.is_full()
    }
}

/// The windows whose results have changed, by key, in the order in which their keys first did.
#[derive(Default)]
struct Changed {
    numbers: HashMap<Vec<u8>, usize>,
    keys: Vec<(Vec<u8>, BTreeSet<i64>)>,
}

impl Changed {
    /// The windows from the first to the last.
    fn add(&mut self, group: &[u8], first_ms: i64, last_ms: i64, advance_ms: i64) {
        let number = match self.numbers.get(group) {
            Some(number) => *number,
            None => {
                self.keys.push((group.to_vec(), BTreeSet::new()));
                self.numbers.insert(group.to_vec(), self.keys.len() - 1);
                self.keys.len() - 1
            }
        };
        let starts = (first_ms..=last_ms).step_by(advance_ms as usize);
        self.keys[number].1.extend(starts);
    }

    fn in_order(self) -> Vec<(Vec<u8>, BTreeSet<i64>)> {
        self.keys
    }
}

/// The starts of the windows over these panes, as far as they lie in `[from, to)`.
pub(super) fn starts_over(
    windows: &Hopping,
    panes: &PanesOfKey,
    from: Timestamp,
    to: Timestamp,
) -> BTreeSet<Timestamp> {
    let mut starts = BTreeSet::new();
    for pane in panes.keys() {
        let (first, last) = windows.starts_over(*pane);
        let mut start = first.max(from);
        while start <= last && start < to {
            starts.insert(start);
            start = start.plus_millis(windows.advance_ms);
        }
    }
    starts
}

/// The results of the windows that begin at these times, which rise. A window in which no record
/// counts has none.
///
/// The panes of a window are a queue: the next window takes some in and lets some go. Two stacks
/// keep the merge of what is in it, so a pane is merged a fixed number of times, however many
/// windows it is in. (Method: the two-stacks queue of Tangwongsan, Hirzel and Schneider, "In-order
/// sliding-window aggregation in worst-case constant time".)
pub(super) fn results(
    windows: &Hopping,
    panes: &PanesOfKey,
    starts: impl IntoIterator<Item = Timestamp>,
    functions: &[Function],
) -> Vec<(Timestamp, Folded)> {
    // A pane with several segments does not hold the same for all windows.
    let whole = panes.values().all(|pane| pane.segments.len() == 1);
    let first_windows = panes.iter().all(|(at, pane)| {
        let first = windows.starts_over(*at).0;
        pane.segments
            .iter()
            .all(|segment| segment.from_ms <= first.0)
    });
    match whole && first_windows {
        true => queued(windows, panes, starts),
        false => one_by_one(windows, panes, starts, functions),
    }
}

fn one_by_one(
    windows: &Hopping,
    panes: &PanesOfKey,
    starts: impl IntoIterator<Item = Timestamp>,
    functions: &[Function],
) -> Vec<(Timestamp, Folded)> {
    let mut results = Vec::new();
    for start in starts {
        let mut folded = Folded::new(functions);
        let mut is_empty = true;
        for (_, pane) in panes.range(start..windows.takes_until(start)) {
            for segment in pane.seen_from(start) {
                folded.merge(segment);
                is_empty = false;
            }
        }
        if !is_empty {
            results.push((start, folded));
        }
    }
    results
}

fn queued(
    windows: &Hopping,
    panes: &PanesOfKey,
    starts: impl IntoIterator<Item = Timestamp>,
) -> Vec<(Timestamp, Folded)> {
    let mut results = Vec::new();
    let mut waiting = panes.iter().peekable();
    // Oldest last: each entry is its pane merged with all newer ones of this stack.
    let mut front: Vec<(Timestamp, Folded)> = Vec::new();
    let mut back: Vec<(Timestamp, &Folded)> = Vec::new();
    let mut back_merged: Option<Folded> = None;
    for start in starts {
        while let Some((at, pane)) = waiting.next_if(|(at, _)| **at < windows.takes_until(start)) {
            if *at < start {
                continue;
            }
            let folded = &pane.segments[0].folded;
            back.push((*at, folded));
            match &mut back_merged {
                Some(merged) => merged.merge(folded),
                None => back_merged = Some(folded.clone()),
            }
        }
        while front.last().is_some_and(|(at, _)| *at < start) {
            front.pop();
        }
        if front.is_empty() {
            for (at, folded) in back.drain(..).rev() {
                if at < start {
                    break;
                }
                let mut merged = folded.clone();
                if let Some((_, newer)) = front.last() {
                    merged.merge(newer);
                }
                front.push((at, merged));
            }
            back_merged = None;
        }
        let oldest = front.last().map(|(_, merged)| merged.clone());
        let merged = match (oldest, &back_merged) {
            (Some(mut merged), Some(newer)) => {
                merged.merge(newer);
                Some(merged)
            }
            (merged, newer) => merged.or_else(|| newer.clone()),
        };
        results.extend(merged.map(|merged| (start, merged)));
    }
    results
}

/// The panes of each key, given the entries of a store.
pub(super) fn panes_by_key(
    entries: impl IntoIterator<Item = (Vec<u8>, Pane)>,
) -> BTreeMap<Vec<u8>, PanesOfKey> {
    let mut keys: BTreeMap<Vec<u8>, PanesOfKey> = BTreeMap::new();
    for (key, pane) in entries {
        let (start, group) = keys::split_window(&key).expect("a key of the table");
        keys.entry(group.to_vec()).or_default().insert(start, pane);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Accumulator;
    use proptest::prelude::*;

    fn pane(from_ms: i64, count: i64, at: i64) -> Pane {
        let folded = Folded {
            max_time_ms: at,
            accumulators: vec![Accumulator::Count(count)],
        };
        let changed = false;
        Pane {
            segments: vec![Segment {
                from_ms,
                folded,
                changed,
            }],
        }
    }

    proptest! {
        /// The queue and the merge of each window by itself give the same, whatever panes there are.
        #[test]
        fn the_queue_gives_what_merging_each_window_gives(
            size in 1i64..12, advance in 1i64..12,
            present in prop::collection::btree_map(0i64..60, 1i64..9, 0..40),
        ) {
            let windows = Hopping::new(size.max(advance), advance, 0);
            let pane_ms = windows.panes().size_ms;
            let panes: PanesOfKey = present
                .into_iter()
                .map(|(n, count)| {
                    let at = Timestamp(n * pane_ms);
                    (at, pane(windows.starts_over(at).0.0, count, at.0))
                })
                .collect();
            let starts = starts_over(&windows, &panes, Timestamp(0), Timestamp(i64::MAX));
            let functions = [Function::Count];
            let naive = one_by_one(&windows, &panes, starts.clone(), &functions);
            prop_assert_eq!(&queued(&windows, &panes, starts.clone()), &naive);
            prop_assert_eq!(results(&windows, &panes, starts, &functions), naive);
        }
    }
}
