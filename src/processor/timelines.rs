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
//! In memory a key that was touched has all its entries from some bucket on, decoded; a change is
//! made there and written at the commit. The table forgets all keys when it has outgrown half its
//! budget.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::ProcessError;
use super::store::{Store, StoreWriter, Stored};
use super::table::{FoldedError, Kept};
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;
use crate::window::Tumbling;

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
    /// All stored entries from this bucket on are here.
    loaded_from: Timestamp,
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

    /// The key, with its entries from that time on.
    pub(super) fn open(
        &mut self,
        store: &Store<'_>,
        group: &[u8],
        from: Timestamp,
    ) -> Result<KeyId, ProcessError> {
        let hash = self.hasher.hash_one(group);
        let lines = &self.lines;
        let found = self
            .index
            .find(hash, |at| *lines[*at as usize].group == *group);
        let from = self.buckets.start_of(from.max(self.purged_until));
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
                    loaded_from: newest.plus_millis(self.buckets.size_ms),
                    points: Vec::new(),
                });
                let lines = &self.lines;
                self.index
                    .insert_unique(hash, at, |at| lines[*at as usize].hash);
                at
            }
        };
        let loaded_from = self.lines[id as usize].loaded_from;
        if from < loaded_from {
            self.load(store, id, from..loaded_from)?;
        }
        Ok(KeyId(id))
    }

    /// Reads the entries of the buckets in a range.
    fn load(
        &mut self,
        store: &Store<'_>,
        id: u32,
        range: Range<Timestamp>,
    ) -> Result<(), ProcessError> {
        let line = &mut self.lines[id as usize];
        let mut points = Vec::new();
        let mut bucket = range.start;
        while bucket < range.end {
            self.key.clear();
            keys::push_window(bucket, &mut self.key);
            self.key.extend_from_slice(&line.group);
            let prefix = self.key.len();
            let first = self.key.clone();
            // All times of a bucket have larger bytes than none and smaller ones than this.
            self.key.extend_from_slice(&[0xFF; keys::WINDOW_BYTES + 1]);
            store.scan(&first, &self.key, |key, value| {
                let at = keys::split_window(&key[prefix..])
                    .map_err(|_| FoldedError::Key)?
                    .0;
                let value = V::decode(value, store.functions)?;
                self.heap_bytes += size_of::<Point<V>>() + value.heap_bytes();
                points.push(Point {
                    at,
                    value: Some(value),
                    dirty: false,
                    stored: true,
                });
                Ok(())
            })?;
            bucket = bucket.plus_millis(self.buckets.size_ms);
        }
        // They are older than all that was loaded before.
        points.append(&mut line.points);
        line.points = points;
        line.loaded_from = range.start;
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
        found.is_some_and(|at| lines[*at as usize].loaded_from <= bucket)
    }

    /// Drops whole buckets before `until`.
    pub(super) fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        let until = self.buckets.start_of(until);
        if until <= self.purged_until {
            return;
        }
        let first = keys::window_bytes(Timestamp::MIN);
        batch.delete_range(store, &first, &keys::window_bytes(until));
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

/// Takes a store key apart: bucket, key of the group, time.
pub(super) fn split(key: &[u8]) -> Option<(Timestamp, &[u8], Timestamp)> {
    let (bucket, rest) = keys::split_window(key).ok()?;
    let (group, at) = rest.split_at_checked(rest.len().checked_sub(keys::WINDOW_BYTES)?)?;
    Some((bucket, group, keys::split_window(at).ok()?.0))
}
