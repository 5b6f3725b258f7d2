//! What a join of two streams keeps: the records of both sides, by key and time, and in another store
//! those that wait for a record of the other side.
//!
//! ```text
//!   records   bucket of the time ── side, key ── time       every record, for as long as one of the
//!                                                           other side can come for it
//!   waiting   time ── side, key                             those without a match so far, until their
//!                                                           time is up
//! ```

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::ControlFlow;

use super::store::{Store, StoreWriter, Stored};
use super::table::{FoldedError, Kept};
use super::{ProcessError, timelines};
use crate::codec;
use crate::state::keys;
use crate::time::Timestamp;
use crate::topology::graph::{Function, Side};
use crate::value::Value;

/// The records of a side with equal keys and times, in the order in which they came, as they are
/// kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Arrivals(pub(super) Vec<Vec<u8>>);

impl Kept for Arrivals {
    fn heap_bytes(&self) -> usize {
        let own = self.0.capacity() * size_of::<Vec<u8>>();
        own + self.0.iter().map(Vec::capacity).sum::<usize>()
    }
}

impl Stored for Arrivals {
    fn encode(&self, out: &mut Vec<u8>) {
        codec::encode_into(&self.0, out);
    }

    fn decode(bytes: &[u8], _: &[Function]) -> Result<Arrivals, FoldedError> {
        Ok(Arrivals(codec::decode(bytes)?))
    }
}

/// All records that are kept.
pub(super) type Records = timelines::Timelines<Arrivals>;

/// Puts together the key under which the records of a side are kept; none is the beginning of another
/// one.
pub(super) fn record_key(side: Side, key: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(rank(side));
    keys::push_field(Value::Bytes(key), out).expect("bytes can be a part of a key");
}

/// Of equal times, the right side comes first.
fn rank(side: Side) -> u8 {
    match side {
        Side::Right => 0,
        Side::Left => 1,
    }
}

/// Looks at a key of what waits, and says whether it has seen enough.
type Visit<'v> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>, FoldedError> + 'v;

/// The records that wait.
pub(super) struct Waiting {
    /// What has changed since the last commit; none: nothing waits there any more.
    changes: BTreeMap<Vec<u8>, Option<Arrivals>>,
    /// The earliest time that may be up; none: nothing waits.
    pub(super) oldest: Option<Timestamp>,
    /// Nothing waits whose time is before this. What has waited there may still be in the way of those
    /// that look through the store.
    nothing_before: Timestamp,
    heap_bytes: usize,
    budget_bytes: usize,
    key: Vec<u8>,
    buffer: Vec<u8>,
}

/// Where records wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'k> {
    pub(super) time: Timestamp,
    pub(super) side: Side,
    pub(super) key: &'k [u8],
}

impl Place<'_> {
    fn push_to(&self, out: &mut Vec<u8>) {
        out.clear();
        keys::push_window(self.time, out);
        out.push(rank(self.side));
        out.extend_from_slice(self.key);
    }

    fn of(bytes: &[u8]) -> Option<Place<'_>> {
        let (time, rest) = keys::split_window(bytes).ok()?;
        let (rank, key) = rest.split_first()?;
        let side = match rank {
            0 => Side::Right,
            1 => Side::Left,
            _ => return None,
        };
        Some(Place { time, side, key })
    }
}

impl Waiting {
    pub(super) fn new(oldest: Option<Timestamp>, budget_bytes: usize) -> Waiting {
        Waiting {
            changes: BTreeMap::new(),
            oldest,
            nothing_before: Timestamp::MIN,
            heap_bytes: 0,
            budget_bytes,
            key: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// A record waits from now on.
    pub(super) fn add(
        &mut self,
        store: &Store<'_>,
        place: Place<'_>,
        record: &[u8],
    ) -> Result<(), ProcessError> {
        let mut there = self.at(store, place)?.unwrap_or_default();
        there.0.push(record.to_vec());
        self.heap_bytes += self.key.len() + record.len() + 64;
        self.changes.insert(self.key.clone(), Some(there));
        self.oldest = Some(
            self.oldest
                .map_or(place.time, |oldest| oldest.min(place.time)),
        );
        self.nothing_before = self.nothing_before.min(place.time);
        Ok(())
    }

    /// Whatever waits there has found a match.
    pub(super) fn remove(
        &mut self,
        store: &Store<'_>,
        place: Place<'_>,
    ) -> Result<(), ProcessError> {
        if self.at(store, place)?.is_some() {
            self.heap_bytes += self.key.len() + 64;
            self.changes.insert(self.key.clone(), None);
        }
        Ok(())
    }

    /// What waits there; its key is then in `self.key`.
    fn at(
        &mut self,
        store: &Store<'_>,
        place: Place<'_>,
    ) -> Result<Option<Arrivals>, ProcessError> {
        place.push_to(&mut self.key);
        match self.changes.get(&self.key) {
            Some(changed) => Ok(changed.clone()),
            None => store.get(&self.key, &mut self.buffer),
        }
    }

    /// Takes out those whose time is up, in the order of time, right before left, key and arrival.
    ///
    /// It looks until it has come behind one of each side whose time is not up, and remembers the time
    /// of the last one that it has seen: when the next look is due depends on it.
    pub(super) fn take(
        &mut self,
        store: &Store<'_>,
        is_up: impl Fn(Side, Timestamp) -> bool,
    ) -> Result<Vec<(Vec<u8>, Arrivals)>, ProcessError> {
        let mut keys = Vec::new();
        let mut is_open = [false; 2];
        let mut first_open = Timestamp(i64::MAX);
        let mut last = None;
        // Of the second side of which one is open, the first that is.
        let mut second_open: Option<Vec<u8>> = None;
        self.walk(store, &mut |key| {
            let place = Place::of(key).ok_or(FoldedError::Key)?;
            last = Some(place.time);
            if is_open == [true; 2] {
                return Ok(ControlFlow::Break(()));
            }
            match is_up(place.side, place.time) {
                true => keys.push(key.to_vec()),
                false => {
                    is_open[place.side as usize] = true;
                    first_open = first_open.min(place.time);
                    if is_open == [true; 2] {
                        second_open = Some(key.to_vec());
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(key) = second_open {
            let place = Place::of(&key).expect("just read");
            // The look ends with the next one there.
            if self
                .at(store, place)?
                .is_some_and(|there| there.0.len() > 1)
            {
                last = Some(place.time);
            }
        }
        self.oldest = last;
        self.nothing_before = first_open;
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let place = Place::of(&key).expect("just read");
            let arrivals = self.at(store, place)?.unwrap_or_default();
            self.heap_bytes += key.len() + 64;
            self.changes.insert(key.clone(), None);
            taken.push((key, arrivals));
        }
        Ok(taken)
    }

    /// Visits the keys of all that waits, in order: the store's, and among them those in memory.
    fn walk(&self, store: &Store<'_>, visit: &mut Visit<'_>) -> Result<(), ProcessError> {
        let mut changes = self.changes.iter().peekable();
        let mut has_ended = false;
        let first = keys::window_bytes(self.nothing_before);
        store.walk(&first, &[0xFF; keys::WINDOW_BYTES + 1], |key, _| {
            let mut flow = visit_changes(&mut changes, Some(key), visit)?;
            if flow.is_continue() && !self.changes.contains_key(key) {
                flow = visit(key)?;
            }
            has_ended = flow.is_break();
            Ok(flow)
        })?;
        let rest = match has_ended {
            true => Ok(ControlFlow::Break(())),
            false => visit_changes(&mut changes, None, visit),
        };
        rest.map(|_| ()).map_err(|source| store.foreign(source))
    }

    /// Whether anything waits.
    pub(super) fn is_waiting(&self, store: &Store<'_>) -> Result<bool, ProcessError> {
        let mut is_waiting = false;
        self.walk(store, &mut |_| {
            is_waiting = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(is_waiting)
    }

    /// Writes what has changed.
    pub(super) fn flush(&self, writer: &mut StoreWriter<'_>) {
        for (key, arrivals) in &self.changes {
            match arrivals {
                Some(arrivals) => writer.put(key, |out| arrivals.encode(out)),
                None => writer.delete(key),
            }
        }
    }

    /// The store has everything.
    pub(super) fn committed(&mut self) {
        self.changes.clear();
        self.heap_bytes = 0;
    }

    /// Whether a commit is due, to bound memory.
    pub(super) fn is_full(&self) -> bool {
        self.heap_bytes > self.budget_bytes
    }
}

/// Visits what waits in memory, up to a key of the store or to the end.
fn visit_changes<'w>(
    changes: &mut Peekable<impl Iterator<Item = (&'w Vec<u8>, &'w Option<Arrivals>)>>,
    up_to: Option<&[u8]>,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, FoldedError> {
    let is_next = |key: &[u8]| up_to.is_none_or(|up_to| key <= up_to);
    while let Some((key, arrivals)) = changes.next_if(|(key, _)| is_next(key)) {
        if arrivals.is_some() && visit(key)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The side, the time and the key of records that waited there.
pub(super) fn place_of(key: &[u8]) -> Place<'_> {
    Place::of(key).expect("made by a place")
}
