//! What is left to chance: which partition is read first, how much of it, and when a member hears that it
//! was evicted.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// A fetch of many records is rare over a network, and one of a few is hard on whoever believes in
/// batches.
const MOST_RECORDS: usize = 64;

/// Seeded chance.
#[derive(Debug)]
pub(super) struct Chance(StdRng);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(StdRng::seed_from_u64(seed))
    }

    /// Any order.
    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        all.shuffle(&mut self.0);
    }

    /// Whether an answer is still under way.
    pub(super) fn is_late(&mut self) -> bool {
        self.0.random_bool(0.75)
    }

    /// At least one of so many, if there are any.
    pub(super) fn portion(&mut self, most: usize) -> usize {
        match most.min(MOST_RECORDS) {
            0 => 0,
            most => self.0.random_range(1..=most),
        }
    }
}
