//! What a node has seen, and how many of its records did not come through.

pub use crate::topology::drop_reason::DropReason;

/// What a node has seen. Plain numbers: a task belongs to one thread, which publishes them with
/// each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Rows that reached the node.
    pub input: u64,
    /// Rows that left it.
    pub output: u64,
    /// Rows that a filter held back, which is no drop.
    pub filtered: u64,
    /// Drops, by [`DropReason::ALL`].
    pub drops: [u64; DropReason::ALL.len()],
}

impl NodeCounts {
    /// Counts a drop.
    pub fn dropped(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// How many were dropped for this reason.
    pub fn drops_of(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// The drops alone.
    #[must_use]
    pub fn only_drops(&self) -> NodeCounts {
        NodeCounts {
            drops: self.drops,
            ..NodeCounts::default()
        }
    }

    /// Adds up.
    pub fn add(&mut self, more: &NodeCounts) {
        self.input += more.input;
        self.output += more.output;
        self.filtered += more.filtered;
        self.drops
            .iter_mut()
            .zip(more.drops)
            .for_each(|(mine, more)| *mine += more);
    }
}
