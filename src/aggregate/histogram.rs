//! How many values lie between given bounds.
//!
//! ```text
//!   bounds          0           10          100
//!   counts   x < 0  |  0 ≤ x < 10  | 10 ≤ x < 100 |  100 ≤ x
//! ```

use bumpalo::Bump;

use crate::codec::{Decode, Encode};
use crate::value::Value;

/// The numbers of values below the first bound, between each two, and from the last one on.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Histogram(Box<[i64]>);

impl Histogram {
    /// Before the first value.
    pub fn new(bounds: &[f64]) -> Histogram {
        Histogram(vec![0; bounds.len() + 1].into())
    }

    /// Adds a value. NaN lies nowhere and counts as nothing.
    pub fn add(&mut self, bounds: &[f64], value: f64) {
        self.count(bounds, value, 1);
    }

    /// Takes a value back that has been added.
    pub fn take_back(&mut self, bounds: &[f64], value: f64) {
        self.count(bounds, value, -1);
    }

    fn count(&mut self, bounds: &[f64], value: f64, by: i64) {
        let bucket = bounds.partition_point(|bound| *bound <= value);
        if let (Some(count), false) = (self.0.get_mut(bucket), value.is_nan()) {
            *count += by;
        }
    }

    /// Takes over what another one with the same bounds has seen.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// Whether it has these bounds, as far as that can be told.
    pub fn is_of(&self, bounds: &[f64]) -> bool {
        self.0.len() == bounds.len() + 1
    }

    /// The counts, from the lowest on.
    pub fn read<'a>(&self, arena: &'a Bump) -> Value<'a> {
        let counts = self.0.iter().map(|count| Value::Int(*count));
        Value::List(arena.alloc_slice_fill_iter(counts))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_is_above_it() {
        let bounds = [0.0, 10.0, 100.0];
        let mut histogram = Histogram::new(&bounds);
        let infinite = [f64::NEG_INFINITY, f64::INFINITY, f64::NAN];
        let values = [-0.5, 0.0, 9.99, 10.0, 99.0, 100.0, 1e9];
        for value in values.into_iter().chain(infinite) {
            histogram.add(&bounds, value);
        }
        let arena = Bump::new();
        let expected = [2, 2, 2, 3].map(Value::Int);
        assert_eq!(histogram.read(&arena), Value::List(&expected));
        histogram.merge(&histogram.clone());
        let doubled = [4, 4, 4, 6].map(Value::Int);
        assert_eq!(histogram.read(&arena), Value::List(&doubled));
        assert!(histogram.is_of(&bounds) && !histogram.is_of(&[0.0]));
    }
}
