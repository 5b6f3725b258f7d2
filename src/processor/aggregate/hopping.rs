//! Hopping windows: one accumulator per key and pane, kept under the pane's start and the key. A
//! window's result is that of its panes, merged when it leaves ([`PaneQueue`]), so a record costs the
//! same however many windows it belongs to.
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
use super::pane_queue::PaneQueue;
use super::{Addition, Closing, Flush, Keeper};
use crate::codec::{self, Decode, Encode};
use crate::processor::ProcessError;
use crate::processor::store::{Store, Stored};
use crate::processor::table::{Folded, FoldedError, Kept};
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function};
use crate::window::{Hopping, Place};

/// The records of one key and pane.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub(in crate::processor) struct Pane {
    /// By first window; at least one in the store.
    pub(super) segments: Vec<Segment>,
}

/// Records of a pane that count in the same windows.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) struct Segment {
    /// The start of the first window that they count in; they count in all later ones.
    pub(super) from_ms: i64,
    pub(super) folded: Folded,
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
    open: OpenWindows,
}

/// With `emit: close`, the panes of the next window to be closed, by key. So the next one costs the
/// panes that are new in it, and not all that it has.
struct OpenWindows {
    /// The start of that window; none: what is in memory is not all, and the store has to be asked.
    next: Option<Timestamp>,
    queues: HashMap<Vec<u8>, PaneQueue>,
    budget_bytes: usize,
}

/// The panes of a key by their starts.
type PanesOfKey = BTreeMap<Timestamp, Pane>;

impl OpenWindows {
    fn forget(&mut self) {
        self.next = None;
        self.queues.clear();
    }

    /// Up to which time panes are in the queues.
    fn has_until(&self, windows: &Hopping) -> Option<Timestamp> {
        let last_closed = self.next?.plus_millis(-windows.advance_ms);
        Some(windows.takes_until(last_closed))
    }

    fn queue(&mut self, group: &[u8]) -> &mut PaneQueue {
        if !self.queues.contains_key(group) {
            self.queues.insert(group.to_vec(), PaneQueue::default());
        }
        self.queues.get_mut(group).expect("just put in")
    }
}

impl Panes {
    /// Panes of which about `budget_bytes` are in memory.
    pub(super) fn new(windows: Hopping, emit: Emit, budget_bytes: usize) -> Panes {
        let (for_panes, for_queues) = match emit {
            Emit::Updates => (budget_bytes, 0),
            Emit::Close => (budget_bytes / 2, budget_bytes / 2),
        };
        Panes {
            windows,
            panes: ByStart::new(for_panes),
            open: OpenWindows {
                next: None,
                queues: HashMap::new(),
                budget_bytes: for_queues,
            },
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

    /// Writes the panes that have changed; gives those of them that begin before `until`, by key, and
    /// puts them into the queues as far as those are past them.
    fn flush_closing(
        &mut self,
        flush: &mut Flush<'_, '_>,
        until: Timestamp,
    ) -> Result<BTreeMap<Vec<u8>, Pane>, ProcessError> {
        let Panes {
            windows,
            panes,
            open,
        } = self;
        let has_until = open.has_until(windows);
        let mut changed = BTreeMap::new();
        panes.flush(flush, |_, start, group, pane| {
            for segment in &mut pane.segments {
                segment.changed = false;
            }
            if has_until.is_some_and(|has_until| start < has_until) {
                open.queue(group)
                    .replace(windows, start, pane.segments.clone());
            } else if start < until {
                changed.insert(keys::window_key(start, group), pane.clone());
            }
            Ok(())
        })?;
        Ok(changed)
    }

    /// Sends the results of windows that begin in `[from, to)`, by start, then key. `changed` has the
    /// panes that the store does not have yet, as far as the queues do not.
    fn close(
        &mut self,
        flush: &mut Flush<'_, '_>,
        (from, to): (Timestamp, Timestamp),
        changed: BTreeMap<Vec<u8>, Pane>,
    ) -> Result<(), ProcessError> {
        let Panes { windows, open, .. } = self;
        let advance_ms = windows.advance_ms;
        let (first, end) = (
            open.has_until(windows).unwrap_or(from),
            windows.takes_until(to.plus_millis(-advance_ms)),
        );
        for (key, pane) in new_panes(&flush.store(), first, end, changed)? {
            let (start, group) = keys::split_window(&key).expect("a key of the table");
            open.queue(group).add(windows, start, pane.segments);
        }
        let mut closed = BTreeMap::new();
        let mut bytes = 0;
        open.queues.retain(|group, queue| {
            let mut next = from;
            while let Some(start) = queue.next_start(next).filter(|start| *start < to) {
                let result = queue.result(start).filter(|folded| !folded.is_void());
                closed.extend(result.map(|folded| ((start, group.clone()), folded)));
                next = start.plus_millis(advance_ms);
            }
            let stays = queue.let_go_before(to);
            bytes += queue.bytes();
            stays
        });
        open.next = Some(to);
        if bytes > open.budget_bytes {
            open.forget();
        }
        for ((start, group), folded) in closed {
            flush.emit(&group, start, windows.end_of(start), Ok(&folded))?;
        }
        Ok(())
    }

    /// Writes the panes that have changed, and sends the results of the windows over them.
    fn flush_updates(&mut self, flush: &mut Flush<'_, '_>) -> Result<(), ProcessError> {
        let windows = self.windows;
        let mut changed = Changed::default();
        self.panes.flush(flush, |_, start, group, pane| {
            let last = windows.last_start_over(start);
            for segment in &mut pane.segments {
                if std::mem::take(&mut segment.changed) {
                    changed.add(group, segment.from_ms, last.0, windows.advance_ms);
                }
            }
            Ok(())
        })?;
        for (group, starts) in changed.in_order() {
            let panes = self.panes_of(&flush.store(), &group, &starts)?;
            let starts = starts.into_iter().map(Timestamp);
            for (start, folded) in results(&windows, panes, starts) {
                let result = match folded.is_void() {
                    true => Err(Timestamp(folded.max_time_ms)),
                    false => Ok(&folded),
                };
                flush.emit(&group, start, windows.end_of(start), result)?;
            }
        }
        Ok(())
    }
}

/// The panes that begin in `[first, end)`: those of the store, and over them those that have changed.
fn new_panes(
    store: &Store<'_>,
    first: Timestamp,
    end: Timestamp,
    changed: BTreeMap<Vec<u8>, Pane>,
) -> Result<BTreeMap<Vec<u8>, Pane>, ProcessError> {
    let mut panes = BTreeMap::new();
    let (first, end) = (keys::window_bytes(first), keys::window_bytes(end));
    store.scan(&first, &end, |key, value| {
        if !changed.contains_key(key) {
            panes.insert(key.to_vec(), Stored::decode(value, store.functions)?);
        }
        Ok(())
    })?;
    panes.extend(changed);
    Ok(panes)
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
        if flush.emits_updates() {
            return self.flush_updates(flush);
        }
        let windows = self.windows;
        let until = closing.map_or(Timestamp::MIN, |(_, to)| {
            windows.takes_until(to.plus_millis(-windows.advance_ms))
        });
        let changed = self.flush_closing(flush, until)?;
        match closing {
            Some(closing) => self.close(flush, closing, changed),
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
pub(super) fn results(
    windows: &Hopping,
    panes: PanesOfKey,
    starts: impl IntoIterator<Item = Timestamp>,
) -> Vec<(Timestamp, Folded)> {
    let mut queue = PaneQueue::default();
    for (at, pane) in panes {
        queue.add(windows, at, pane.segments);
    }
    let result = |start| Some((start, queue.result(start)?));
    starts.into_iter().filter_map(result).collect()
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

    /// A record of a key: in which pane, and behind how many windows over it that were closed.
    #[derive(Clone, Debug)]
    struct Late {
        pane: i64,
        closed: i64,
        count: i64,
    }

    fn late() -> impl Strategy<Value = Late> {
        let closed = prop_oneof![4 => Just(0), 1 => 0i64..12];
        (0i64..60, closed, 1i64..9).prop_map(|(pane, closed, count)| Late {
            pane,
            closed,
            count,
        })
    }

    fn folded(count: i64, at: i64) -> Folded {
        Folded {
            max_time_ms: at,
            accumulators: vec![Accumulator::Count(count)],
        }
    }

    fn put(panes: &mut PanesOfKey, windows: &Hopping, record: &Late) -> Option<(Timestamp, i64)> {
        let at = Timestamp(record.pane * windows.panes().size_ms);
        let (first, last) = windows.starts_over(at);
        let from = first.plus_millis(record.closed * windows.advance_ms);
        if from > last {
            return None;
        }
        let pane = panes.entry(at).or_default();
        let segment = pane.segment(from.0, || folded(0, i64::MIN));
        segment.folded.merge(&folded(record.count, at.0));
        Some((at, from.0))
    }

    /// Each window by itself.
    fn one_by_one(
        windows: &Hopping,
        panes: &PanesOfKey,
        starts: impl IntoIterator<Item = Timestamp>,
    ) -> Vec<(Timestamp, Folded)> {
        let result = |start: Timestamp| {
            let panes = panes.range(start..windows.takes_until(start));
            let segments = panes.flat_map(|(_, pane)| &pane.segments);
            let mut seen = segments.filter(|segment| segment.from_ms <= start.0);
            let mut folded = seen.next()?.folded.clone();
            seen.for_each(|segment| folded.merge(&segment.folded));
            Some((start, folded))
        };
        starts.into_iter().filter_map(result).collect()
    }

    proptest! {
        /// The queue and the merge of each window by itself give the same, whatever panes there are.
        #[test]
        fn the_queue_gives_what_merging_each_window_gives(
            size in 1i64..12, advance in 1i64..12, records in prop::collection::vec(late(), 0..60),
        ) {
            let windows = Hopping::new(size.max(advance), advance, 0);
            let mut panes = PanesOfKey::new();
            for record in &records {
                put(&mut panes, &windows, record);
            }
            let starts = starts_over(&windows, &panes, Timestamp(0), Timestamp(i64::MAX));
            let naive = one_by_one(&windows, &panes, starts.clone());
            prop_assert_eq!(results(&windows, panes, starts), naive);
        }

        /// A queue that outlasts the windows it has told of, while panes come to it and change in it.
        #[test]
        fn a_queue_goes_on_from_window_to_window(
            size in 1i64..12, advance in 1i64..12,
            steps in prop::collection::vec((prop::collection::vec(late(), 0..6), 0i64..5), 0..20),
        ) {
            let windows = Hopping::new(size.max(advance), advance, 0);
            let mut panes = PanesOfKey::new();
            let mut queue = PaneQueue::default();
            let mut next = Timestamp(0);
            for (records, closes) in steps {
                for record in &records {
                    let at = Timestamp(record.pane * windows.panes().size_ms);
                    // It counts in no window that has been told of.
                    let behind = (next.0 - windows.starts_over(at).0.0) / advance;
                    let closed = record.closed.max(behind);
                    let record = Late { closed, ..record.clone() };
                    if let Some((at, _)) = put(&mut panes, &windows, &record) {
                        queue.replace(&windows, at, panes[&at].segments.clone());
                    }
                }
                let to = next.plus_millis(closes * advance);
                let starts: Vec<_> = (next.0..to.0).step_by(advance as usize).map(Timestamp).collect();
                let naive = one_by_one(&windows, &panes, starts);
                let mut told = Vec::new();
                while let Some(start) = queue.next_start(next).filter(|start| *start < to) {
                    told.extend(queue.result(start).map(|folded| (start, folded)));
                    next = start.plus_millis(advance);
                }
                prop_assert_eq!(told, naive);
                next = to;
                queue.let_go_before(next);
            }
            prop_assert_eq!(queue.result(Timestamp(1_000_000)), None);
            prop_assert_eq!(queue.bytes(), 0);
        }
    }
}
