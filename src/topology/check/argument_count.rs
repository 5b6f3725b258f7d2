//! T048: an aggregate function with too few or too many arguments.

use super::{Context, Finding, Rule, Severity};
use crate::topology::aggregation::AggregationError;
use crate::topology::builder::Problem;

pub(super) const RULE: Rule = Rule {
    code: "T048",
    severity: Severity::Error,
    title: "an aggregate function has too few or too many arguments",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        if let Problem::Aggregation(AggregationError::ArgumentCount { signature, found }) = problem
        {
            let message = format!(
                "`{}` takes {}, found {found}",
                signature.name,
                signature.arity()
            );
            let help = format!("it is called as `{}`", signature.usage);
            out.push(RULE.finding(place.clone(), message).help(help));
        }
    }
}
