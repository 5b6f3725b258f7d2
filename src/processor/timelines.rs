//! Entries of keys along time, for what lies as the records lie: sessions, sliding windows, and the
//! records that a join keeps. They are found by key and a range of times.
//!
//! ```text
//!   store key:   bucket ── key of the group ── time
//!                  │
//!                  └ the time, rounded down: old entries are one range, and the entries of a key
//!                    around a time are in a few buckets
//! ```
//!
//! In memory a key that was touched has its entries of the buckets that were asked for, decoded, and of
//! all that are newer than what is stored; a change is made there and written at the commit. The table
//! forgets all keys when it has outgrown half its budget.
//!
//! No key of a group may be the beginning of another one.

use std::hash::BuildHasher;
use std::ops::{ControlFlow, Range};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::ProcessError;
use super::store::{Store, StoreWriter, Stored};
use super::table::{FoldedError, Kept};
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;
use crate::window::Tumbling;

/// Behind all buckets.
const END: Timestamp = Timestamp(i64::MAX);

/// The number of a key, until the table is next cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyId(u32);

pub(super) struct Timelines<V> {
    buckets: Tumbling,
    hasher: RandomState,
    index: HashTable<u32>,
    lines: Vec<Line<V>>,
    /// What has changed since the last commit, in the order in which it first did.
    dirty: Vec<(KeyId, Timestamp)>,
    /// No stored entry is in a later bucket than this; unknown until the store was asked.
    newest_stored: Option<Timestamp>,
    /// Entries before this are gone from the store.
    purged_until: Timestamp,
    heap_bytes: usize,
    budget_bytes: usize,
    key: Vec<u8>,
}

/// The entries of one key.
struct Line<V> {
    group: Box<[u8]>,
    hash: u64,
    /// All stored entries of these buckets are here: ranges of their starts, in order and apart.
    loaded: Vec<Range<Timestamp>>,
    /// By time.
    points: Vec<Point<V>>,
}

struct Point<V> {
    at: Timestamp,
    /// None: it has been removed, and is in the store still.
    value: Option<V>,
    dirty: bool,
    /// Whether the store has an entry there.
    stored: bool,
}

impl<V: Stored> Timelines<V> {
    /// No keys; the store's buckets are of that length.
    pub(super) fn new(bucket_ms: i64, budget_bytes: usize) -> Timelines<V> {
        Timelines {
            buckets: Tumbling {
                size_ms: bucket_ms.max(1),
                grace_ms: 0,
            },
            hasher: RandomState::default(),
            index: HashTable::new(),
            lines: Vec::new(),
            dirty: Vec::new(),
            newest_stored: None,
            purged_until: Timestamp::MIN,
            heap_bytes: 0,
            budget_bytes,
            key: Vec::new(),
        }
    }

    /// The key, with its entries from one time to another, both included.
    pub(super) fn open(
        &mut self,
        store: &Store<'_>,
        group: &[u8],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<KeyId, ProcessError> {
        let hash = self.hasher.hash_one(group);
        let lines = &self.lines;
        let found = self
            .index
            .find(hash, |at| *lines[*at as usize].group == *group);
        let id = match found {
            Some(at) => *at,
            None => {
                let at =
                    u32::try_from(self.lines.len()).expect("fewer than 2^32 keys fit in memory");
                let newest = self.newest_bucket(store)?;
                self.heap_bytes += size_of::<Line<V>>() + group.len() + 8;
                self.lines.push(Line {
                    group: group.into(),
                    hash,
                    loaded: vec![newest.plus_millis(self.buckets.size_ms)..END],
                    points: Vec::new(),
                });
                let lines = &self.lines;
                self.index
                    .insert_unique(hash, at, |at| lines[*at as usize].hash);
                at
            }
        };
        let first = self.buckets.start_of(from.max(self.purged_until));
        let end = match to {
            END => END,
            to => self.buckets.start_of(to).plus_millis(self.buckets.size_ms),
        };
        let wanted = first..end;
        let gaps: SmallVec<[_; 2]> = gaps(&self.lines[id as usize].loaded, &wanted).collect();
        if !gaps.is_empty() {
            for gap in gaps {
                self.load(store, id, gap)?;
            }
            add_range(&mut self.lines[id as usize].loaded, wanted);
        }
        Ok(KeyId(id))
    }

    /// Reads the entries of the buckets in a range. Buckets in which the store has nothing are stepped
    /// over, however many there are.
    fn load(
        &mut self,
        store: &Store<'_>,
        id: u32,
        range: Range<Timestamp>,
    ) -> Result<(), ProcessError> {
        let line = &mut self.lines[id as usize];
        let mut points = Vec::new();
        let end = keys::window_bytes(range.end);
        let mut next = Some(range.start);
        while let Some(bucket) = next.take().filter(|bucket| *bucket < range.end) {
            self.key.clear();
            keys::push_window(bucket, &mut self.key);
            self.key.extend_from_slice(&line.group);
            store.walk(&self.key, &end, |key, value| {
                let Some(time) = key.strip_prefix(&*self.key) else {
                    let found = keys::split_window(key).map_err(|_| FoldedError::Key)?.0;
                    next = Some(match found == bucket {
                        // It is behind the key's.
                        true => bucket.plus_millis(self.buckets.size_ms),
                        false => found,
                    });
                    return Ok(ControlFlow::Break(()));
                };
                let at = keys::split_window(time).map_err(|_| FoldedError::Key)?.0;
                let value = V::decode(value, store.functions)?;
                self.heap_bytes += size_of::<Point<V>>() + value.heap_bytes();
                points.push(Point {
                    at,
                    value: Some(value),
                    dirty: false,
                    stored: true,
                });
                Ok(ControlFlow::Continue(()))
            })?;
        }
        let behind = line.points.partition_point(|point| point.at < range.start);
        line.points.splice(behind..behind, points);
        Ok(())
    }

    fn newest_bucket(&mut self, store: &Store<'_>) -> Result<Timestamp, ProcessError> {
        match self.newest_stored {
            Some(newest) => Ok(newest),
            None => Ok(*self.newest_stored.insert(store.newest(&mut self.key)?)),
        }
    }

    /// The entries of a key from one time to another, both included, oldest first.
    pub(super) fn between(
        &self,
        key: KeyId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl DoubleEndedIterator<Item = (Timestamp, &V)> {
        let points = &self.lines[key.0 as usize].points;
        let first = points.partition_point(|point| point.at < from);
        let last = points.partition_point(|point| point.at <= to);
        points[first..last.max(first)]
            .iter()
            .filter_map(|point| Some((point.at, point.value.as_ref()?)))
    }

    /// The entry at a time.
    pub(super) fn get(&self, key: KeyId, at: Timestamp) -> Option<&V> {
        let points = &self.lines[key.0 as usize].points;
        let found = points.binary_search_by_key(&at, |point| point.at).ok()?;
        points[found].value.as_ref()
    }

    /// The entry at a time, to be changed.
    pub(super) fn change(&mut self, key: KeyId, at: Timestamp) -> Option<&mut V> {
        let points = &mut self.lines[key.0 as usize].points;
        let found = points.binary_search_by_key(&at, |point| point.at).ok()?;
        let point = &mut points[found];
        if point.value.is_some() && !point.dirty {
            point.dirty = true;
            self.dirty.push((key, at));
        }
        point.value.as_mut()
    }

    /// Sets the entry at a time, or removes it; gives what was there.
    pub(super) fn set(&mut self, key: KeyId, at: Timestamp, value: Option<V>) -> Option<V> {
        let points = &mut self.lines[key.0 as usize].points;
        self.heap_bytes += value.as_ref().map_or(0, Kept::heap_bytes);
        let found = match points.binary_search_by_key(&at, |point| point.at) {
            Ok(found) => found,
            Err(_) if value.is_none() => return None,
            Err(gap) => {
                self.heap_bytes += size_of::<Point<V>>();
                let point = Point {
                    at,
                    value: None,
                    dirty: false,
                    stored: false,
                };
                points.insert(gap, point);
                gap
            }
        };
        if value.is_none() && !points[found].stored {
            return points.remove(found).value;
        }
        let point = &mut points[found];
        if !point.dirty {
            point.dirty = true;
            self.dirty.push((key, at));
        }
        std::mem::replace(&mut point.value, value)
    }

    /// The key's bytes.
    pub(super) fn group(&self, key: KeyId) -> &[u8] {
        &self.lines[key.0 as usize].group
    }

    /// Writes what has changed.
    pub(super) fn flush(&mut self, writer: &mut StoreWriter<'_>) {
        for (key, at) in self.dirty.drain(..) {
            let line = &mut self.lines[key.0 as usize];
            let found = line.points.binary_search_by_key(&at, |point| point.at);
            // What came and went in between leaves nothing to write.
            let Some(found) = found.ok().filter(|found| line.points[*found].dirty) else {
                continue;
            };
            let bucket = self.buckets.start_of(at);
            self.key.clear();
            keys::push_window(bucket, &mut self.key);
            self.key.extend_from_slice(&line.group);
            keys::push_window(at, &mut self.key);
            let point = &mut line.points[found];
            point.dirty = false;
            match &point.value {
                Some(value) => {
                    point.stored = true;
                    self.newest_stored = self.newest_stored.map(|newest| newest.max(bucket));
                    writer.put(&self.key, |out| value.encode(out));
                }
                None => {
                    line.points.remove(found);
                    writer.delete(&self.key);
                }
            }
        }
    }

    /// All entries from one time on and before another: the store's, and over them those in
    /// memory.
    pub(super) fn collect(
        &self,
        store: &Store<'_>,
        range: Range<Timestamp>,
    ) -> Result<Vec<(Timestamp, Vec<u8>, V)>, ProcessError> {
        let mut found = Vec::new();
        let first = keys::window_bytes(self.buckets.start_of(range.start));
        let behind = self
            .buckets
            .start_of(range.end)
            .plus_millis(self.buckets.size_ms);
        let end = keys::window_bytes(behind);
        store.scan(&first, &end, |key, value| {
            let (bucket, group, at) = split(key).ok_or(FoldedError::Key)?;
            if range.contains(&at) && !self.has_in_memory(group, bucket) {
                found.push((at, group.to_vec(), V::decode(value, store.functions)?));
            }
            Ok(())
        })?;
        for line in &self.lines {
            for point in line.points.iter().filter(|point| range.contains(&point.at)) {
                let value = point.value.iter().cloned();
                found.extend(value.map(|value| (point.at, line.group.to_vec(), value)));
            }
        }
        Ok(found)
    }

    fn has_in_memory(&self, group: &[u8], bucket: Timestamp) -> bool {
        let hash = self.hasher.hash_one(group);
        let lines = &self.lines;
        let found = self
            .index
            .find(hash, |at| *lines[*at as usize].group == *group);
        found.is_some_and(|at| {
            let mut loaded = lines[*at as usize].loaded.iter();
            loaded.any(|range| range.contains(&bucket))
        })
    }

    /// Drops whole buckets before `until`.
    pub(super) fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        let until = self.buckets.start_of(until);
        if until <= self.purged_until {
            return;
        }
        batch.expire(store, until);
        for line in &mut self.lines {
            line.points.retain(|point| point.at >= until);
        }
        self.purged_until = until;
    }

    /// Whether entries at that time are gone.
    pub(super) fn is_purged(&self, at: Timestamp) -> bool {
        at < self.purged_until
    }

    pub(super) fn is_full(&self) -> bool {
        self.heap_bytes > self.budget_bytes
    }

    /// Forgets everything if it has outgrown half its budget; called after a commit, when the
    /// store has all of it.
    pub(super) fn trim(&mut self) {
        if self.heap_bytes > self.budget_bytes / 2 {
            self.index.clear();
            self.lines.clear();
            self.heap_bytes = 0;
        }
    }
}

/// The parts of a range that none of these covers, which are in order and apart.
fn gaps(
    ranges: &[Range<Timestamp>],
    wanted: &Range<Timestamp>,
) -> impl Iterator<Item = Range<Timestamp>> {
    let first = ranges.partition_point(|range| range.end <= wanted.start);
    let inside = ranges[first..].iter();
    let inside = inside.take_while(|range| range.start < wanted.end);
    let starts = std::iter::once(wanted.start).chain(inside.clone().map(|range| range.end));
    let ends = inside
        .map(|range| range.start)
        .chain(std::iter::once(wanted.end));
    let between = starts.zip(ends).map(|(start, end)| start..end);
    between.filter(|gap| gap.start < gap.end)
}

/// Adds a range to those that are in order and apart.
fn add_range(ranges: &mut Vec<Range<Timestamp>>, wanted: Range<Timestamp>) {
    let first = ranges.partition_point(|range| range.end < wanted.start);
    let last = ranges.partition_point(|range| range.start <= wanted.end);
    let mut joined = wanted;
    if let (Some(one), Some(other)) = (ranges.get(first), ranges[..last].last())
        && first < last
    {
        joined = joined.start.min(one.start)..joined.end.max(other.end);
    }
    ranges.splice(first..last.max(first), [joined]);
}

/// Takes a store key apart: bucket, key of the group, time.
pub(super) fn split(key: &[u8]) -> Option<(Timestamp, &[u8], Timestamp)> {
    let (bucket, rest) = keys::split_window(key).ok()?;
    let (group, at) = rest.split_at_checked(rest.len().checked_sub(keys::WINDOW_BYTES)?)?;
    Some((bucket, group, keys::split_window(at).ok()?.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(from: i64, to: i64) -> Range<Timestamp> {
        Timestamp(from)..Timestamp(to)
    }

    proptest! {
        #[test]
        fn ranges_cover_what_has_been_added(
            added in prop::collection::vec((0i64..40, 1i64..9), 0..12), from in 0i64..40, length in 1i64..20,
        ) {
            let mut ranges = vec![times(45, i64::MAX)];
            let mut covered = [false; 60];
            covered[45..].fill(true);
            for (from, length) in added {
                add_range(&mut ranges, times(from, from + length));
                covered[from as usize..(from + length) as usize].fill(true);
            }
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
            let is_in = |at: usize| ranges.iter().any(|range| range.contains(&Timestamp(at as i64)));
            prop_assert!((0..60).all(|at| is_in(at) == covered[at]), "{ranges:?}");
            let wanted = from..from + length;
            let gaps: Vec<_> = gaps(&ranges, &times(wanted.start, wanted.end)).collect();
            for at in 0..60 {
                let in_gap = gaps.iter().any(|gap| gap.contains(&Timestamp(at)));
                prop_assert_eq!(in_gap, wanted.contains(&at) && !covered[at as usize]);
            }
        }
    }
}
