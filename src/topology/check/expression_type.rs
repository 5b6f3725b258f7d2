//! T031: an expression whose parts do not fit together, given the types of the fields.

use super::{Context, Finding, Rule, Severity};
use crate::expr::ExprError;

pub(super) const RULE: Rule = Rule {
    code: "T031",
    severity: Severity::Error,
    title: "the types in an expression do not fit",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for checked in &cx.analysis.expressions {
        let errors = checked.type_errors().iter();
        for error in errors.filter(|error| !checked.is_absent_field(error)) {
            let finding = RULE.finding(checked.place.clone(), &error.message);
            let range = checked.range_in_place(error);
            out.push(finding.help(help_for(error)).within(range));
        }
    }
}

fn help_for(error: &ExprError) -> String {
    let usual = "docs/EXPRESSIONS.md says what each takes; `int(x)`, `double(x)`, `string(x)` and \
                 `timestamp(x)` convert";
    error.help.clone().unwrap_or_else(|| usual.to_owned())
}
