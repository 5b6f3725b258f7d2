//! The panes of one key under a window that goes on from one start to the next.
//!
//! A window takes in the panes at its end and lets go of those before its start. Two stacks keep the
//! merge of what is in between, so a pane is merged a fixed number of times, however many windows it is
//! in. (Method: the two-stacks queue of Tangwongsan, Hirzel and Schneider, "In-order sliding-window
//! aggregation in worst-case constant time".)
//!
//! ```text
//!            start                                              end
//!              ├── front ─────────────┬── back ──────────────────┤
//!   panes      │  a    b    c         │  d    e    f             │  g      pending
//!   merged     │ abc   bc   c         │        def               │
//! ```
//!
//! A pane that changes while it is inside, because of a late record, makes both stacks be built anew.

use std::collections::VecDeque;

use super::hopping::Segment;
use crate::processor::table::{Folded, Kept as _};
use crate::time::Timestamp;
use crate::window::Hopping;

/// What a pane costs beside its accumulators.
const PANE_BYTES: usize = size_of::<(Timestamp, Folded)>();

#[derive(Default)]
pub(super) struct PaneQueue {
    /// What the window holds, by time.
    panes: VecDeque<(Timestamp, Folded)>,
    /// For each of the first panes its merge with all later ones of these; the oldest pane's is last.
    front: Vec<Folded>,
    /// The merge of the others.
    back: Option<Folded>,
    /// What later windows will hold, by the first of them.
    pending: VecDeque<Pending>,
    bytes: usize,
}

/// Records of a pane that a window has yet to take in.
struct Pending {
    /// The start of the first window that they count in.
    from: Timestamp,
    pane: Timestamp,
    folded: Folded,
}

impl PaneQueue {
    /// Adds what is kept of a pane. It must not be in the queue, and those that are added before the
    /// next [`PaneQueue::result`] come in any order.
    pub(super) fn add(&mut self, windows: &Hopping, pane: Timestamp, segments: Vec<Segment>) {
        let first = windows.starts_over(pane).0;
        for segment in segments {
            self.bytes += PANE_BYTES + segment.folded.heap_bytes();
            self.pending.push_back(Pending {
                from: first.max(Timestamp(segment.from_ms)),
                pane,
                folded: segment.folded,
            });
        }
    }

    /// Adds what is kept of a pane in place of what the queue has of it.
    pub(super) fn replace(&mut self, windows: &Hopping, pane: Timestamp, segments: Vec<Segment>) {
        if let Ok(at) = self.panes.binary_search_by_key(&pane, |(at, _)| *at) {
            self.take_apart();
            let (_, folded) = self.panes.remove(at).expect("just found");
            self.bytes -= PANE_BYTES + folded.heap_bytes();
        }
        let bytes = &mut self.bytes;
        self.pending.retain(|pending| {
            let stays = pending.pane != pane;
            if !stays {
                *bytes -= PANE_BYTES + pending.folded.heap_bytes();
            }
            stays
        });
        self.add(windows, pane, segments);
    }

    /// The first start, from `start` on, of a window in which something counts.
    pub(super) fn next_start(&mut self, start: Timestamp) -> Option<Timestamp> {
        self.let_go_before(start);
        if !self.panes.is_empty() {
            return Some(start);
        }
        self.sort();
        let first = self.pending.front()?;
        Some(first.from.max(start))
    }

    /// The result of the window that begins at `start`, which is later than before; none: nothing
    /// counts in it.
    pub(super) fn result(&mut self, start: Timestamp) -> Option<Folded> {
        self.sort();
        self.let_go_before(start);
        while self
            .pending
            .front()
            .is_some_and(|pending| pending.from <= start)
        {
            let Pending { pane, folded, .. } = self.pending.pop_front().expect("just seen");
            match pane < start {
                true => self.bytes -= PANE_BYTES + folded.heap_bytes(),
                false => self.take_in(pane, folded),
            }
        }
        self.merged()
    }

    /// Lets go of what no window counts that begins at `start` or later; tells whether anything is
    /// left.
    pub(super) fn let_go_before(&mut self, start: Timestamp) -> bool {
        while self.panes.front().is_some_and(|(pane, _)| *pane < start) {
            let (_, folded) = self.panes.pop_front().expect("just seen");
            self.bytes -= PANE_BYTES + folded.heap_bytes();
            if self.front.is_empty() {
                self.back = None;
            } else {
                let merged = self.front.pop().expect("just seen");
                self.bytes -= PANE_BYTES + merged.heap_bytes();
            }
        }
        !self.panes.is_empty() || !self.pending.is_empty()
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn sort(&mut self) {
        let by = |pending: &Pending| (pending.from, pending.pane);
        if !self.pending.iter().is_sorted_by_key(by) {
            self.pending.make_contiguous().sort_by_key(by);
        }
    }

    fn take_in(&mut self, pane: Timestamp, folded: Folded) {
        match self.panes.back() {
            Some((last, _)) if *last >= pane => {
                self.take_apart();
                match self.panes.binary_search_by_key(&pane, |(at, _)| *at) {
                    Ok(at) => {
                        let known = &mut self.panes[at].1;
                        let before = known.heap_bytes();
                        known.merge(&folded);
                        self.bytes += known.heap_bytes();
                        self.bytes -= before + PANE_BYTES + folded.heap_bytes();
                    }
                    Err(at) => self.panes.insert(at, (pane, folded)),
                }
            }
            _ => {
                match &mut self.back {
                    Some(merged) => merged.merge(&folded),
                    // It is made when the front runs out.
                    None if self.front.is_empty() => {}
                    None => self.back = Some(folded.clone()),
                }
                self.panes.push_back((pane, folded));
            }
        }
    }

    /// Forgets what has been merged.
    fn take_apart(&mut self) {
        for merged in self.front.drain(..) {
            self.bytes -= PANE_BYTES + merged.heap_bytes();
        }
        self.back = None;
    }

    fn merged(&mut self) -> Option<Folded> {
        if self.front.is_empty() {
            self.back = None;
            for (_, folded) in self.panes.iter().rev() {
                let mut merged = folded.clone();
                if let Some(newer) = self.front.last() {
                    merged.merge(newer);
                }
                self.bytes += PANE_BYTES + merged.heap_bytes();
                self.front.push(merged);
            }
        }
        let mut merged = self.front.last()?.clone();
        if let Some(newer) = &self.back {
            merged.merge(newer);
        }
        Some(merged)
    }
}
