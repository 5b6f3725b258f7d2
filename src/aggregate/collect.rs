//! Values that are kept: the different ones, or all in the order of their time; so many at most.
//!
//! Which ones stay when there are more depends on the values and their times alone, not on how they
//! were folded in parts: of a set the smallest, of a list the earliest.

use bumpalo::Bump;

use super::scalar::{Scalar, canonical, total_order};
use crate::codec::{Decode, Encode};
use crate::value::Value;

/// Different values, the smallest so many.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CollectedSet {
    max: u32,
    /// Rising, at most `max`.
    values: Vec<Scalar>,
}

/// Values by their time in milliseconds, those of equal times as they came; the earliest so many.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CollectedList {
    max: u32,
    /// At most `max`.
    values: Vec<(i64, Scalar)>,
}

impl CollectedSet {
    /// Without values, with room for so many.
    pub fn new(max: usize) -> CollectedSet {
        CollectedSet {
            max: limit(max),
            values: Vec::new(),
        }
    }

    /// Adds a single value; absent ones, lists and objects are left out.
    pub fn add(&mut self, value: Value<'_>) {
        let value = canonical(value);
        let found = self
            .values
            .binary_search_by(|known| total_order(known.as_value(), value));
        let Err(at) = found else { return };
        if self.values.len() < self.max as usize {
            if let Some(scalar) = Scalar::new(value) {
                self.values.insert(at, scalar);
            }
        } else if at < self.values.len()
            && let Some(mut fallen) = self.values.pop()
        {
            // What falls out leaves its memory to what comes in.
            fallen.assign(value);
            self.values.insert(at, fallen);
        }
    }

    /// Takes over what another one has seen.
    pub fn merge(&mut self, other: &CollectedSet) {
        for value in &other.values {
            self.add(value.as_value());
        }
    }

    /// The values, rising.
    pub fn read<'a>(&self, arena: &'a Bump) -> Value<'a> {
        let values = self.values.iter().map(|value| value.read(arena));
        Value::List(arena.alloc_slice_fill_iter(values))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let own = self.values.capacity() * size_of::<Scalar>();
        own + self.values.iter().map(Scalar::heap_bytes).sum::<usize>()
    }
}

impl CollectedList {
    /// Without values, with room for so many.
    pub fn new(max: usize) -> CollectedList {
        CollectedList {
            max: limit(max),
            values: Vec::new(),
        }
    }

    /// Adds a single value of that time; absent ones, lists and objects are left out.
    pub fn add(&mut self, value: Value<'_>, time_ms: i64) {
        let at = self.values.partition_point(|(known, _)| *known <= time_ms);
        if self.values.len() < self.max as usize {
            if let Some(scalar) = Scalar::new(value) {
                self.values.insert(at, (time_ms, scalar));
            }
        } else if at < self.values.len()
            && let Some((_, mut fallen)) = self.values.pop()
        {
            fallen.assign(value);
            self.values.insert(at, (time_ms, fallen));
        }
    }

    /// Takes over what another one has seen, whose values came later.
    pub fn merge(&mut self, other: &CollectedList) {
        for (time_ms, value) in &other.values {
            self.add(value.as_value(), *time_ms);
        }
    }

    /// The values in the order of their time.
    pub fn read<'a>(&self, arena: &'a Bump) -> Value<'a> {
        let values = self.values.iter().map(|(_, value)| value.read(arena));
        Value::List(arena.alloc_slice_fill_iter(values))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let own = self.values.capacity() * size_of::<(i64, Scalar)>();
        let values = self.values.iter().map(|(_, value)| value.heap_bytes());
        own + values.sum::<usize>()
    }
}

fn limit(max: usize) -> u32 {
    u32::try_from(max).expect("the checker allows a thousand")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set_of(max: usize, values: &[i64]) -> CollectedSet {
        let mut set = CollectedSet::new(max);
        values.iter().for_each(|value| set.add(Value::Int(*value)));
        set
    }

    fn list_of(max: usize, values: &[(i64, i64)]) -> CollectedList {
        let mut list = CollectedList::new(max);
        for (time_ms, value) in values {
            list.add(Value::Int(*value), *time_ms);
        }
        list
    }

    #[test]
    fn a_set_has_each_value_once_in_order() {
        let mut set = CollectedSet::new(3);
        for text in ["b", "a", "b", "d", "c"] {
            set.add(Value::Str(text));
        }
        let arena = Bump::new();
        let expected = ["a", "b", "c"].map(Value::Str);
        assert_eq!(set.read(&arena), Value::List(&expected));
        let numbers = [
            Value::Float(1.0),
            Value::Int(1),
            Value::Float(-0.0),
            Value::Int(0),
        ];
        let mut set = CollectedSet::new(3);
        numbers.into_iter().for_each(|number| set.add(number));
        assert_eq!(
            set.read(&arena),
            Value::List(&[Value::Int(0), Value::Int(1)])
        );
    }

    #[test]
    fn of_equal_times_what_came_first_stands_first() {
        let mut list = list_of(4, &[(5, 1), (3, 2), (5, 3)]);
        list.merge(&list_of(4, &[(3, 4), (1, 5), (9, 6)]));
        let arena = Bump::new();
        let expected = [5, 2, 4, 1].map(Value::Int);
        assert_eq!(list.read(&arena), Value::List(&expected));
    }

    #[test]
    fn what_falls_out_leaves_its_memory_to_what_comes_in() {
        let texts: Vec<String> = (0..100).rev().map(|n| format!("{n:030}")).collect();
        let mut set = CollectedSet::new(10);
        texts[..10]
            .iter()
            .for_each(|text| set.add(Value::Str(text)));
        let bytes = set.heap_bytes();
        texts.iter().for_each(|text| set.add(Value::Str(text)));
        assert_eq!(set.heap_bytes(), bytes);
        assert_eq!(set.values[0].as_value(), Value::Str(&texts[99]));
    }

    proptest! {
        #[test]
        fn a_set_in_parts_in_any_order_is_the_smallest_of_all(
            values in prop::collection::vec(0i64..60, 0..80),
            cut in 0usize..80,
            max in 1usize..20,
        ) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let all: BTreeSet<i64> = values.iter().copied().collect();
            let smallest: Vec<i64> = all.into_iter().take(max).collect();
            for (one, other) in [(left, right), (right, left)] {
                let mut merged = set_of(max, one);
                merged.merge(&set_of(max, other));
                prop_assert_eq!(&merged, &set_of(max, &smallest));
            }
        }

        #[test]
        fn a_list_in_parts_is_the_earliest_of_all(
            values in prop::collection::vec((0i64..20, 0i64..100), 0..80),
            cut in 0usize..80,
            max in 1usize..20,
        ) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = list_of(max, left);
            merged.merge(&list_of(max, right));
            let mut earliest = values.clone();
            earliest.sort_by_key(|(time, _)| *time);
            earliest.truncate(max);
            prop_assert_eq!(&merged, &list_of(max, &earliest));
        }
    }
}
