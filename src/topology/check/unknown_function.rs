//! T047: an aggregate function that does not exist.

use super::{Context, Finding, Rule, Severity};
use crate::topology::aggregation::{AggregationError, SIGNATURES};
use crate::topology::builder::Problem;
use crate::topology::nearest::did_you_mean_word;

pub(super) const RULE: Rule = Rule {
    code: "T047",
    severity: Severity::Error,
    title: "there is no such aggregate function",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        let Problem::Aggregation(AggregationError::UnknownFunction { name, range }) = problem
        else {
            continue;
        };
        let message = format!("there is no aggregate function `{name}`");
        let known = SIGNATURES.iter().map(|signature| signature.name);
        let help = did_you_mean_word(name, "aggregate functions", known);
        let finding = RULE.finding(place.clone(), message).maybe_help(help);
        out.push(finding.within(range.clone()));
    }
}
