//! How far values lie from their mean.

use crate::codec::{Decode, Encode};
use crate::value::Value;

/// Count, mean and squared distances of numbers. Whole numbers are kept as exact sums, so that the
/// result does not depend on the order in which parts are merged; from the first fraction on (or
/// beyond `i128`), by Welford's method, merged as Chan et al. do.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub enum Spread {
    /// Of whole numbers.
    Whole {
        /// How many.
        count: i64,
        /// Their sum.
        sum: i128,
        /// The sum of their squares.
        squares: i128,
    },
    /// Of others too.
    Fraction {
        /// How many.
        count: i64,
        /// Their mean.
        mean: f64,
        /// The sum of the squares of their distances from the mean.
        distances: f64,
    },
}

/// Whether the numbers are all there are, or a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Squared distances are divided by how many there are.
    Population,
    /// By one less.
    Sample,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread::Whole {
            count: 0,
            sum: 0,
            squares: 0,
        }
    }
}

impl Spread {
    /// Adds a number.
    pub fn add(&mut self, value: Value<'_>) {
        let one = match value {
            Value::Int(value) => Spread::Whole {
                count: 1,
                sum: i128::from(value),
                squares: i128::from(value) * i128::from(value),
            },
            Value::Float(value) => Spread::Fraction {
                count: 1,
                mean: value,
                distances: 0.0,
            },
            _ => return debug_assert!(false, "check_arguments lets numbers through only"),
        };
        self.merge(one);
    }

    /// Takes over what another one has seen.
    pub fn merge(&mut self, other: Spread) {
        if other.count() == 0 {
            return;
        }
        *self = match (self.count(), self.exact_sum(other)) {
            (0, _) => other,
            (_, Some(whole)) => whole,
            (_, None) => self.merged_by_mean(other),
        };
    }

    /// How many numbers there were.
    pub fn count(self) -> i64 {
        match self {
            Spread::Whole { count, .. } | Spread::Fraction { count, .. } => count,
        }
    }

    /// The standard deviation; none of too few numbers.
    pub fn deviation(self, of: Of) -> Option<f64> {
        let divisor = match of {
            Of::Population => self.count(),
            Of::Sample => self.count() - 1,
        };
        (divisor > 0).then(|| (self.mean_and_distances().1 / divisor as f64).sqrt())
    }

    /// Both together, if both are of whole numbers and their sums can be held.
    fn exact_sum(self, other: Spread) -> Option<Spread> {
        let (
            Spread::Whole {
                count,
                sum,
                squares,
            },
            Spread::Whole {
                count: more,
                sum: other_sum,
                squares: other_squares,
            },
        ) = (self, other)
        else {
            return None;
        };
        Some(Spread::Whole {
            count: count + more,
            sum: sum.checked_add(other_sum)?,
            squares: squares.checked_add(other_squares)?,
        })
    }

    fn merged_by_mean(self, other: Spread) -> Spread {
        let (mean, distances) = self.mean_and_distances();
        let (other_mean, other_distances) = other.mean_and_distances();
        let (mine, others) = (self.count() as f64, other.count() as f64);
        let apart = other_mean - mean;
        let all = mine + others;
        Spread::Fraction {
            count: self.count() + other.count(),
            mean: mean + apart * others / all,
            distances: distances + other_distances + apart * apart * mine * others / all,
        }
    }

    fn mean_and_distances(self) -> (f64, f64) {
        match self {
            Spread::Fraction {
                mean, distances, ..
            } => (mean, distances),
            Spread::Whole {
                count,
                sum,
                squares,
            } => {
                let mean = sum as f64 / count as f64;
                // Σ(x − mean)² = Σx² − (Σx)² / n, in whole numbers as long as they can be held.
                let scaled = squares.checked_mul(i128::from(count));
                let scaled = scaled.zip(sum.checked_mul(sum));
                let scaled = scaled.and_then(|(squares, sum)| squares.checked_sub(sum));
                let distances = match scaled {
                    Some(scaled) => scaled as f64 / count as f64,
                    None => (squares as f64 - mean * sum as f64).max(0.0),
                };
                (mean, distances)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[Value<'_>]) -> Spread {
        let mut spread = Spread::default();
        values.iter().for_each(|value| spread.add(*value));
        spread
    }

    #[test]
    fn a_deviation_is_that_of_the_textbook() {
        let values = [2, 4, 4, 4, 5, 5, 7, 9].map(Value::Int);
        assert_eq!(of(&values).deviation(Of::Population), Some(2.0));
        let sample = of(&values).deviation(Of::Sample).expect("eight numbers");
        assert!((sample - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12, "{sample}");
    }

    #[test]
    fn too_few_numbers_have_none() {
        assert_eq!(of(&[]).deviation(Of::Population), None);
        assert_eq!(of(&[Value::Int(7)]).deviation(Of::Population), Some(0.0));
        assert_eq!(of(&[Value::Int(7)]).deviation(Of::Sample), None);
    }

    /// 1e15 + 0, 1, 2: a sum of squares in floating point would have nothing left of the distances.
    #[test]
    fn large_numbers_that_lie_close_together_keep_their_distance() {
        let whole = [0, 1, 2].map(|n| Value::Int(1_000_000_000_000_000 + n));
        let fractions = [0.0, 1.0, 2.0].map(|n| Value::Float(1e9 + 0.5 + n));
        let expected = (2.0_f64 / 3.0).sqrt();
        for values in [whole, fractions] {
            let found = of(&values).deviation(Of::Population).expect("three");
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
    }

    #[test]
    fn sums_beyond_128_bits_go_on_as_fractions() {
        let mut spread = of(&[Value::Int(i64::MAX), Value::Int(i64::MIN)]);
        for _ in 0..10 {
            spread.merge(spread);
        }
        let found = spread.deviation(Of::Population).expect("many");
        assert!((found / 2.0_f64.powi(63) - 1.0).abs() < 1e-9, "{found}");
    }

    proptest! {
        #[test]
        fn parts_that_are_merged_give_what_all_give(
            values in prop::collection::vec(-1e6f64..1e6, 2..50),
            cut in 1usize..49,
        ) {
            let cut = cut.min(values.len());
            let values: Vec<Value<'_>> = values.into_iter().map(Value::Float).collect();
            let mut merged = of(&values[..cut]);
            merged.merge(of(&values[cut..]));
            let whole = of(&values).deviation(Of::Sample).expect("two or more");
            let merged = merged.deviation(Of::Sample).expect("two or more");
            prop_assert!((whole - merged).abs() <= 1e-9 * whole.max(1.0));
        }
    }
}
