//! The most frequent values, by the method of Misra and Gries: one counter per value, and when there
//! are too many, the smaller half is gone and the others lose as much as the largest of those had.
//!
//! ```text
//!   counters      a 9   b 7   c 2   d 1   e 1        one too many for a room of four
//!   minus 2       a 7   b 5                          a value has lost at most 2
//! ```
//!
//! Up to [`CAPACITY`] different values all counts are exact. Beyond that, what a counter has lost is
//! at most the weight of everything divided by half the capacity: each loss is taken from at least
//! so many counters at once. Merged, losses add up and the bound holds for the weight of both. (The
//! merge is that of Agarwal et al., "Mergeable Summaries".)

use std::cmp::Ordering;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use datasketches::frequencies::FrequentItemsSketch;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::scalar::{Scalar, canonical, total_order};
use crate::codec::{self, Decode, DecodeFailure, Decoder, Encode, EncodeFailure, Encoder};
use crate::value::Value;

/// So many different values are counted exactly.
pub const CAPACITY: usize = 1024;

/// So many counters stay when there are too many, at most.
const KEPT: usize = CAPACITY / 2;

/// The room of a sketch, of which three quarters are used: all counters fit without a loss.
const SKETCH_ITEMS: usize = 2 * CAPACITY;

/// Where a sketch with items says what each may have lost: the last of the four words in front.
const SKETCH_OFFSET: std::ops::Range<usize> = 24..32;

/// Values with their counts.
#[derive(Clone, Debug, Default)]
pub struct TopK {
    /// The first `live` of them count. The others have only memory, for values that come.
    counters: Vec<Counter>,
    live: usize,
    /// The counters that count, by the hash of their value.
    index: HashTable<u32>,
    /// What each value may have lost.
    lost: u64,
}

#[derive(Clone, Debug)]
struct Counter {
    value: Scalar,
    count: u64,
    hash: u64,
}

impl Counter {
    /// The largest count first, and of equal counts the smallest value.
    fn order(&self, other: &Counter) -> Ordering {
        let by_count = other.count.cmp(&self.count);
        by_count.then_with(|| total_order(self.value.as_value(), other.value.as_value()))
    }
}

impl TopK {
    /// Adds to the count of a single value; lists, objects and absent values are left out.
    pub fn add(&mut self, value: Value<'_>, weight: u64) {
        if weight > 0 {
            self.count(canonical(value), weight);
            self.make_room();
        }
    }

    /// Takes over what another one has seen.
    pub fn merge(&mut self, other: &TopK) {
        for counter in other.live() {
            self.count(counter.value.as_value(), counter.count);
        }
        self.lost = self.lost.saturating_add(other.lost);
        self.make_room();
    }

    fn live(&self) -> &[Counter] {
        &self.counters[..self.live]
    }

    fn count(&mut self, value: Value<'_>, weight: u64) {
        if !Scalar::can_hold(&value) {
            return;
        }
        let hash = hash_of(value);
        let counters = &mut self.counters;
        let found = self.index.find(hash, |at| {
            total_order(counters[*at as usize].value.as_value(), value).is_eq()
        });
        match found {
            Some(at) => {
                let count = &mut counters[*at as usize].count;
                *count = count.saturating_add(weight);
            }
            None => self.begin(value, hash, weight),
        }
    }

    /// A counter for a value that has none.
    fn begin(&mut self, value: Value<'_>, hash: u64, count: u64) {
        match self.counters.get_mut(self.live) {
            Some(spare) => {
                spare.value.assign(value);
                (spare.count, spare.hash) = (count, hash);
            }
            None => {
                let value = Scalar::new(value).expect("a single value");
                self.counters.push(Counter { value, count, hash });
            }
        }
        let at = u32::try_from(self.live).expect("at most twice the capacity");
        self.live += 1;
        let counters = &self.counters;
        self.index
            .insert_unique(hash, at, |at| counters[*at as usize].hash);
    }

    /// When there are too many counters, those that stay lose as much as the largest that goes has.
    fn make_room(&mut self) {
        if self.live <= CAPACITY {
            return;
        }
        let live = &mut self.counters[..self.live];
        let (kept, first_gone, _) = live.select_nth_unstable_by(KEPT, Counter::order);
        let loss = first_gone.count;
        kept.iter_mut().for_each(|counter| counter.count -= loss);
        self.live = KEPT;
        self.lost = self.lost.saturating_add(loss);
        self.index.clear();
        let counters = &self.counters;
        for (at, counter) in (0..).zip(&counters[..KEPT]) {
            self.index
                .insert_unique(counter.hash, at, |at| counters[*at as usize].hash);
        }
    }

    /// A list of the `k` values with the largest counts, the largest first, and of equal counts the
    /// smallest value first. Each is an object with `value` and `count`. A count may be too large by
    /// what was lost, and never is too small.
    pub fn read<'a>(&self, k: usize, arena: &'a Bump) -> Value<'a> {
        let mut counters = ArenaVec::with_capacity_in(self.live, arena);
        counters.extend(self.live());
        let order = |one: &&Counter, other: &&Counter| one.order(other);
        if k < counters.len() {
            counters.select_nth_unstable_by(k, order);
            counters.truncate(k);
        }
        counters.sort_unstable_by(order);
        let entries = counters.iter().map(|counter| {
            let count = counter.count.saturating_add(self.lost);
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let entry = [
                ("value", counter.value.read(arena)),
                ("count", Value::Int(count)),
            ];
            Value::Map(arena.alloc_slice_copy(&entry))
        });
        Value::List(arena.alloc_slice_fill_iter(entries))
    }

    /// The values, as texts, with their counts and what they may have lost: a frequent-items sketch of
    /// Apache DataSketches, for other programs to merge. That library would have an owned value made
    /// for each record, so it is not what counts here; its sketch has the same terms.
    pub fn sketch(&self) -> Vec<u8> {
        let mut sketch = FrequentItemsSketch::<String>::new(SKETCH_ITEMS)
            .expect("a power of two that the format allows");
        for counter in self.live() {
            sketch.update_with_count(counter.value.text(), counter.count);
        }
        let mut bytes = sketch.serialize();
        if self.lost > 0 {
            bytes[SKETCH_OFFSET].copy_from_slice(&self.lost.to_le_bytes());
        }
        bytes
    }

    /// Bytes on the heap, about.
    pub fn heap_bytes(&self) -> usize {
        let values = self
            .counters
            .iter()
            .map(|counter| counter.value.heap_bytes());
        self.counters.capacity() * size_of::<Counter>()
            + values.sum::<usize>()
            + self.index.capacity() * size_of::<u32>()
    }
}

/// For looking up in memory; nothing that is kept depends on it.
fn hash_of(value: Value<'_>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    match value {
        Value::Int(number) => number.hash(&mut hasher),
        Value::Float(number) => number.to_bits().hash(&mut hasher),
        Value::Str(text) => text.hash(&mut hasher),
        Value::Bytes(bytes) => bytes.hash(&mut hasher),
        Value::Bool(flag) => flag.hash(&mut hasher),
        Value::Time(time) => time.0.hash(&mut hasher),
        Value::Duration(ms) => ms.hash(&mut hasher),
        Value::Missing | Value::Null | Value::List(_) | Value::Map(_) => {}
    }
    hasher.finish()
}

/// Of the same values with the same counts, in any order.
impl PartialEq for TopK {
    fn eq(&self, other: &TopK) -> bool {
        let sorted = |top: &TopK| {
            let counters = top.live().iter();
            let mut counters: Vec<_> = counters
                .map(|each| (each.value.clone(), each.count))
                .collect();
            counters.sort_by(|(one, _), (other, _)| total_order(one.as_value(), other.as_value()));
            counters
        };
        self.lost == other.lost && sorted(self) == sorted(other)
    }
}

impl Encode for TopK {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        self.lost.encode(encoder)?;
        (self.live as u64).encode(encoder)?;
        self.live().iter().try_for_each(|counter| {
            counter.value.encode(encoder)?;
            counter.count.encode(encoder)
        })
    }
}

impl<Context> Decode<Context> for TopK {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<TopK, DecodeFailure> {
        let mut top = TopK {
            lost: u64::decode(decoder)?,
            ..TopK::default()
        };
        let live = u64::decode(decoder)? as usize;
        if live > CAPACITY {
            return Err(DecodeFailure::Other("more counters than there is room for"));
        }
        top.counters.reserve(live);
        for _ in 0..live {
            let value = Scalar::decode(decoder)?;
            top.count(value.as_value(), u64::decode(decoder)?);
        }
        match top.live == live {
            true => Ok(top),
            false => Err(DecodeFailure::Other("a value with two counters or none")),
        }
    }
}

codec::impl_borrow_decode!(TopK);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    fn of(values: &[i64]) -> TopK {
        let mut top = TopK::default();
        values
            .iter()
            .for_each(|value| top.add(Value::Int(*value), 1));
        top
    }

    /// The values and counts of the `k` most frequent.
    fn read(top: &TopK, k: usize) -> Vec<(String, i64)> {
        let arena = Bump::new();
        let Value::List(entries) = top.read(k, &arena) else {
            panic!("a list")
        };
        let entries = entries.iter().map(|entry| match entry {
            Value::Map([("value", value), ("count", Value::Int(count))]) => {
                (format!("{value:?}"), *count)
            }
            other => panic!("{other:?}"),
        });
        entries.collect()
    }

    fn counted(values: &[i64]) -> BTreeMap<i64, u64> {
        let mut counts = BTreeMap::new();
        values
            .iter()
            .for_each(|value| *counts.entry(*value).or_default() += 1);
        counts
    }

    #[test]
    fn the_most_frequent_come_first_and_of_equals_the_smallest() {
        let mut top = TopK::default();
        for text in ["b", "c", "a", "c", "d", "b", "c"] {
            top.add(Value::Str(text), 1);
        }
        top.add(Value::Null, 5);
        let text = |text: &str, count| (format!("{:?}", Value::Str(text)), count);
        assert_eq!(read(&top, 3), [text("c", 3), text("b", 2), text("a", 1)]);
        assert_eq!(read(&top, 10).len(), 4);
        assert_eq!(read(&TopK::default(), 3), []);
    }

    #[test]
    fn equal_numbers_are_one_value_and_other_types_are_not() {
        let mut top = TopK::default();
        let values = [
            Value::Int(1),
            Value::Float(1.0),
            Value::Str("1"),
            Value::Bool(true),
        ];
        values.into_iter().for_each(|value| top.add(value, 1));
        top.add(Value::Time(crate::time::Timestamp(1)), 1);
        assert_eq!(read(&top, 9)[0], (format!("{:?}", Value::Int(1)), 2));
        assert_eq!(top.live, 4);
    }

    #[test]
    fn weights_add_up_and_stop_at_the_end_of_numbers() {
        let mut top = TopK::default();
        top.add(Value::Str("a"), 5);
        top.add(Value::Str("a"), 0);
        top.add(Value::Str("b"), u64::MAX);
        top.add(Value::Str("b"), u64::MAX);
        top.merge(&top.clone());
        assert_eq!(read(&top, 2)[0].1, i64::MAX);
        assert_eq!(read(&top, 2)[1].1, 10);
    }

    /// Some values are frequent, and there are far more different ones than counters.
    fn skewed(count: usize, seed: u64) -> Vec<i64> {
        let mut random = StdRng::seed_from_u64(seed);
        let draw = |_| (1.0 / random.random_range(0.0002f64..1.0)).powf(1.2) as i64;
        let mut values: Vec<i64> = (0..count).map(draw).collect();
        values.extend((0..count as i64).map(|n| 1_000_000 + n));
        values.shuffle(&mut random);
        values
    }

    /// What the documentation promises: no count too small, and none too large by more than a
    /// fifth of a percent of everything.
    #[test]
    fn of_many_values_counts_are_too_large_by_little_however_they_came() {
        let values = skewed(60_000, 3);
        let counts = counted(&values);
        let bound = values.len() as u64 / (KEPT as u64 + 1);
        for parts in [1, 9, 600] {
            let mut merged = TopK::default();
            for part in values.chunks(values.len().div_ceil(parts)) {
                merged.merge(&of(part));
            }
            assert!(
                merged.lost <= bound,
                "{} of {bound} in {parts}",
                merged.lost
            );
            for counter in merged.live() {
                let Scalar::Int(value) = counter.value else {
                    panic!("numbers were counted")
                };
                let range = counter.count..=counter.count + merged.lost;
                assert!(range.contains(&counts[&value]), "{value} in {parts}");
            }
            let mut expected: Vec<_> = counts
                .iter()
                .map(|(value, count)| (*count, *value))
                .collect();
            expected.sort_by_key(|(count, value)| (Reverse(*count), *value));
            let frequent = expected
                .iter()
                .take_while(|(count, _)| *count > merged.lost);
            for (_, value) in frequent {
                let is_it = |counter: &Counter| counter.value == Scalar::Int(*value);
                assert!(merged.live().iter().any(is_it), "{value} in {parts}");
            }
            let names: Vec<String> = read(&merged, 5).into_iter().map(|(name, _)| name).collect();
            let top = expected[..5]
                .iter()
                .map(|(_, value)| format!("{:?}", Value::Int(*value)));
            assert_eq!(names, top.collect::<Vec<_>>(), "in {parts}");
        }
    }

    /// Where all are equal, the smallest are as good as any.
    #[test]
    fn of_many_values_that_are_as_frequent_some_are_told() {
        let different = |range: std::ops::Range<i64>| of(&range.collect::<Vec<_>>());
        let mut top = different(0..2_000);
        top.merge(&different(2_000..4_000));
        let told = read(&top, 3);
        assert_eq!(told.len(), 3);
        let is_small = |(_, count): &(String, i64)| (1..=4_000 / KEPT as i64).contains(count);
        assert!(told.iter().all(is_small), "{told:?}");
        let mut bytes = Vec::new();
        codec::encode_into(&top, &mut bytes);
        assert_eq!(codec::decode::<TopK>(&bytes).unwrap(), top);
    }

    #[test]
    fn memory_is_bounded_and_reused() {
        let mut top = TopK::default();
        let mut peak = 0;
        for n in 0..20 * CAPACITY {
            top.add(Value::Str(&format!("title number {n:08}")), 1);
            if n == 4 * CAPACITY {
                peak = top.heap_bytes();
            }
        }
        assert_eq!(top.heap_bytes(), peak);
        assert!(peak < 200 * CAPACITY, "{peak}");
        let mut bytes = Vec::new();
        codec::encode_into(&top, &mut bytes);
        assert!(bytes.len() < 40 * CAPACITY);
    }

    #[test]
    fn damage_is_refused() {
        let mut bytes = Vec::new();
        codec::encode_into(&of(&[1, 2, 2]), &mut bytes);
        assert_eq!(codec::decode::<TopK>(&bytes).unwrap(), of(&[2, 1, 2]));
        bytes.pop();
        assert!(codec::decode::<TopK>(&bytes).is_err());
        let twice = (0u64, vec![(Scalar::Int(1), 1u64), (Scalar::Int(1), 1u64)]);
        let mut bytes = Vec::new();
        codec::encode_into(&twice, &mut bytes);
        assert!(codec::decode::<TopK>(&bytes).is_err());
        let mut bytes = Vec::new();
        codec::encode_into(&(0u64, u64::MAX), &mut bytes);
        assert!(codec::decode::<TopK>(&bytes).is_err());
    }

    #[test]
    fn the_bytes_stay_as_they_are() {
        let mut bytes = Vec::new();
        codec::encode_into(&of(&[7, 7, -1]), &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect![[r"010002010e02010101"]].assert_eq(&hex);
    }

    proptest! {
        #[test]
        fn few_values_are_exact_in_parts_and_in_any_order(
            values in prop::collection::vec(0i64..50, 0..200),
            cut in 0usize..200,
        ) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &of(&values));
            let mut expected: Vec<_> = counted(&values).into_iter().collect();
            expected.sort_by_key(|(value, count)| (Reverse(*count), *value));
            let expected = expected.into_iter().take(5);
            let expected: Vec<_> = expected
                .map(|(value, count)| (format!("{:?}", Value::Int(value)), count as i64))
                .collect();
            prop_assert_eq!(read(&merged, 5), expected);
        }

        /// A merge of two gives the same whichever comes first.
        #[test]
        fn merging_many_values_is_the_same_both_ways(seeds in (any::<u64>(), any::<u64>())) {
            let (one, other) = (of(&skewed(2_000, seeds.0)), of(&skewed(2_000, seeds.1)));
            let (mut left, mut right) = (one.clone(), other.clone());
            left.merge(&other);
            right.merge(&one);
            prop_assert_eq!(left, right);
        }

        /// Whenever it is written and read back, the same comes of what follows.
        #[test]
        fn writing_changes_nothing(
            pauses in prop::collection::btree_set(0usize..6_000, 0..12),
            seed in any::<u64>(),
        ) {
            let (mut straight, mut paused) = (TopK::default(), TopK::default());
            for (at, value) in skewed(3_000, seed).into_iter().enumerate() {
                straight.add(Value::Int(value), 1);
                paused.add(Value::Int(value), 1);
                if pauses.contains(&at) {
                    let mut bytes = Vec::new();
                    codec::encode_into(&paused, &mut bytes);
                    paused = codec::decode(&bytes).expect("what was written");
                }
            }
            prop_assert_eq!(paused, straight);
        }
    }
}
