//! How each aggregate function is called: what it takes, and which of that is constant.

use std::fmt;
use std::sync::Arc;

use super::Function;
use crate::expr::{Constant, Expression};
use crate::value::ValueType;

/// How a function is called.
#[derive(Debug)]
pub struct Signature {
    /// Its name in topology files.
    pub name: &'static str,
    /// A call, for help texts.
    pub usage: &'static str,
    /// Which values the arguments may have that are evaluated per record.
    pub takes: &'static [Takes],
    /// How many of those must be there.
    least: usize,
    /// Whether the last of them may stand any number of times.
    repeats: bool,
    /// The second argument, where it is a constant, and the function that is meant.
    pub setting: Setting,
}

/// The constant argument of a function; it stands behind the first one.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    /// There is none.
    Nothing(fn() -> Function),
    /// A whole number from 1 on.
    Count {
        /// The largest.
        most: usize,
        /// The function with that number.
        make: fn(usize) -> Function,
    },
    /// A number from 0 to 1.
    Share(fn(f64) -> Function),
    /// Several of those.
    Shares(fn(Arc<[f64]>) -> Function),
    /// Numbers that rise.
    Bounds(fn(Arc<[f64]>) -> Function),
}

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// So many.
    Exactly(usize),
    /// From so many to so many.
    Between(usize, usize),
    /// So many or more.
    AtLeast(usize),
}

/// Which values a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// True or false.
    Bool,
    /// Whole numbers and fractions.
    Number,
    /// Whole numbers.
    Whole,
    /// Anything but lists and maps.
    Single,
    /// Anything.
    Anything,
}

/// `quantiles` and `histogram` take lists of so many numbers at most.
const LIST_LIMIT: usize = 100;

/// The largest `k` of `top_k`: a tenth of the values that it counts.
const TOP_LIMIT: usize = 100;

/// So many values are collected at most.
const COLLECT_LIMIT: usize = 1_000;

/// All functions, in the order of the documentation.
pub const SIGNATURES: &[Signature] = {
    use Setting::{Bounds, Count, Nothing, Share, Shares};
    use Takes::{Anything, Bool, Number, Single, Whole};
    &[
        signature("count", "count()", &[], Nothing(|| Function::Count)),
        signature(
            "count_if",
            "count_if(condition)",
            &[Bool],
            Nothing(|| Function::CountIf),
        ),
        signature("sum", "sum(x)", &[Number], Nothing(|| Function::Sum)),
        signature("min", "min(x)", &[Single], Nothing(|| Function::Min)),
        signature("max", "max(x)", &[Single], Nothing(|| Function::Max)),
        signature("avg", "avg(x)", &[Number], Nothing(|| Function::Avg)),
        signature("first", "first(x)", &[Single], Nothing(|| Function::First)),
        signature("last", "last(x)", &[Single], Nothing(|| Function::Last)),
        signature(
            "earliest",
            "earliest(x)",
            &[Single],
            Nothing(|| Function::Earliest),
        ),
        signature(
            "latest",
            "latest(x)",
            &[Single],
            Nothing(|| Function::Latest),
        ),
        signature(
            "stddev_pop",
            "stddev_pop(x)",
            &[Number],
            Nothing(|| Function::StddevPop),
        ),
        signature(
            "stddev_samp",
            "stddev_samp(x)",
            &[Number],
            Nothing(|| Function::StddevSamp),
        ),
        signature(
            "median",
            "median(x)",
            &[Number],
            Nothing(|| Function::Median),
        ),
        signature(
            "quantile",
            "quantile(x, q)",
            &[Number],
            Share(Function::Quantile),
        ),
        signature(
            "quantiles",
            "quantiles(x, [q, …])",
            &[Number],
            Shares(Function::Quantiles),
        ),
        signature(
            "quantile_sketch",
            "quantile_sketch(x)",
            &[Number],
            Nothing(|| Function::QuantileSketch),
        ),
        signature(
            "histogram",
            "histogram(x, [bound, …])",
            &[Number],
            Bounds(Function::Histogram),
        ),
        signature(
            "distinct",
            "distinct(x, …)",
            &[Anything],
            Nothing(|| Function::Distinct),
        )
        .repeating(),
        signature(
            "distinct_sketch",
            "distinct_sketch(x, …)",
            &[Anything],
            Nothing(|| Function::DistinctSketch),
        )
        .repeating(),
        signature(
            "top_k",
            "top_k(x, k[, weight])",
            &[Single, Whole],
            Count {
                most: TOP_LIMIT,
                make: Function::TopK,
            },
        )
        .with_optional(1),
        signature(
            "top_k_sketch",
            "top_k_sketch(x[, weight])",
            &[Single, Whole],
            Nothing(|| Function::TopKSketch),
        )
        .with_optional(1),
        signature(
            "collect_set",
            "collect_set(x, max)",
            &[Single],
            Count {
                most: COLLECT_LIMIT,
                make: Function::CollectSet,
            },
        ),
        signature(
            "collect_list",
            "collect_list(x, max)",
            &[Single],
            Count {
                most: COLLECT_LIMIT,
                make: Function::CollectList,
            },
        ),
    ]
};

const fn signature(
    name: &'static str,
    usage: &'static str,
    takes: &'static [Takes],
    setting: Setting,
) -> Signature {
    Signature {
        name,
        usage,
        takes,
        least: takes.len(),
        repeats: false,
        setting,
    }
}

impl Signature {
    const fn repeating(mut self) -> Signature {
        self.repeats = true;
        self
    }

    const fn with_optional(mut self, count: usize) -> Signature {
        self.least = self.takes.len() - count;
        self
    }

    /// That of the function of this name.
    pub fn of(name: &str) -> Option<&'static Signature> {
        SIGNATURES.iter().find(|signature| signature.name == name)
    }

    /// How many arguments it takes, the constant one included.
    pub fn arity(&self) -> Arity {
        let constants = usize::from(self.constant_at().is_some());
        let (least, most) = (self.least + constants, self.takes.len() + constants);
        match self.repeats {
            true => Arity::AtLeast(least),
            false if least == most => Arity::Exactly(least),
            false => Arity::Between(least, most),
        }
    }

    /// Where the constant argument stands, if there is one.
    pub fn constant_at(&self) -> Option<usize> {
        (!matches!(self.setting, Setting::Nothing(_))).then_some(1)
    }

    /// Which values the evaluated argument of that number may have.
    pub fn takes(&self, argument: usize) -> Takes {
        let takes = self.takes.get(argument).or(self.takes.last());
        takes.copied().unwrap_or(Takes::Anything)
    }
}

/// By name: no two functions share one.
impl PartialEq for Signature {
    fn eq(&self, other: &Signature) -> bool {
        self.name == other.name
    }
}

impl Setting {
    /// The function that is meant, given the constant argument; none when that cannot be it.
    pub(super) fn read(&self, argument: Option<&Expression>) -> Option<Function> {
        let constant = || argument?.constant();
        match *self {
            Setting::Nothing(make) => Some(make()),
            Setting::Count { most, make } => match constant()? {
                Constant::Int(count) => {
                    let count = usize::try_from(count).ok();
                    count.filter(|count| (1..=most).contains(count)).map(make)
                }
                _ => None,
            },
            Setting::Share(make) => number(&constant()?).filter(is_share).map(make),
            Setting::Shares(make) => {
                let shares = numbers(&constant()?)?;
                shares.iter().all(is_share).then(|| make(shares))
            }
            Setting::Bounds(make) => {
                let bounds = numbers(&constant()?)?;
                let rise = bounds.is_sorted_by(|lower, upper| lower < upper);
                rise.then(|| make(bounds))
            }
        }
    }

    /// What it must be, for messages.
    pub fn words(&self) -> String {
        match self {
            Setting::Nothing(_) => "nothing".to_owned(),
            Setting::Count { most, .. } => format!("a whole number from 1 to {most}"),
            Setting::Share(_) => "a number from 0 to 1".to_owned(),
            Setting::Shares(_) => format!("a list of 1 to {LIST_LIMIT} numbers from 0 to 1"),
            Setting::Bounds(_) => {
                format!("a list of 1 to {LIST_LIMIT} numbers, each larger than the one before it")
            }
        }
    }

    /// One that would be right.
    pub fn example(&self) -> &'static str {
        match self {
            Setting::Nothing(_) => "",
            Setting::Count { .. } => "10",
            Setting::Share(_) => "0.95",
            Setting::Shares(_) => "[0.5, 0.95]",
            Setting::Bounds(_) => "[0, 10, 100]",
        }
    }
}

fn is_share(share: &f64) -> bool {
    (0.0..=1.0).contains(share)
}

/// The numbers of a list of a usual length.
fn numbers(list: &Constant) -> Option<Arc<[f64]>> {
    match list {
        Constant::List(items) if (1..=LIST_LIMIT).contains(&items.len()) => {
            items.iter().map(number).collect()
        }
        _ => None,
    }
}

fn number(constant: &Constant) -> Option<f64> {
    match constant {
        Constant::Int(number) => Some(*number as f64),
        Constant::Float(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

impl Arity {
    /// Whether that many arguments are right.
    pub fn allows(self, count: usize) -> bool {
        match self {
            Arity::Exactly(expected) => count == expected,
            Arity::Between(least, most) => (least..=most).contains(&count),
            Arity::AtLeast(least) => count >= least,
        }
    }
}

/// `no argument`, `1 argument`, `2 or 3 arguments`, `at least 1 argument`.
impl fmt::Display for Arity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arity::Exactly(0) => f.write_str("no argument"),
            Arity::Exactly(1) => f.write_str("1 argument"),
            Arity::Exactly(count) => write!(f, "{count} arguments"),
            Arity::Between(least, most) => write!(f, "{least} or {most} arguments"),
            Arity::AtLeast(1) => f.write_str("at least 1 argument"),
            Arity::AtLeast(count) => write!(f, "at least {count} arguments"),
        }
    }
}

impl Takes {
    /// Whether an argument of that type can be right. What is not known until a record is there
    /// ([`ValueType::Any`]) can.
    pub fn allows(self, kind: ValueType) -> bool {
        use ValueType::{Any, Bool, Float, Int, List, Map};
        match self {
            Takes::Bool => matches!(kind, Any | Bool),
            Takes::Number => matches!(kind, Any | Int | Float),
            Takes::Whole => matches!(kind, Any | Int),
            Takes::Single => !matches!(kind, List | Map),
            Takes::Anything => true,
        }
    }

    /// In words, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Takes::Bool => "a bool",
            Takes::Number => "a number (int or double)",
            Takes::Whole => "a whole number (int)",
            Takes::Single => "a single value, no list or map",
            Takes::Anything => "any value",
        }
    }
}
