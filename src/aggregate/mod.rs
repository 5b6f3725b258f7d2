//! Mergeable accumulators: what an aggregate keeps per key and window.
//!
//! Each can be updated with one value, merged with another of its kind, encoded, and read out.
//! Merging is what lets an aggregate be folded on both sides of a repartition. Absent values
//! ([`Value::Missing`], [`Value::Null`]) leave everything but `count()` as it is.
//!
//! In the steady state nothing is allocated per record: values that replace others take over their
//! memory, and sketches grow to their bound.

mod collect;
mod distinct;
mod histogram;
mod number;
mod quantiles;
mod scalar;
mod spread;
mod top_k;

use bumpalo::Bump;

pub use collect::{CollectedList, CollectedSet};
pub use distinct::DistinctSet;
pub use histogram::Histogram;
pub use number::Number;
pub use quantiles::Quantiles;
pub use scalar::Scalar;
pub use spread::{Of, Spread};
pub use top_k::TopK;

use crate::codec::{Decode, Encode};
use crate::time::Timestamp;
use crate::topology::graph::Function;
use crate::value::Value;

/// The state of one aggregate function for one key and window.
///
/// What stands in the stores is the number of a variant and its content: new ones come last.
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
    /// The value that came first, with its timestamp in milliseconds.
    First(Option<(i64, Scalar)>),
    /// The value that came last, with its timestamp in milliseconds.
    Last(Option<(i64, Scalar)>),
    /// Different values.
    Distinct(DistinctSet),
    /// How far the values of a population lie from their mean.
    StddevPop(Spread),
    /// How far those of a sample do.
    StddevSamp(Spread),
    /// The value of the smallest timestamp, with that timestamp in milliseconds.
    Earliest(Option<(i64, Scalar)>),
    /// The value of the largest timestamp, with that timestamp in milliseconds.
    Latest(Option<(i64, Scalar)>),
    /// Values whose quantiles can be told.
    Quantiles(Quantiles),
    /// How many values lie between bounds.
    Histogram(Histogram),
    /// Values with their counts.
    TopK(Box<TopK>),
    /// Some different values.
    CollectSet(CollectedSet),
    /// Some values in the order of their time.
    CollectList(CollectedList),
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
    pub fn new(function: &Function) -> Accumulator {
        match function {
            Function::Count | Function::CountIf => Accumulator::Count(0),
            Function::Sum => Accumulator::Sum(Number::Int(0)),
            Function::Min => Accumulator::Min(None),
            Function::Max => Accumulator::Max(None),
            Function::Avg => Accumulator::Avg(Number::Int(0), 0),
            Function::First => Accumulator::First(None),
            Function::Last => Accumulator::Last(None),
            Function::Earliest => Accumulator::Earliest(None),
            Function::Latest => Accumulator::Latest(None),
            Function::Distinct | Function::DistinctSketch => {
                Accumulator::Distinct(DistinctSet::default())
            }
            Function::StddevPop => Accumulator::StddevPop(Spread::default()),
            Function::StddevSamp => Accumulator::StddevSamp(Spread::default()),
            Function::Median
            | Function::Quantile(_)
            | Function::Quantiles(_)
            | Function::QuantileSketch => Accumulator::Quantiles(Quantiles::default()),
            Function::Histogram(bounds) => Accumulator::Histogram(Histogram::new(bounds)),
            Function::TopK(_) | Function::TopKSketch => Accumulator::TopK(Box::default()),
            Function::CollectSet(max) => Accumulator::CollectSet(CollectedSet::new(*max)),
            Function::CollectList(max) => Accumulator::CollectList(CollectedList::new(*max)),
        }
    }

    /// Takes the arguments of one record with that event time.
    ///
    /// The arguments have passed [`check_arguments`] for the same function, and this is a state of
    /// it.
    pub fn add(&mut self, function: &Function, arguments: &[Value<'_>], time: Timestamp) {
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
            Accumulator::TopK(top) => match arguments {
                [value] => top.add(*value, 1),
                [value, Value::Int(weight)] => top.add(*value, weight.unsigned_abs()),
                // Without a weight it has none.
                _ => {}
            },
            _ => {
                let value = arguments.first().copied().unwrap_or(Value::Missing);
                if !value.is_absent() {
                    self.add_one(function, value, time);
                }
            }
        }
    }

    fn add_one(&mut self, function: &Function, value: Value<'_>, time: Timestamp) {
        match self {
            Accumulator::Sum(sum) => sum.add(value),
            Accumulator::Avg(sum, count) => {
                sum.add(value);
                *count += 1;
            }
            Accumulator::Min(min) => {
                if min.as_ref().is_none_or(|min| min.is_above(value)) {
                    replace(min, value);
                }
            }
            Accumulator::Max(max) => {
                if max.as_ref().is_none_or(|max| max.is_below(value)) {
                    replace(max, value);
                }
            }
            Accumulator::First(first) => {
                if first.is_none() {
                    replace_timed(first, value, time.0);
                }
            }
            Accumulator::Last(last) => replace_timed(last, value, time.0),
            Accumulator::Earliest(earliest) => {
                if earliest.as_ref().is_none_or(|(known, _)| time.0 < *known) {
                    replace_timed(earliest, value, time.0);
                }
            }
            Accumulator::Latest(latest) => {
                if latest.as_ref().is_none_or(|(known, _)| time.0 >= *known) {
                    replace_timed(latest, value, time.0);
                }
            }
            Accumulator::StddevPop(spread) | Accumulator::StddevSamp(spread) => spread.add(value),
            Accumulator::Quantiles(quantiles) => quantiles.add(number::as_f64(value)),
            Accumulator::Histogram(histogram) => {
                if let Function::Histogram(bounds) = function {
                    histogram.add(bounds, number::as_f64(value));
                }
            }
            Accumulator::CollectSet(set) => set.add(value),
            Accumulator::CollectList(list) => list.add(value, time.0),
            Accumulator::Count(_) | Accumulator::Distinct(_) | Accumulator::TopK(_) => {
                unreachable!("handled by add")
            }
        }
    }

    /// Takes the arguments of a record back that has been added: it counts no longer. A state that
    /// has never seen it then counts it as one too few, which stands until the two are merged.
    ///
    /// # Panics
    /// When the function [takes nothing back](Function::takes_back).
    pub fn take_back(&mut self, function: &Function, arguments: &[Value<'_>]) {
        let value = arguments.first().copied().unwrap_or(Value::Missing);
        match self {
            Accumulator::Count(count) => match arguments.first() {
                None | Some(Value::Bool(true)) => *count -= 1,
                Some(_) => {}
            },
            _ if value.is_absent() => {}
            Accumulator::Sum(sum) => sum.take_back(value),
            Accumulator::Avg(sum, count) => {
                sum.take_back(value);
                *count -= 1;
            }
            Accumulator::Histogram(histogram) => {
                if let Function::Histogram(bounds) = function {
                    histogram.take_back(bounds, number::as_f64(value));
                }
            }
            _ => panic!("{} takes nothing back", function.name()),
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
                let other = other.as_value();
                if min.as_ref().is_none_or(|min| min.is_above(other)) {
                    replace(min, other);
                }
            }
            (Accumulator::Max(max), Accumulator::Max(Some(other))) => {
                let other = other.as_value();
                if max.as_ref().is_none_or(|max| max.is_below(other)) {
                    replace(max, other);
                }
            }
            (Accumulator::First(first), Accumulator::First(Some((time_ms, other)))) => {
                if first.is_none() {
                    replace_timed(first, other.as_value(), *time_ms);
                }
            }
            (Accumulator::Last(last), Accumulator::Last(Some((time_ms, other)))) => {
                replace_timed(last, other.as_value(), *time_ms);
            }
            (Accumulator::Earliest(earliest), Accumulator::Earliest(Some((time_ms, other)))) => {
                if earliest.as_ref().is_none_or(|(known, _)| time_ms < known) {
                    replace_timed(earliest, other.as_value(), *time_ms);
                }
            }
            (Accumulator::Latest(latest), Accumulator::Latest(Some((time_ms, other)))) => {
                if latest.as_ref().is_none_or(|(known, _)| time_ms >= known) {
                    replace_timed(latest, other.as_value(), *time_ms);
                }
            }
            (Accumulator::Distinct(set), Accumulator::Distinct(more)) => set.merge(more),
            (Accumulator::StddevPop(spread), Accumulator::StddevPop(more))
            | (Accumulator::StddevSamp(spread), Accumulator::StddevSamp(more)) => {
                spread.merge(*more);
            }
            (Accumulator::Quantiles(quantiles), Accumulator::Quantiles(more)) => {
                quantiles.merge(more);
            }
            (Accumulator::Histogram(histogram), Accumulator::Histogram(more)) => {
                histogram.merge(more);
            }
            (Accumulator::TopK(top), Accumulator::TopK(more)) => top.merge(more),
            (Accumulator::CollectSet(set), Accumulator::CollectSet(more)) => set.merge(more),
            (Accumulator::CollectList(list), Accumulator::CollectList(more)) => list.merge(more),
            (mine, other) if mine.is_like(other) => {
                debug_assert!(other.is_void(), "everything else has been handled");
            }
            (mine, other) => panic!("merging {mine:?} with {other:?}"),
        }
    }

    /// The result of a function that keeps this.
    pub fn read<'a>(&self, function: &Function, arena: &'a Bump) -> Value<'a> {
        let scalar =
            |scalar: Option<&Scalar>| scalar.map_or(Value::Null, |value| value.read(arena));
        let float = |number: Option<f64>| number.map_or(Value::Null, Value::Float);
        let bytes = |bytes: Vec<u8>| Value::Bytes(arena.alloc_slice_copy(&bytes));
        match self {
            Accumulator::Count(count) => Value::Int(*count),
            Accumulator::Sum(sum) => sum.read(),
            Accumulator::Avg(_, 0) => Value::Null,
            Accumulator::Avg(sum, count) => Value::Float(sum.as_f64() / *count as f64),
            Accumulator::Min(value) | Accumulator::Max(value) => scalar(value.as_ref()),
            Accumulator::First(value)
            | Accumulator::Last(value)
            | Accumulator::Earliest(value)
            | Accumulator::Latest(value) => scalar(value.as_ref().map(|(_, value)| value)),
            Accumulator::Distinct(set) => match function {
                Function::DistinctSketch => bytes(set.sketch()),
                _ => Value::Int(set.estimate()),
            },
            Accumulator::StddevPop(spread) => float(spread.deviation(Of::Population)),
            Accumulator::StddevSamp(spread) => float(spread.deviation(Of::Sample)),
            Accumulator::Quantiles(quantiles) => match function {
                Function::Quantile(share) => float(quantiles.quantile(*share, arena)),
                Function::Quantiles(shares) => quantiles.quantiles(shares, arena),
                Function::QuantileSketch => bytes(quantiles.sketch()),
                _ => float(quantiles.quantile(0.5, arena)),
            },
            Accumulator::Histogram(histogram) => histogram.read(arena),
            Accumulator::TopK(top) => match function {
                Function::TopK(k) => top.read(*k, arena),
                _ => bytes(top.sketch()),
            },
            Accumulator::CollectSet(set) => set.read(arena),
            Accumulator::CollectList(list) => list.read(arena),
        }
    }

    /// Whether its result is null, and the next value makes it anew.
    pub fn is_void(&self) -> bool {
        match self {
            Accumulator::Min(value) | Accumulator::Max(value) => value.is_none(),
            Accumulator::First(value)
            | Accumulator::Last(value)
            | Accumulator::Earliest(value)
            | Accumulator::Latest(value) => value.is_none(),
            Accumulator::Avg(_, count) => *count == 0,
            Accumulator::StddevPop(spread) | Accumulator::StddevSamp(spread) => spread.count() == 0,
            Accumulator::Quantiles(quantiles) => quantiles.is_empty(),
            Accumulator::Count(_)
            | Accumulator::Sum(_)
            | Accumulator::Distinct(_)
            | Accumulator::Histogram(_)
            | Accumulator::TopK(_)
            | Accumulator::CollectSet(_)
            | Accumulator::CollectList(_) => false,
        }
    }

    /// True when this is a state of `function`: guards what is read back from a store.
    pub fn is_of(&self, function: &Function) -> bool {
        match (self, function) {
            (Accumulator::Histogram(histogram), Function::Histogram(bounds)) => {
                histogram.is_of(bounds)
            }
            _ => self.is_like(&Accumulator::new(function)),
        }
    }

    fn is_like(&self, other: &Accumulator) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// How many bytes it takes in memory beyond its own size, about.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Accumulator::Min(Some(value))
            | Accumulator::Max(Some(value))
            | Accumulator::First(Some((_, value)))
            | Accumulator::Last(Some((_, value)))
            | Accumulator::Earliest(Some((_, value)))
            | Accumulator::Latest(Some((_, value))) => value.heap_bytes(),
            Accumulator::Distinct(set) => set.heap_bytes(),
            Accumulator::Quantiles(quantiles) => quantiles.heap_bytes(),
            Accumulator::Histogram(histogram) => histogram.heap_bytes(),
            Accumulator::TopK(top) => size_of::<TopK>() + top.heap_bytes(),
            Accumulator::CollectSet(set) => set.heap_bytes(),
            Accumulator::CollectList(list) => list.heap_bytes(),
            _ => 0,
        }
    }
}

/// Sets a value, in the memory of the one that was there.
fn replace(place: &mut Option<Scalar>, value: Value<'_>) {
    match place {
        Some(scalar) => scalar.assign(value),
        None => *place = Scalar::new(value),
    }
}

fn replace_timed(place: &mut Option<(i64, Scalar)>, value: Value<'_>, new_time_ms: i64) {
    match place {
        Some((time_ms, scalar)) => {
            *time_ms = new_time_ms;
            scalar.assign(value);
        }
        None => *place = Scalar::new(value).map(|scalar| (new_time_ms, scalar)),
    }
}

/// Whether `function` can take these arguments; called for all functions of an aggregate before
/// any is updated, so that a record counts wholly or not at all.
///
/// # Errors
/// When an argument has a type that the function cannot take.
pub fn check_arguments(function: &Function, arguments: &[Value<'_>]) -> Result<(), AggregateError> {
    let Some(value) = arguments.first() else {
        return Ok(());
    };
    let is_number = |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Float(_));
    let (expected, fits) = match function {
        Function::Count | Function::Distinct | Function::DistinctSketch => return Ok(()),
        Function::CountIf => ("a bool", matches!(value, Value::Bool(_))),
        Function::Sum
        | Function::Avg
        | Function::StddevPop
        | Function::StddevSamp
        | Function::Median
        | Function::Quantile(_)
        | Function::Quantiles(_)
        | Function::QuantileSketch
        | Function::Histogram(_) => ("a number", is_number(value)),
        Function::Min
        | Function::Max
        | Function::First
        | Function::Last
        | Function::Earliest
        | Function::Latest
        | Function::TopK(_)
        | Function::TopKSketch
        | Function::CollectSet(_)
        | Function::CollectList(_) => ("a number, text or time", Scalar::can_hold(value)),
    };
    let error = |expected, found| AggregateError {
        function: function.name(),
        expected,
        found,
    };
    if !fits && !value.is_absent() {
        return Err(error(expected, value.type_name()));
    }
    match arguments.get(1) {
        None | Some(Value::Missing | Value::Null | Value::Int(0..)) => Ok(()),
        Some(Value::Int(_)) => Err(error("no weight below 0", "one")),
        Some(other) => Err(error("a whole number as weight", other.type_name())),
    }
}

#[cfg(test)]
mod tests;
