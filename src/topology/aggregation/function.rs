//! Which aggregate functions there are.

use std::sync::Arc;

use crate::value::ValueType;

/// The aggregate functions, with their constant arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// `count()`: records.
    Count,
    /// `count_if(condition)`: records for which it is true.
    CountIf,
    /// `sum(x)`: 0 when there was none; absent values count as nothing.
    Sum,
    /// `min(x)`: null when there was none.
    Min,
    /// `max(x)`: null when there was none.
    Max,
    /// `avg(x)`: null when there was none.
    Avg,
    /// `first(x)`: of the record that came first.
    First,
    /// `last(x)`: of the record that came last.
    Last,
    /// `earliest(x)`: of the record with the smallest timestamp, the first to arrive among equals.
    Earliest,
    /// `latest(x)`: of the record with the largest timestamp, the last to arrive among equals.
    Latest,
    /// `stddev_pop(x)`: the standard deviation of all there are; null when there was none.
    StddevPop,
    /// `stddev_samp(x)`: as of a sample; null when there were fewer than two.
    StddevSamp,
    /// `median(x)`: null when there was none.
    Median,
    /// `quantile(x, q)`: below which that share of the values lies; null when there was none.
    Quantile(f64),
    /// `quantiles(x, [q, …])`: several at once.
    Quantiles(Arc<[f64]>),
    /// `quantile_sketch(x)`: what quantiles are read from, as bytes.
    QuantileSketch,
    /// `histogram(x, [bound, …])`: how many values lie below the first bound, between each two, and
    /// from the last one on.
    Histogram(Arc<[f64]>),
    /// `distinct(x, …)`: how many different values (or tuples); exact while there are few.
    Distinct,
    /// `distinct_sketch(x, …)`: what such a number is read from, as bytes.
    DistinctSketch,
    /// `top_k(x, k)`, `top_k(x, k, weight)`: the values with the most records (or weight).
    TopK(usize),
    /// `top_k_sketch(x)`, `top_k_sketch(x, weight)`: what such values are read from, as bytes.
    TopKSketch,
    /// `collect_set(x, max)`: the different values, the smallest so many.
    CollectSet(usize),
    /// `collect_list(x, max)`: the values in the order of their time, the earliest so many.
    CollectList(usize),
}

impl Function {
    /// The name in topology files.
    pub fn name(&self) -> &'static str {
        match self {
            Function::Count => "count",
            Function::CountIf => "count_if",
            Function::Sum => "sum",
            Function::Min => "min",
            Function::Max => "max",
            Function::Avg => "avg",
            Function::First => "first",
            Function::Last => "last",
            Function::Earliest => "earliest",
            Function::Latest => "latest",
            Function::StddevPop => "stddev_pop",
            Function::StddevSamp => "stddev_samp",
            Function::Median => "median",
            Function::Quantile(_) => "quantile",
            Function::Quantiles(_) => "quantiles",
            Function::QuantileSketch => "quantile_sketch",
            Function::Histogram(_) => "histogram",
            Function::Distinct => "distinct",
            Function::DistinctSketch => "distinct_sketch",
            Function::TopK(_) => "top_k",
            Function::TopKSketch => "top_k_sketch",
            Function::CollectSet(_) => "collect_set",
            Function::CollectList(_) => "collect_list",
        }
    }

    /// The type of the result, given the type of the first argument.
    pub fn result_type(&self, argument: Option<ValueType>) -> ValueType {
        match self {
            Function::Count | Function::CountIf | Function::Distinct => ValueType::Int,
            Function::Avg
            | Function::StddevPop
            | Function::StddevSamp
            | Function::Median
            | Function::Quantile(_) => ValueType::Float,
            Function::Quantiles(_)
            | Function::Histogram(_)
            | Function::TopK(_)
            | Function::CollectSet(_)
            | Function::CollectList(_) => ValueType::List,
            Function::QuantileSketch | Function::DistinctSketch | Function::TopKSketch => {
                ValueType::Bytes
            }
            Function::Sum
            | Function::Min
            | Function::Max
            | Function::First
            | Function::Last
            | Function::Earliest
            | Function::Latest => argument.unwrap_or(ValueType::Any),
        }
    }

    /// Whether what a row has added can be taken back when another one takes its place: it must not
    /// matter which other rows there are.
    pub fn takes_back(&self) -> bool {
        match self {
            Function::Count
            | Function::CountIf
            | Function::Sum
            | Function::Avg
            | Function::Histogram(_) => true,
            Function::Min
            | Function::Max
            | Function::First
            | Function::Last
            | Function::Earliest
            | Function::Latest
            | Function::StddevPop
            | Function::StddevSamp
            | Function::Median
            | Function::Quantile(_)
            | Function::Quantiles(_)
            | Function::QuantileSketch
            | Function::Distinct
            | Function::DistinctSketch
            | Function::TopK(_)
            | Function::TopKSketch
            | Function::CollectSet(_)
            | Function::CollectList(_) => false,
        }
    }

    /// Whether its result can be read from what `other` keeps of the same arguments. Two calls of
    /// `distinct` keep their own each, as they always have: stored results have both.
    pub fn shares_with(&self, other: &Function) -> bool {
        let is_quantile = |function: &Function| {
            matches!(
                function,
                Function::Median
                    | Function::Quantile(_)
                    | Function::Quantiles(_)
                    | Function::QuantileSketch
            )
        };
        match (self, other) {
            (Function::Distinct, Function::Distinct) => false,
            (
                Function::Distinct | Function::DistinctSketch,
                Function::Distinct | Function::DistinctSketch,
            )
            | (
                Function::TopK(_) | Function::TopKSketch,
                Function::TopK(_) | Function::TopKSketch,
            ) => true,
            (one, other) => is_quantile(one) && is_quantile(other),
        }
    }
}
