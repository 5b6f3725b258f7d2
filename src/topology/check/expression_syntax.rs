//! T030: an expression that cannot be read.

use super::{Context, Finding, Rule, Severity};
use crate::expr::ExprError;
use crate::topology::aggregation::AggregationError;
use crate::topology::builder::Problem;

pub(super) const RULE: Rule = Rule {
    code: "T030",
    severity: Severity::Error,
    title: "an expression cannot be read",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for checked in &cx.analysis.expressions {
        for error in checked.expression.errors() {
            let finding = RULE.finding(checked.place.clone(), &error.message);
            let range = checked.range_in_place(error);
            out.push(finding.help(help_for(error)).within(range));
        }
    }
    for (place, problem) in cx.problems {
        if let Problem::Aggregation(AggregationError::Syntax(error)) = problem {
            let finding = RULE
                .finding(place.clone(), &error.message)
                .within(error.range.clone());
            out.push(finding.help(help_for(error)));
        }
    }
}

fn help_for(error: &ExprError) -> String {
    let usual = "docs/EXPRESSIONS.md has an example of each operator and function";
    error.help.clone().unwrap_or_else(|| usual.to_owned())
}
