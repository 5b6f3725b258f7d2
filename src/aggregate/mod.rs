//! Mergeable accumulators: what an aggregate keeps per key and window.
//!
//! Each can be updated with one value, merged with another of its kind, encoded, and read out.
//! Merging is what lets an aggregate be folded on both sides of a repartition. Absent values
//! ([`Value::Missing`], [`Value::Null`]) leave everything but `count()` as it is.

mod distinct;
mod scalar;
mod spread;

use bumpalo::Bump;

pub use distinct::DistinctSet;
pub use scalar::Scalar;
pub use spread::{Of, Spread};

use crate::codec::{Decode, Encode};
use crate::time::Timestamp;
use crate::topology::graph::Function;
use crate::value::Value;

/// The state of one aggregate function for one key and window.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Accumulator {
    /// Records, or records for which a condition held.
    Count(i64),
    /// A sum; whole until a number with a fraction comes or `i64` overflows.
    Sum(Number),
    /// The smallest value.
    Min(Option<Scalar>),
    /// The largest value.
    Max(Option<Scalar>),
    /// A sum and how many values it is of.
    Avg(Number, i64),
    /// The value of the smallest timestamp, with that timestamp in milliseconds.
    First(Option<(i64, Scalar)>),
    /// The value of the largest timestamp, with that timestamp in milliseconds.
    Last(Option<(i64, Scalar)>),
    /// Different values.
    Distinct(DistinctSet),
    /// How far the values of a population lie from their mean.
    StddevPop(Spread),
    /// How far those of a sample do.
    StddevSamp(Spread),
}

/// A number that stays whole for as long as it can.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub enum Number {
    /// Whole.
    Int(i64),
    /// With a fraction, or beyond `i64`.
    Float(f64),
}

/// A value that an aggregate function cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function} takes {expected}, found {found}")]
pub struct AggregateError {
    function: &'static str,
    expected: &'static str,
    found: &'static str,
}

impl Accumulator {
    /// The state of `function` before the first record.
    pub fn new(function: Function) -> Accumulator {
        match function {
            Function::Count | Function::CountIf => Accumulator::Count(0),
            Function::Sum => Accumulator::Sum(Number::Int(0)),
            Function::Min => Accumulator::Min(None),
            Function::Max => Accumulator::Max(None),
            Function::Avg => Accumulator::Avg(Number::Int(0), 0),
            Function::First => Accumulator::First(None),
            Function::Last => Accumulator::Last(None),
            Function::Distinct => Accumulator::Distinct(DistinctSet::default()),
            Function::StddevPop => Accumulator::StddevPop(Spread::default()),
            Function::StddevSamp => Accumulator::StddevSamp(Spread::default()),
        }
    }

    /// Takes the arguments of one record with that event time.
    ///
    /// The arguments have passed [`check_arguments`] for the same function.
    pub fn add(&mut self, arguments: &[Value<'_>], time: Timestamp) {
        match self {
            Accumulator::Count(count) => match arguments.first() {
                None | Some(Value::Bool(true)) => *count += 1,
                Some(_) => {}
            },
            Accumulator::Distinct(set) => {
                if !arguments.iter().all(Value::is_absent) {
                    set.insert(arguments);
                }
            }
            _ => {
                let value = arguments.first().copied().unwrap_or(Value::Missing);
                if !value.is_absent() {
                    self.add_one(value, time);
                }
            }
        }
    }

    fn add_one(&mut self, value: Value<'_>, time: Timestamp) {
        match self {
            Accumulator::Sum(sum) => sum.add(value),
            Accumulator::Avg(sum, count) => {
                sum.add(value);
                *count += 1;
            }
            Accumulator::Min(min) => {
                if min.as_ref().is_none_or(|min| min.is_above(value)) {
                    *min = Scalar::new(value);
                }
            }
            Accumulator::Max(max) => {
                if max.as_ref().is_none_or(|max| max.is_below(value)) {
                    *max = Scalar::new(value);
                }
            }
            Accumulator::First(first) => {
                if first
                    .as_ref()
                    .is_none_or(|(earliest, _)| time.0 < *earliest)
                {
                    *first = Scalar::new(value).map(|value| (time.0, value));
                }
            }
            Accumulator::Last(last) => {
                if last.as_ref().is_none_or(|(latest, _)| time.0 >= *latest) {
                    *last = Scalar::new(value).map(|value| (time.0, value));
                }
            }
            Accumulator::StddevPop(spread) | Accumulator::StddevSamp(spread) => spread.add(value),
            Accumulator::Count(_) | Accumulator::Distinct(_) => unreachable!("handled by add"),
        }
    }

    /// Takes over what `other`, which came later, has seen.
    ///
    /// # Panics
    /// When the two are of different functions: stored state that does not fit its topology is
    /// refused when it is decoded.
    pub fn merge(&mut self, other: &Accumulator) {
        match (self, other) {
            (Accumulator::Count(count), Accumulator::Count(more)) => *count += *more,
            (Accumulator::Sum(sum), Accumulator::Sum(more)) => sum.merge(*more),
            (Accumulator::Avg(sum, count), Accumulator::Avg(more, n)) => {
                sum.merge(*more);
                *count += *n;
            }
            (Accumulator::Min(min), Accumulator::Min(Some(other))) => {
                if min
                    .as_ref()
                    .is_none_or(|min| min.is_above(other.as_value()))
                {
                    *min = Some(other.clone());
                }
            }
            (Accumulator::Max(max), Accumulator::Max(Some(other))) => {
                if max
                    .as_ref()
                    .is_none_or(|max| max.is_below(other.as_value()))
                {
                    *max = Some(other.clone());
                }
            }
            (Accumulator::First(first), Accumulator::First(Some(other))) => {
                if first
                    .as_ref()
                    .is_none_or(|(earliest, _)| other.0 < *earliest)
                {
                    *first = Some(other.clone());
                }
            }
            (Accumulator::Last(last), Accumulator::Last(Some(other))) => {
                if last.as_ref().is_none_or(|(latest, _)| other.0 >= *latest) {
                    *last = Some(other.clone());
                }
            }
            (Accumulator::Distinct(set), Accumulator::Distinct(more)) => set.merge(more),
            (Accumulator::StddevPop(spread), Accumulator::StddevPop(more))
            | (Accumulator::StddevSamp(spread), Accumulator::StddevSamp(more)) => {
                spread.merge(*more);
            }
            (
                Accumulator::Min(_)
                | Accumulator::Max(_)
                | Accumulator::First(_)
                | Accumulator::Last(_),
                Accumulator::Min(None)
                | Accumulator::Max(None)
                | Accumulator::First(None)
                | Accumulator::Last(None),
            ) => {}
            (mine, other) => panic!("merging {mine:?} with {other:?}"),
        }
    }

    /// The result.
    pub fn read<'a>(&self, arena: &'a Bump) -> Value<'a> {
        let scalar = |scalar: &Option<Scalar>| match scalar {
            Some(scalar) => scalar.read(arena),
            None => Value::Null,
        };
        let float = |number: Option<f64>| number.map_or(Value::Null, Value::Float);
        match self {
            Accumulator::Count(count) => Value::Int(*count),
            Accumulator::Sum(sum) => sum.read(),
            Accumulator::Avg(_, 0) => Value::Null,
            Accumulator::Avg(sum, count) => Value::Float(sum.as_f64() / *count as f64),
            Accumulator::Min(value) | Accumulator::Max(value) => scalar(value),
            Accumulator::First(value) | Accumulator::Last(value) => match value {
                Some((_, value)) => value.read(arena),
                None => Value::Null,
            },
            Accumulator::Distinct(set) => Value::Int(set.estimate()),
            Accumulator::StddevPop(spread) => float(spread.deviation(Of::Population)),
            Accumulator::StddevSamp(spread) => float(spread.deviation(Of::Sample)),
        }
    }

    /// Whether its result is null, and the next value makes it anew.
    pub fn is_void(&self) -> bool {
        match self {
            Accumulator::Min(value) | Accumulator::Max(value) => value.is_none(),
            Accumulator::First(value) | Accumulator::Last(value) => value.is_none(),
            Accumulator::Avg(_, count) => *count == 0,
            Accumulator::StddevPop(spread) | Accumulator::StddevSamp(spread) => spread.count() == 0,
            Accumulator::Count(_) | Accumulator::Sum(_) | Accumulator::Distinct(_) => false,
        }
    }

    /// True when this is a state of `function`: guards what is read back from a store.
    pub fn is_of(&self, function: Function) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(&Accumulator::new(function))
    }

    /// How many bytes it takes in memory beyond its own size, about.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Accumulator::Min(Some(value))
            | Accumulator::Max(Some(value))
            | Accumulator::First(Some((_, value)))
            | Accumulator::Last(Some((_, value))) => value.heap_bytes(),
            Accumulator::Distinct(set) => set.heap_bytes(),
            _ => 0,
        }
    }
}

/// Whether `function` can take these arguments; called for all functions of an aggregate before
/// any is updated, so that a record counts wholly or not at all.
///
/// # Errors
/// When an argument has a type that the function cannot take.
pub fn check_arguments(function: Function, arguments: &[Value<'_>]) -> Result<(), AggregateError> {
    let Some(value) = arguments.first() else {
        return Ok(());
    };
    let (name, expected, fits) = match function {
        Function::Count | Function::Distinct => return Ok(()),
        Function::CountIf => ("count_if", "a bool", matches!(value, Value::Bool(_))),
        Function::Sum => (
            "sum",
            "a number",
            matches!(value, Value::Int(_) | Value::Float(_)),
        ),
        Function::Avg => (
            "avg",
            "a number",
            matches!(value, Value::Int(_) | Value::Float(_)),
        ),
        Function::StddevPop => (
            "stddev_pop",
            "a number",
            matches!(value, Value::Int(_) | Value::Float(_)),
        ),
        Function::StddevSamp => (
            "stddev_samp",
            "a number",
            matches!(value, Value::Int(_) | Value::Float(_)),
        ),
        Function::Min => ("min", "a number, text or time", Scalar::can_hold(value)),
        Function::Max => ("max", "a number, text or time", Scalar::can_hold(value)),
        Function::First => ("first", "a number, text or time", Scalar::can_hold(value)),
        Function::Last => ("last", "a number, text or time", Scalar::can_hold(value)),
    };
    if fits || value.is_absent() {
        Ok(())
    } else {
        Err(AggregateError {
            function: name,
            expected,
            found: value.type_name(),
        })
    }
}

impl Number {
    fn add(&mut self, value: Value<'_>) {
        match value {
            Value::Int(value) => self.merge(Number::Int(value)),
            Value::Float(value) => self.merge(Number::Float(value)),
            _ => debug_assert!(false, "check_arguments lets numbers through only"),
        }
    }

    fn merge(&mut self, more: Number) {
        *self = match (*self, more) {
            (Number::Int(sum), Number::Int(more)) => match sum.checked_add(more) {
                Some(sum) => Number::Int(sum),
                None => Number::Float(sum as f64 + more as f64),
            },
            (sum, more) => Number::Float(sum.as_f64() + more.as_f64()),
        };
    }

    fn as_f64(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    fn read<'a>(self) -> Value<'a> {
        match self {
            Number::Int(value) => Value::Int(value),
            Number::Float(value) => Value::Float(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Adds values at times 0, 1, 2, … and reads the result.
    fn fold(function: Function, values: &[Value<'_>]) -> Accumulator {
        let mut accumulator = Accumulator::new(function);
        for (value, time) in values.iter().zip(0..) {
            accumulator.add(std::slice::from_ref(value), Timestamp(time));
        }
        accumulator
    }

    #[track_caller]
    fn check(function: Function, values: &[Value<'_>], expected: Value<'_>) {
        let arena = Bump::new();
        assert_eq!(
            fold(function, values).read(&arena),
            expected,
            "{function:?} of {values:?}"
        );
    }

    #[test]
    fn each_function_gives_its_result() {
        use Value::{Bool, Float, Int, Missing, Null, Str};
        let numbers = [Int(5), Null, Int(-2), Missing, Int(4)];
        check(Function::Count, &[], Int(0));
        check(
            Function::CountIf,
            &[Bool(true), Bool(false), Null, Bool(true)],
            Int(2),
        );
        check(Function::Sum, &numbers, Int(7));
        check(Function::Sum, &[], Int(0));
        check(Function::Sum, &[Int(1), Float(0.5)], Float(1.5));
        check(
            Function::Sum,
            &[Int(i64::MAX), Int(1)],
            Float(9_223_372_036_854_775_808.0),
        );
        check(Function::Min, &numbers, Int(-2));
        check(Function::Max, &numbers, Int(5));
        check(Function::Min, &[Int(2), Float(1.5)], Float(1.5));
        check(Function::Max, &[Str("a"), Str("é"), Str("b")], Str("é"));
        check(Function::Min, &[Null], Null);
        check(Function::Avg, &numbers, Float(7.0 / 3.0));
        check(Function::Avg, &[], Null);
        check(Function::First, &numbers, Int(5));
        check(Function::Last, &[Str("x"), Str("y"), Null], Str("y"));
        check(
            Function::Distinct,
            &[Str("x"), Str("y"), Null, Str("x")],
            Int(2),
        );
    }

    #[test]
    fn first_and_last_go_by_event_time_and_not_by_arrival() {
        let arena = Bump::new();
        for (function, expected) in [(Function::First, 20), (Function::Last, 31)] {
            let mut accumulator = Accumulator::new(function);
            for (time, value) in [(10, 10), (5, 20), (30, 30), (30, 31), (5, 21), (7, 40)] {
                accumulator.add(&[Value::Int(value)], Timestamp(time));
            }
            assert_eq!(
                accumulator.read(&arena),
                Value::Int(expected),
                "{function:?}"
            );
        }
    }

    #[test]
    fn a_wrong_type_is_named() {
        let error = check_arguments(Function::Sum, &[Value::Str("7")]).unwrap_err();
        assert_eq!(error.to_string(), "sum takes a number, found string");
        assert!(check_arguments(Function::CountIf, &[Value::Int(1)]).is_err());
        assert!(check_arguments(Function::Max, &[Value::List(&[])]).is_err());
        assert!(check_arguments(Function::Sum, &[Value::Null]).is_ok());
    }

    const ALL: [Function; 11] = [
        Function::Count,
        Function::CountIf,
        Function::Sum,
        Function::Min,
        Function::Max,
        Function::Avg,
        Function::First,
        Function::Last,
        Function::Distinct,
        Function::StddevPop,
        Function::StddevSamp,
    ];

    proptest! {
        #[test]
        fn folding_in_parts_and_merging_gives_what_folding_at_once_gives(
            values in prop::collection::vec((0i64..40, -50i64..50), 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(values.len());
            for function in ALL {
                let add = |accumulator: &mut Accumulator, part: &[(i64, i64)]| {
                    for &(time, value) in part {
                        let argument = match function {
                            Function::CountIf => Value::Bool(value > 0),
                            _ => Value::Int(value),
                        };
                        accumulator.add(&[argument], Timestamp(time));
                    }
                };
                let mut whole = Accumulator::new(function);
                add(&mut whole, &values);
                let mut left = Accumulator::new(function);
                add(&mut left, &values[..cut]);
                let mut right = Accumulator::new(function);
                add(&mut right, &values[cut..]);
                let mut bytes = Vec::new();
                crate::codec::encode_into(&right, &mut bytes);
                left.merge(&crate::codec::decode(&bytes).unwrap());
                prop_assert_eq!(&left, &whole, "{:?}", function);
            }
        }
    }
}
