//! Calls of aggregate functions, as in `edits: count()`: which functions there are, what they take
//! and what they give.
//!
//! The invariant: an [`Aggregation`] has as many arguments as its function takes, and constants
//! where it wants those. Whether the types of the others fit is the checker's business, since it
//! depends on the node's input.

mod function;
mod signature;

pub use function::Function;
pub use signature::{Arity, SIGNATURES, Setting, Signature, Takes};

use std::ops::Range;

use crate::expr::{ExprError, Expression};

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
    #[error("{} takes {}, found {found}", .signature.usage, .signature.arity())]
    ArgumentCount {
        /// How the function is called.
        signature: &'static Signature,
        /// How many there are.
        found: usize,
    },
    /// The argument that is the same for all records is something else.
    #[error("{} takes {}, found {found}", .signature.usage, .signature.setting.words())]
    Setting {
        /// How the function is called.
        signature: &'static Signature,
        /// As written.
        found: String,
        /// Where, in bytes of the text.
        range: Range<usize>,
    },
}

impl Aggregation {
    /// Reads a call of an aggregate function. Mistakes inside an argument that is evaluated per
    /// record are found by the checker.
    ///
    /// # Errors
    /// When the text is no call, no such function takes that many arguments, or one that has to be
    /// a constant is none or out of bounds.
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
        if !signature.arity().allows(found) {
            return Err(AggregationError::ArgumentCount { signature, found });
        }
        let mut arguments = call.arguments;
        let constant = signature.constant_at().map(|at| arguments.remove(at));
        let Some(function) = signature.setting.read(constant.as_ref()) else {
            let at = signature.constant_at().expect("nothing else can be wrong");
            return Err(AggregationError::Setting {
                signature,
                found: text[call.ranges[at].clone()].to_owned(),
                range: call.ranges[at].clone(),
            });
        };
        Ok(Aggregation {
            text: text.to_owned(),
            function,
            arguments,
        })
    }

    /// Which bytes of the text each argument is that is evaluated per record.
    pub fn argument_ranges(&self) -> Vec<Range<usize>> {
        let Ok(mut call) = Expression::parse_call(&self.text) else {
            return Vec::new();
        };
        if let Some(at) = self.signature().constant_at() {
            call.ranges.remove(at);
        }
        call.ranges
    }

    /// How its function is called.
    pub fn signature(&self) -> &'static Signature {
        Signature::of(self.function.name()).expect("every function has its row in SIGNATURES")
    }
}

/// For each call, the first one whose accumulator it reads: itself, or an earlier one over the same
/// arguments that keeps the same.
pub fn shared(calls: &[&Aggregation]) -> Vec<usize> {
    let mut shared = Vec::with_capacity(calls.len());
    for (at, call) in calls.iter().enumerate() {
        let earlier = (0..at).find(|earlier| {
            let other = calls[*earlier];
            shared[*earlier] == *earlier
                && call.function.shares_with(&other.function)
                && call.arguments == other.arguments
        });
        shared.push(earlier.unwrap_or(at));
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ValueType;

    #[test]
    fn every_function_can_be_called_by_its_name_and_says_what_it_takes() {
        for signature in SIGNATURES {
            let mut arguments = vec!["x"; signature.takes.len()];
            if let Some(at) = signature.constant_at() {
                arguments.insert(at, signature.setting.example());
            }
            let text = format!("{}({})", signature.name, arguments.join(", "));
            let parsed = Aggregation::parse(&text).expect("a call of a known function");
            assert_eq!(parsed.function.name(), signature.name);
            assert_eq!(parsed.signature().usage, signature.usage);
            assert!(signature.usage.starts_with(signature.name));
            assert_eq!(parsed.arguments.len(), signature.takes.len(), "{text}");
            assert_eq!(parsed.argument_ranges().len(), parsed.arguments.len());
        }
    }

    #[test]
    fn every_function_has_its_row_in_the_documentation() {
        let page = include_str!("../../../docs/TOPOLOGY.md");
        let usages = |signature: &Signature| signature.usage.replace("[, weight]", "");
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        for signature in SIGNATURES {
            let usage = format!("`{}`", usages(signature));
            let is_shown = |row: &&str| row.split(" | ").next().is_some_and(|c| c.contains(&usage));
            assert!(rows.iter().any(is_shown), "{usage}");
        }
    }

    #[track_caller]
    fn check_function(text: &str, expected: &Function) {
        let parsed = Aggregation::parse(text).expect(text);
        assert_eq!(&parsed.function, expected, "{text}");
    }

    #[test]
    fn constants_are_a_part_of_the_function() {
        check_function("top_k(title, 10)", &Function::TopK(10));
        check_function("top_k(title, 5 + 5)", &Function::TopK(10));
        check_function("top_k(title, 10, bytes)", &Function::TopK(10));
        check_function("quantile(ms, 1)", &Function::Quantile(1.0));
        check_function(
            "quantiles(ms, [0.5, 0.99])",
            &Function::Quantiles([0.5, 0.99].into()),
        );
        check_function(
            "histogram(delta, [-1.5, 0, 100])",
            &Function::Histogram([-1.5, 0.0, 100.0].into()),
        );
        let weighted = Aggregation::parse("top_k(title, 10, bytes)").expect("a call");
        let texts: Vec<&str> = weighted.arguments.iter().map(Expression::text).collect();
        assert_eq!(texts, ["title", "bytes"]);
        assert_eq!(weighted.argument_ranges(), [6..11, 17..22]);
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
        check_error(
            "top_k(x)",
            "top_k(x, k[, weight]) takes 2 or 3 arguments, found 1",
        );
        check_error(
            "top_k(x, 0)",
            "top_k(x, k[, weight]) takes a whole number from 1 to 100, found 0",
        );
        check_error(
            "collect_set(x, 1001)",
            "collect_set(x, max) takes a whole number from 1 to 1000, found 1001",
        );
        check_error(
            "quantile(x, 95)",
            "quantile(x, q) takes a number from 0 to 1, found 95",
        );
        check_error(
            "quantiles(x, [0.5, y])",
            "quantiles(x, [q, …]) takes a list of 1 to 100 numbers from 0 to 1, found [0.5, y]",
        );
        let bounds = "histogram(x, [bound, …]) takes a list of 1 to 100 numbers, each larger than \
                      the one before it, found";
        for wrong in ["[0, 0]", "[1, 0]", "[]", "5", "['a']", "[0.0 / 0.0]"] {
            check_error(
                &format!("histogram(x, {wrong})"),
                &format!("{bounds} {wrong}"),
            );
        }
    }

    #[track_caller]
    fn check_type(text: &str, argument: ValueType, expected: ValueType) {
        let parsed = Aggregation::parse(text).expect(text);
        assert_eq!(
            parsed.function.result_type(Some(argument)),
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
        check_type("latest(x)", ValueType::Str, ValueType::Str);
        check_type("distinct(x)", ValueType::Str, ValueType::Int);
        check_type("median(x)", ValueType::Int, ValueType::Float);
        check_type("top_k(x, 3)", ValueType::Str, ValueType::List);
        check_type("distinct_sketch(x)", ValueType::Str, ValueType::Bytes);
    }

    #[track_caller]
    fn check_shared(calls: &[&str], expected: &[usize]) {
        let calls: Vec<Aggregation> = calls
            .iter()
            .map(|text| Aggregation::parse(text).expect(text))
            .collect();
        assert_eq!(shared(&calls.iter().collect::<Vec<_>>()), expected);
    }

    #[test]
    fn calls_that_keep_the_same_of_the_same_share_it() {
        check_shared(
            &[
                "quantile(ms, 0.5)",
                "count()",
                "quantile_sketch(ms)",
                "median(other)",
                "quantiles(ms, [0.9])",
            ],
            &[0, 1, 0, 3, 0],
        );
        check_shared(
            &[
                "top_k(x, 3)",
                "top_k(x, 5)",
                "top_k(x, 5, n)",
                "top_k_sketch(x)",
                "top_k_sketch(x, n)",
            ],
            &[0, 0, 2, 0, 2],
        );
        check_shared(
            &["distinct_sketch(x)", "distinct(x)", "distinct_sketch(x)"],
            &[0, 0, 0],
        );
        // What is stored of these has one accumulator each.
        check_shared(&["distinct(x)", "distinct(x)"], &[0, 1]);
        check_shared(&["sum(x)", "sum(x)"], &[0, 1]);
    }
}
