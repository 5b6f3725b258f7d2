//! Reads that are left to chance: which partition comes first, and how much of it.

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

    /// At least one of so many, if there are any.
    pub(super) fn portion(&mut self, most: usize) -> usize {
        match most.min(MOST_RECORDS) {
            0 => 0,
            most => self.0.random_range(1..=most),
        }
    }
}
