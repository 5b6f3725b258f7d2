//! How many different values: exact while there are few, a HyperLogLog sketch from then on.
//!
//! Values are known by a stable 64-bit hash. Up to [`EXACT_LIMIT`] of them are kept as a sorted
//! list, so the count is exact (but for a collision of two hashes: one in 10^13 for a full list).
//! Beyond that they go into a HyperLogLog sketch of 2^14 registers, whose standard error is 0.8 %.

use datasketches::hll::{HllSketch, HllType, HllUnion};
use xxhash_rust::xxh3::Xxh3Default;

use crate::codec::{self, Decode, DecodeFailure, Decoder, Encode, EncodeFailure, Encoder};
use crate::value::Value;

/// So many different values are counted exactly.
pub const EXACT_LIMIT: usize = 1024;

/// 2^14 registers.
const LOG2_REGISTERS: u8 = 14;

/// A set that knows how many members it has.
#[derive(Clone, Debug)]
pub struct DistinctSet(Members);

#[derive(Clone, Debug)]
enum Members {
    /// Sorted hashes, at most [`EXACT_LIMIT`].
    Exact(Vec<u64>),
    Sketch(Box<HllSketch>),
}

impl Default for DistinctSet {
    fn default() -> DistinctSet {
        DistinctSet(Members::Exact(Vec::new()))
    }
}

impl DistinctSet {
    /// Adds a value, or a tuple of values.
    pub fn insert(&mut self, values: &[Value<'_>]) {
        let mut hasher = Xxh3Default::new();
        for value in values {
            hash_value(&mut hasher, *value);
        }
        self.insert_hash(hasher.digest());
    }

    fn insert_hash(&mut self, hash: u64) {
        match &mut self.0 {
            Members::Sketch(sketch) => sketch.update(hash),
            Members::Exact(hashes) => {
                if let Err(at) = hashes.binary_search(&hash) {
                    hashes.insert(at, hash);
                    if hashes.len() > EXACT_LIMIT {
                        self.0 = Members::Sketch(Box::new(sketch_of(hashes)));
                    }
                }
            }
        }
    }

    /// Adds all members of the other.
    pub fn merge(&mut self, other: &DistinctSet) {
        match (&mut self.0, &other.0) {
            (_, Members::Exact(hashes)) => hashes.iter().for_each(|hash| self.insert_hash(*hash)),
            (Members::Exact(hashes), Members::Sketch(sketch)) => {
                let mut sketch = sketch.clone();
                hashes.iter().for_each(|hash| sketch.update(*hash));
                self.0 = Members::Sketch(sketch);
            }
            (Members::Sketch(mine), Members::Sketch(other)) => {
                let mut union = HllUnion::new(LOG2_REGISTERS).expect("a valid size");
                union.update(mine);
                union.update(other);
                **mine = union.to_sketch(HllType::Hll8);
            }
        }
    }

    /// The number of members: exact up to [`EXACT_LIMIT`], an estimate beyond.
    pub fn estimate(&self) -> i64 {
        match &self.0 {
            Members::Exact(hashes) => hashes.len() as i64,
            Members::Sketch(sketch) => sketch.estimate().round() as i64,
        }
    }

    /// Bytes on the heap, about.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Members::Exact(hashes) => hashes.capacity() * size_of::<u64>(),
            Members::Sketch(sketch) => sketch.estimated_size(),
        }
    }

    /// The sketch, in the portable format of Apache DataSketches (`HllSketch`). Its items are the
    /// 64-bit hashes of the values, so it merges with others of Tidemill.
    pub fn sketch(&self) -> Vec<u8> {
        match &self.0 {
            Members::Exact(hashes) => sketch_of(hashes).serialize(),
            Members::Sketch(sketch) => sketch.serialize(),
        }
    }
}

fn sketch_of(hashes: &[u64]) -> HllSketch {
    let mut sketch = HllSketch::new(LOG2_REGISTERS, HllType::Hll8).expect("a valid size");
    hashes.iter().for_each(|hash| sketch.update(*hash));
    sketch
}

/// Whole numbers hash the same with and without a fraction of zero, as they are equal in
/// expressions. A tag and the length keep `("a", "bc")` apart from `("ab", "c")`.
fn hash_value(hasher: &mut Xxh3Default, value: Value<'_>) {
    let tagged = |hasher: &mut Xxh3Default, tag: u8, bytes: &[u8]| {
        hasher.update(&[tag]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        Value::Missing | Value::Null => tagged(hasher, 0, &[]),
        Value::Bool(value) => tagged(hasher, 1, &[u8::from(value)]),
        Value::Int(value) => tagged(hasher, 2, &value.to_le_bytes()),
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e18 => {
            tagged(hasher, 2, &(value as i64).to_le_bytes());
        }
        Value::Float(value) => tagged(hasher, 3, &value.to_le_bytes()),
        Value::Str(text) => tagged(hasher, 4, text.as_bytes()),
        Value::Bytes(bytes) => tagged(hasher, 5, bytes),
        Value::Time(time) => tagged(hasher, 6, &time.0.to_le_bytes()),
        Value::Duration(ms) => tagged(hasher, 7, &ms.to_le_bytes()),
        Value::List(list) => {
            tagged(hasher, 8, &(list.len() as u64).to_le_bytes());
            list.iter().for_each(|value| hash_value(hasher, *value));
        }
        Value::Map(entries) => {
            tagged(hasher, 9, &(entries.len() as u64).to_le_bytes());
            for (name, value) in entries {
                tagged(hasher, 4, name.as_bytes());
                hash_value(hasher, *value);
            }
        }
    }
}

impl PartialEq for DistinctSet {
    fn eq(&self, other: &DistinctSet) -> bool {
        match (&self.0, &other.0) {
            (Members::Exact(left), Members::Exact(right)) => left == right,
            (Members::Sketch(one), Members::Sketch(other)) => one.serialize() == other.serialize(),
            _ => false,
        }
    }
}

impl Encode for DistinctSet {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        match &self.0 {
            Members::Exact(hashes) => {
                0u8.encode(encoder)?;
                (hashes.len() as u64).encode(encoder)?;
                hashes
                    .iter()
                    .try_for_each(|hash| hash.to_le_bytes().encode(encoder))
            }
            Members::Sketch(sketch) => {
                1u8.encode(encoder)?;
                sketch.serialize().encode(encoder)
            }
        }
    }
}

impl<Context> Decode<Context> for DistinctSet {
    fn decode<D: Decoder<Context = Context>>(
        decoder: &mut D,
    ) -> Result<DistinctSet, DecodeFailure> {
        match u8::decode(decoder)? {
            0 => {
                let count = u64::decode(decoder)? as usize;
                if count > EXACT_LIMIT {
                    return Err(DecodeFailure::Other("more distinct hashes than the limit"));
                }
                let hashes = (0..count)
                    .map(|_| <[u8; 8]>::decode(decoder).map(u64::from_le_bytes))
                    .collect::<Result<Vec<u64>, _>>()?;
                if !hashes.is_sorted_by(|a, b| a < b) {
                    return Err(DecodeFailure::Other("distinct hashes out of order"));
                }
                Ok(DistinctSet(Members::Exact(hashes)))
            }
            1 => match HllSketch::deserialize(&Vec::<u8>::decode(decoder)?) {
                Ok(sketch) => Ok(DistinctSet(Members::Sketch(Box::new(sketch)))),
                Err(_) => Err(DecodeFailure::Other("damaged HyperLogLog sketch")),
            },
            _ => Err(DecodeFailure::Other("unknown kind of distinct set")),
        }
    }
}

codec::impl_borrow_decode!(DistinctSet);

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(range: std::ops::Range<i64>) -> DistinctSet {
        let mut set = DistinctSet::default();
        range.for_each(|n| set.insert(&[Value::Int(n)]));
        set
    }

    #[test]
    fn it_is_exact_up_to_the_limit_and_close_beyond_it() {
        for count in [0, 1, 2, 100, EXACT_LIMIT as i64] {
            assert_eq!(set_of(0..count).estimate(), count);
        }
        for count in [EXACT_LIMIT as i64 + 1, 5_000, 100_000] {
            let estimate = set_of(0..count).estimate();
            let error = (estimate - count).abs() as f64 / count as f64;
            assert!(error < 0.03, "{estimate} for {count}");
        }
    }

    #[test]
    fn merging_counts_shared_members_once_whatever_the_forms() {
        for (left, right, union) in [
            (0..10, 5..15, 15),
            (0..2_000, 0..10, 2_000),
            (0..10, 0..2_000, 2_000),
            (0..2_000, 1_000..3_000, 3_000),
        ] {
            let mut set = set_of(left);
            set.merge(&set_of(right));
            let error = (set.estimate() - union).abs() as f64 / union as f64;
            assert!(error < 0.03, "{} for {union}", set.estimate());
        }
    }

    #[test]
    fn tuples_and_types_are_kept_apart() {
        let mut set = DistinctSet::default();
        set.insert(&[Value::Str("a"), Value::Str("bc")]);
        set.insert(&[Value::Str("ab"), Value::Str("c")]);
        set.insert(&[Value::Int(1)]);
        set.insert(&[Value::Float(1.0)]);
        set.insert(&[Value::Str("1")]);
        set.insert(&[Value::Null, Value::Int(1)]);
        assert_eq!(set.estimate(), 5);
    }

    #[test]
    fn both_forms_survive_encoding_and_damage_is_refused() {
        for set in [set_of(0..0), set_of(0..50), set_of(0..5_000)] {
            let mut bytes = Vec::new();
            codec::encode_into(&set, &mut bytes);
            assert_eq!(codec::decode::<DistinctSet>(&bytes).unwrap(), set);
            bytes.pop();
            assert!(codec::decode::<DistinctSet>(&bytes).is_err());
        }
    }

    /// Whenever it is written and read back, the same comes of what follows.
    #[test]
    fn writing_changes_nothing() {
        let (mut straight, mut paused) = (DistinctSet::default(), DistinctSet::default());
        for n in 0..20_000 {
            straight.insert(&[Value::Int(n)]);
            paused.insert(&[Value::Int(n)]);
            if n % 777 == 0 {
                let mut bytes = Vec::new();
                codec::encode_into(&paused, &mut bytes);
                paused = codec::decode(&bytes).unwrap();
            }
        }
        assert_eq!(paused.estimate(), straight.estimate());
        assert_eq!(paused, straight);
    }

    /// Few values are no sketch here; what is given away is always one.
    #[test]
    fn what_is_given_away_is_a_sketch_that_merges_with_others() {
        let [few, many] = [set_of(0..600), set_of(500..5_000)]
            .map(|set| HllSketch::deserialize(&set.sketch()).expect("a sketch"));
        let mut union = HllUnion::new(LOG2_REGISTERS).expect("a valid size");
        union.update(&few);
        assert!(
            (union.estimate() - 600.0).abs() < 6.0,
            "{}",
            union.estimate()
        );
        union.update(&many);
        assert!(
            (union.estimate() - 5_000.0).abs() < 100.0,
            "{}",
            union.estimate()
        );
        let empty = HllSketch::deserialize(&DistinctSet::default().sketch()).expect("a sketch");
        assert!(empty.is_empty());
    }

    #[test]
    fn the_hash_of_a_value_never_changes() {
        let mut set = DistinctSet::default();
        set.insert(&[Value::Str("Zoë")]);
        let mut bytes = Vec::new();
        codec::encode_into(&set, &mut bytes);
        expect_test::expect!["0100018c30a01bcd78f8c7"].assert_eq(&hex(&bytes));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
