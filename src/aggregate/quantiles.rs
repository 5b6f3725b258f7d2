//! Below which value a given share of all values lies: exact while there are few, read from a
//! t-digest from then on.
//!
//! Up to [`EXACT_LIMIT`] values are kept as they are. Beyond that they go into a t-digest with
//! compression 500, which has at most about a thousand centroids, fine ones at both ends: 16 KB, as
//! much as a full sketch of distinct values. New values are kept beside it and go in [`BATCH`] at a
//! time.
//!
//! The invariant: what is kept depends only on the values and merges, in their order, and not on
//! when it was written and read back. So the digest is never left with values that it has not
//! compressed: it would do so whenever it is written, and the next values would find another one.

use bumpalo::Bump;
use datasketches::tdigest::TDigestMut;

use crate::codec::{self, Decode, DecodeFailure, Decoder, Encode, EncodeFailure, Encoder};
use crate::value::Value;

/// Quantiles of so many values are exact.
pub const EXACT_LIMIT: usize = 1024;

/// So many values go into the digest at once.
const BATCH: usize = 512;

/// At most about twice as many centroids.
const COMPRESSION: u16 = 500;

/// Values whose quantiles can be told.
#[derive(Clone, Debug, Default)]
pub struct Quantiles {
    digest: Option<Box<TDigestMut>>,
    /// What is not in the digest, in the order in which it came: at most [`EXACT_LIMIT`] values, and
    /// beside a digest at most [`BATCH`].
    recent: Vec<f64>,
}

impl Quantiles {
    /// Adds a value. NaN and the infinities count as nothing.
    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.recent.push(value);
            self.digest_what_is_due();
        }
    }

    /// Takes over what another one has seen.
    pub fn merge(&mut self, other: &Quantiles) {
        if let Some(digest) = &other.digest {
            // All of it at once, so that nothing is compressed twice.
            self.digest_all();
            match &mut self.digest {
                Some(own) => own.merge(digest),
                None => self.digest = Some(digest.clone()),
            }
        }
        self.recent.extend_from_slice(&other.recent);
        self.digest_what_is_due();
    }

    fn digest_what_is_due(&mut self) {
        let limit = match self.digest {
            None => EXACT_LIMIT,
            Some(_) => BATCH,
        };
        if self.recent.len() > limit {
            self.digest_all();
        }
    }

    fn digest_all(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let batch = digest_of(&self.recent);
        self.recent.clear();
        if self.recent.capacity() > 2 * BATCH {
            self.recent.shrink_to(BATCH + 1);
        }
        // A merge leaves nothing that is not compressed.
        self.digest
            .get_or_insert_with(|| Box::new(empty_digest()))
            .merge(&batch);
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.digest.is_none()
    }

    /// Below which value that share lies, between two of them in between; none when there is none.
    pub fn quantile(&self, share: f64, arena: &Bump) -> Option<f64> {
        let mut found = [None];
        self.read([share].into_iter(), &mut found, arena);
        found[0]
    }

    /// Several at once, into as many places.
    fn read(&self, shares: impl Iterator<Item = f64>, found: &mut [Option<f64>], arena: &Bump) {
        let places = found.iter_mut().zip(shares);
        if self.digest.is_some() {
            let mut digest = self.whole_digest();
            for (place, share) in places {
                *place = digest.quantile(share).ok().flatten();
            }
        } else if !self.recent.is_empty() {
            let sorted = arena.alloc_slice_copy(&self.recent);
            sorted.sort_unstable_by(f64::total_cmp);
            for (place, share) in places {
                *place = Some(exact_quantile(sorted, share));
            }
        }
    }

    /// A list of several; null where there is no value.
    pub fn quantiles<'a>(&self, shares: &[f64], arena: &'a Bump) -> Value<'a> {
        let found = arena.alloc_slice_fill_copy(shares.len(), None);
        self.read(shares.iter().copied(), found, arena);
        let values = found
            .iter()
            .map(|found| found.map_or(Value::Null, Value::Float));
        Value::List(arena.alloc_slice_fill_iter(values))
    }

    /// The t-digest of all values, in the portable format of Apache DataSketches (`tdigest_double`).
    pub fn sketch(&self) -> Vec<u8> {
        self.whole_digest().serialize()
    }

    /// The digest with what is kept beside it.
    fn whole_digest(&self) -> TDigestMut {
        let mut digest = self.digest.as_deref().cloned().unwrap_or_else(empty_digest);
        digest.merge(&digest_of(&self.recent));
        digest
    }

    /// Bytes on the heap, about.
    pub fn heap_bytes(&self) -> usize {
        let digest = self.digest.as_ref();
        let digest = digest.map_or(0, |digest| {
            size_of::<TDigestMut>() + digest.estimated_size()
        });
        digest + self.recent.capacity() * size_of::<f64>()
    }
}

fn empty_digest() -> TDigestMut {
    TDigestMut::new(COMPRESSION).expect("a valid compression")
}

fn digest_of(values: &[f64]) -> TDigestMut {
    let mut digest = empty_digest();
    values.iter().for_each(|value| digest.update(*value));
    digest
}

/// Of values that rise; between two of them it lies as far as the share lies between theirs (as
/// `PERCENTILE_CONT` of SQL).
fn exact_quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (lower, fraction) = (at.floor() as usize, at.fract());
    let upper = (lower + 1).min(sorted.len() - 1);
    sorted[lower] * (1.0 - fraction) + sorted[upper] * fraction
}

/// Of the same values; those that are not in the digest in any order.
impl PartialEq for Quantiles {
    fn eq(&self, other: &Quantiles) -> bool {
        let sorted = |quantiles: &Quantiles| {
            let mut values = quantiles.recent.clone();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let bytes = |quantiles: &Quantiles| {
            let digest = quantiles.digest.as_deref().cloned();
            digest.map(|mut digest| digest.serialize())
        };
        sorted(self) == sorted(other) && bytes(self) == bytes(other)
    }
}

impl Encode for Quantiles {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        // Writing a digest compresses it, which has nothing to do here.
        let digest = self.digest.as_deref().cloned();
        let bytes = digest.map(|mut digest| digest.serialize());
        bytes.encode(encoder)?;
        self.recent.encode(encoder)
    }
}

impl<Context> Decode<Context> for Quantiles {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Quantiles, DecodeFailure> {
        let digest = match Option::<Vec<u8>>::decode(decoder)? {
            None => None,
            Some(bytes) => match TDigestMut::deserialize(&bytes) {
                Ok(digest) => Some(Box::new(digest)),
                Err(_) => return Err(DecodeFailure::Other("damaged t-digest")),
            },
        };
        let recent = Vec::<f64>::decode(decoder)?;
        match recent.iter().all(|value| value.is_finite()) {
            true => Ok(Quantiles { digest, recent }),
            false => Err(DecodeFailure::Other("a value that is not finite")),
        }
    }
}

codec::impl_borrow_decode!(Quantiles);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn of(values: &[f64]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|value| quantiles.add(*value));
        quantiles
    }

    fn written_and_read(quantiles: &Quantiles) -> Quantiles {
        let mut bytes = Vec::new();
        codec::encode_into(quantiles, &mut bytes);
        codec::decode(&bytes).expect("what was written")
    }

    #[track_caller]
    fn check(values: &[f64], share: f64, expected: Option<f64>) {
        let found = of(values).quantile(share, &Bump::new());
        assert_eq!(found, expected, "{share} of {values:?}");
    }

    #[test]
    fn quantiles_of_few_values_are_those_of_sql() {
        check(&[], 0.5, None);
        check(&[7.0], 0.0, Some(7.0));
        check(&[7.0], 1.0, Some(7.0));
        check(&[4.0, 1.0, 3.0, 2.0], 0.5, Some(2.5));
        check(&[4.0, 1.0, 3.0, 2.0], 0.25, Some(1.75));
        check(&[4.0, 1.0, 3.0, 2.0], 1.0, Some(4.0));
        check(&[f64::NAN, f64::INFINITY, 5.0], 1.0, Some(5.0));
        check(&[-f64::MAX, f64::MAX], 0.5, Some(0.0));
        let arena = Bump::new();
        let expected = [Value::Float(9.0), Value::Float(1.0)];
        assert_eq!(
            of(&[1.0, 9.0]).quantiles(&[1.0, 0.0], &arena),
            Value::List(&expected)
        );
        assert_eq!(
            of(&[]).quantiles(&[0.5, 1.0], &arena),
            Value::List(&[Value::Null, Value::Null])
        );
    }

    /// Values of several shapes, shuffled, sorted, and with few different ones.
    fn shapes(count: usize) -> Vec<(&'static str, Vec<f64>)> {
        let mut random = StdRng::seed_from_u64(7);
        let mut draw = |shape: fn(f64) -> f64| -> Vec<f64> {
            (0..count).map(|_| shape(random.random::<f64>())).collect()
        };
        vec![
            ("uniform", draw(|x| x)),
            ("exponential", draw(|x| -(1.0 - x).ln())),
            ("long tail", draw(|x| (1.0 - x).powf(-1.5))),
            ("few different", draw(|x| (x * 5.0).floor())),
            (
                "two far apart",
                draw(|x| if x < 0.5 { x } else { 1e12 + x }),
            ),
            ("rising", (0..count).map(|n| n as f64).collect()),
            ("falling", (0..count).rev().map(|n| n as f64).collect()),
        ]
    }

    /// How far the share of the values below the estimate is from the share that was asked for.
    fn rank_error(sorted: &[f64], estimate: f64, share: f64) -> f64 {
        let count = sorted.len() as f64;
        let below = sorted.partition_point(|value| *value < estimate) as f64 / count;
        let up_to = sorted.partition_point(|value| *value <= estimate) as f64 / count;
        (below - share).max(share - up_to).max(0.0)
    }

    /// The documentation promises a fifth of a percent, and a twentieth of one at the ends.
    #[test]
    fn quantiles_of_many_values_are_close_however_they_came() {
        for count in [1_100, 2_000, 5_000, 20_000, 100_000] {
            for (name, values) in shapes(count) {
                // At once, in a few large parts, and in many small ones: a commit of a partition
                // each.
                for parts in [1, 7, count / 50] {
                    let mut merged = Quantiles::default();
                    for part in values.chunks(values.len().div_ceil(parts)) {
                        merged.merge(&of(part));
                    }
                    check_close(&format!("{count} {name} in {parts}"), &merged, &values);
                }
            }
        }
    }

    fn check_close(name: &str, found: &Quantiles, values: &[f64]) {
        let arena = Bump::new();
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        // Between two heaps of values a centroid may have some of both.
        let inside = match name.contains("apart") {
            true => 0.01,
            false => 0.002,
        };
        for (share, bound) in [
            (0.0, 0.0),
            (0.001, 0.0005),
            (0.01, 0.0005),
            (0.25, inside),
            (0.5, inside),
            (0.75, inside),
            (0.99, 0.0005),
            (0.999, 0.0005),
            (1.0, 0.0),
        ] {
            let estimate = found.quantile(share, &arena).expect("many values");
            let error = rank_error(&sorted, estimate, share);
            assert!(error <= bound, "{name}: {error} at {share}");
        }
    }

    #[test]
    fn memory_stays_below_a_bound() {
        let (_, values) = shapes(50_000).swap_remove(2);
        let mut quantiles = Quantiles::default();
        for (at, value) in values.iter().enumerate() {
            quantiles.add(*value);
            assert!(quantiles.heap_bytes() < 45_000, "after {at}");
        }
        let other = quantiles.clone();
        for _ in 0..50 {
            quantiles.merge(&other);
            assert!(quantiles.heap_bytes() < 45_000);
        }
        let mut bytes = Vec::new();
        codec::encode_into(&quantiles, &mut bytes);
        assert!(bytes.len() < 22_000, "{}", bytes.len());
    }

    #[test]
    fn what_is_given_away_is_a_digest_of_all_values() {
        for count in [0, 1, 500, 5_000, 5_100] {
            let values: Vec<f64> = (0..count).map(f64::from).collect();
            let mut digest = TDigestMut::deserialize(&of(&values).sketch()).expect("a digest");
            assert_eq!(digest.total_weight(), count as u64);
            assert_eq!(digest.quantile(1.0).unwrap(), values.last().copied());
        }
    }

    #[test]
    fn damage_is_refused() {
        for values in [10, 5_000] {
            let values: Vec<f64> = (0..values).map(f64::from).collect();
            let mut bytes = Vec::new();
            codec::encode_into(&of(&values), &mut bytes);
            bytes.pop();
            assert!(codec::decode::<Quantiles>(&bytes).is_err());
        }
        let mut bytes = Vec::new();
        codec::encode_into(&(None::<Vec<u8>>, vec![f64::NAN]), &mut bytes);
        assert!(codec::decode::<Quantiles>(&bytes).is_err());
    }

    #[test]
    fn the_bytes_stay_as_they_are() {
        let mut bytes = Vec::new();
        codec::encode_into(&of(&[0.5, -2.0]), &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect![[r"010002000000000000e03f00000000000000c0"]].assert_eq(&hex);
    }

    proptest! {
        /// As long as there are few, in parts and in any order; and a quantile is that of the sorted
        /// values.
        #[test]
        fn few_values_are_exact_in_any_order(
            values in prop::collection::vec(-1e6f64..1e6, 1..300),
            cut in 0usize..300,
            share in 0.0f64..=1.0,
        ) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &of(&values));
            let mut sorted = values.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let at = share * (sorted.len() - 1) as f64;
            let found = merged.quantile(share, &Bump::new()).expect("a value");
            prop_assert!(sorted[at.floor() as usize] <= found + 1e-6);
            prop_assert!(found - 1e-6 <= sorted[at.ceil() as usize]);
        }

        /// Whenever it is written and read back, the same comes of what follows.
        #[test]
        fn writing_changes_nothing(
            pauses in prop::collection::btree_set(0usize..4_000, 0..20),
            seed in any::<u64>(),
        ) {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut straight, mut paused) = (Quantiles::default(), Quantiles::default());
            for at in 0..4_000 {
                let value = random.random::<f64>();
                straight.add(value);
                paused.add(value);
                if pauses.contains(&at) {
                    paused = written_and_read(&paused);
                }
            }
            prop_assert_eq!(&paused.recent, &straight.recent);
            prop_assert_eq!(paused, straight);
        }
    }
}
