//! Calls of aggregate functions, as in `edits: count()`: which functions there are, what they take
//! and what they give.
//!
//! The invariant: an [`Aggregation`] has as many arguments as its function takes. Whether their
//! types fit is the checker's business, since it depends on the node's input.

use std::fmt;
use std::ops::Range;

use crate::expr::{ExprError, Expression};
use crate::value::ValueType;

/// A call of an aggregate function: `sum(delta)`.
#[derive(Clone, Debug)]
pub struct Aggregation {
    /// The text as written.
    pub text: String,
    /// Which function.
    pub function: Function,
    /// The arguments that are evaluated per record; constants are part of `function`.
    pub arguments: Vec<Expression>,
}

/// The aggregate functions.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// `first(x)`: of the record with the smallest timestamp, the first to arrive among equals.
    First,
    /// `last(x)`: of the record with the largest timestamp, the last to arrive among equals.
    Last,
    /// `distinct(x, …)`: how many different values (or tuples); exact while there are few.
    Distinct,
    /// `stddev_pop(x)`: the standard deviation of all there are; null when there was none.
    StddevPop,
    /// `stddev_samp(x)`: as of a sample; null when there were fewer than two.
    StddevSamp,
}

/// What a function is called, takes and gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signature {
    /// The function.
    pub function: Function,
    /// Its name in topology files.
    pub name: &'static str,
    /// How it is called, for help texts.
    pub usage: &'static str,
    /// How many arguments it takes.
    pub arity: Arity,
    /// Which values its arguments may have.
    pub takes: Takes,
}

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// So many.
    Exactly(usize),
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
    /// Anything but lists and maps.
    Single,
    /// Anything.
    Anything,
}

/// All functions, in the order of the documentation.
pub const SIGNATURES: &[Signature] = &[
    signature(
        Function::Count,
        "count",
        "count()",
        Arity::Exactly(0),
        Takes::Anything,
    ),
    signature(
        Function::CountIf,
        "count_if",
        "count_if(condition)",
        Arity::Exactly(1),
        Takes::Bool,
    ),
    signature(
        Function::Sum,
        "sum",
        "sum(x)",
        Arity::Exactly(1),
        Takes::Number,
    ),
    signature(
        Function::Min,
        "min",
        "min(x)",
        Arity::Exactly(1),
        Takes::Single,
    ),
    signature(
        Function::Max,
        "max",
        "max(x)",
        Arity::Exactly(1),
        Takes::Single,
    ),
    signature(
        Function::Avg,
        "avg",
        "avg(x)",
        Arity::Exactly(1),
        Takes::Number,
    ),
    signature(
        Function::First,
        "first",
        "first(x)",
        Arity::Exactly(1),
        Takes::Single,
    ),
    signature(
        Function::Last,
        "last",
        "last(x)",
        Arity::Exactly(1),
        Takes::Single,
    ),
    signature(
        Function::Distinct,
        "distinct",
        "distinct(x, …)",
        Arity::AtLeast(1),
        Takes::Anything,
    ),
    signature(
        Function::StddevPop,
        "stddev_pop",
        "stddev_pop(x)",
        Arity::Exactly(1),
        Takes::Number,
    ),
    signature(
        Function::StddevSamp,
        "stddev_samp",
        "stddev_samp(x)",
        Arity::Exactly(1),
        Takes::Number,
    ),
];

const fn signature(
    function: Function,
    name: &'static str,
    usage: &'static str,
    arity: Arity,
    takes: Takes,
) -> Signature {
    Signature {
        function,
        name,
        usage,
        arity,
        takes,
    }
}

/// A text is not a call of an aggregate function.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AggregationError {
    /// Not a call at all, or an argument that is not an expression.
    #[error("{0}")]
    Syntax(ExprError),
    /// There is no such function.
    #[error("unknown aggregate function {name:?}")]
    UnknownFunction {
        /// As written.
        name: String,
        /// Where, in bytes of the text.
        range: Range<usize>,
    },
    /// Too few or too many arguments.
    #[error("{} takes {}, found {found}", .signature.usage, .signature.arity)]
    ArgumentCount {
        /// What the function takes.
        signature: Signature,
        /// How many there are.
        found: usize,
    },
}

impl Aggregation {
    /// Reads a call of an aggregate function. Mistakes inside an argument are found by the checker.
    ///
    /// # Errors
    /// When the text is no call, or no such function takes that many arguments.
    pub fn parse(text: &str) -> Result<Aggregation, AggregationError> {
        let call = Expression::parse_call(text).map_err(AggregationError::Syntax)?;
        let Some(signature) = Signature::of(&call.name) else {
            let start = text.len() - text.trim_start().len();
            let range = start..start + call.name.len();
            return Err(AggregationError::UnknownFunction {
                name: call.name,
                range,
            });
        };
        let found = call.arguments.len();
        if !signature.arity.allows(found) {
            return Err(AggregationError::ArgumentCount { signature, found });
        }
        let (function, arguments) = (signature.function, call.arguments);
        Ok(Aggregation {
            text: text.to_owned(),
            function,
            arguments,
        })
    }

    /// Which bytes of the text each argument is.
    pub fn argument_ranges(&self) -> Vec<Range<usize>> {
        Expression::parse_call(&self.text)
            .map(|call| call.ranges)
            .unwrap_or_default()
    }

    /// The type of the result, given the type of the first argument.
    pub fn result_type(&self, argument: Option<ValueType>) -> ValueType {
        let argument = argument.unwrap_or(ValueType::Any);
        match self.function {
            Function::Count | Function::CountIf | Function::Distinct => ValueType::Int,
            Function::Avg | Function::StddevPop | Function::StddevSamp => ValueType::Float,
            Function::Sum | Function::Min | Function::Max | Function::First | Function::Last => {
                argument
            }
        }
    }
}

impl Signature {
    /// The function of that name.
    pub fn of(name: &str) -> Option<Signature> {
        SIGNATURES
            .iter()
            .find(|signature| signature.name == name)
            .copied()
    }
}

impl Function {
    /// What it is called, takes and gives.
    pub fn signature(self) -> Signature {
        let found = SIGNATURES
            .iter()
            .find(|signature| signature.function == self);
        *found.expect("every function has its row in SIGNATURES")
    }
}

impl Arity {
    /// Whether that many arguments are right.
    pub fn allows(self, count: usize) -> bool {
        match self {
            Arity::Exactly(expected) => count == expected,
            Arity::AtLeast(least) => count >= least,
        }
    }
}

/// `no argument`, `1 argument`, `at least 1 argument`.
impl fmt::Display for Arity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arity::Exactly(0) => f.write_str("no argument"),
            Arity::Exactly(1) => f.write_str("1 argument"),
            Arity::Exactly(count) => write!(f, "{count} arguments"),
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
            Takes::Single => !matches!(kind, List | Map),
            Takes::Anything => true,
        }
    }

    /// In words, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Takes::Bool => "a bool",
            Takes::Number => "a number (int or double)",
            Takes::Single => "a single value, no list or map",
            Takes::Anything => "any value",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_can_be_called_by_its_name_and_says_what_it_takes() {
        for signature in SIGNATURES {
            let arguments = match signature.arity {
                Arity::Exactly(count) | Arity::AtLeast(count) => vec!["x"; count].join(", "),
            };
            let text = format!("{}({arguments})", signature.name);
            let parsed = Aggregation::parse(&text).expect("a call of a known function");
            assert_eq!(parsed.function, signature.function);
            assert_eq!(parsed.function.signature().name, signature.name);
            assert!(signature.usage.starts_with(signature.name));
        }
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = Aggregation::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn a_wrong_call_says_what_was_expected() {
        check_error("cout()", "unknown aggregate function \"cout\"");
        check_error("count(x)", "count() takes no argument, found 1");
        check_error("sum()", "sum(x) takes 1 argument, found 0");
        check_error(
            "distinct()",
            "distinct(x, …) takes at least 1 argument, found 0",
        );
    }

    #[track_caller]
    fn check_type(text: &str, argument: ValueType, expected: ValueType) {
        let parsed = Aggregation::parse(text).expect(text);
        assert_eq!(
            parsed.result_type(Some(argument)),
            expected,
            "{text} of {argument}"
        );
    }

    #[test]
    fn a_result_has_the_type_that_its_function_gives() {
        check_type("sum(x)", ValueType::Int, ValueType::Int);
        check_type("sum(x)", ValueType::Float, ValueType::Float);
        check_type("avg(x)", ValueType::Int, ValueType::Float);
        check_type("last(x)", ValueType::Str, ValueType::Str);
        check_type("distinct(x)", ValueType::Str, ValueType::Int);
    }
}
