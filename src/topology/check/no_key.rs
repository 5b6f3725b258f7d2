//! T040: an aggregate has a key.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T040",
    severity: Severity::Error,
    title: "an aggregate says nothing about its key",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        if aggregate.by.is_empty() {
            let message = format!(
                "`{}` does not say by which fields it folds",
                cx.name(number)
            );
            let help = "add `by: [field, …]`; to fold everything into one row, set a constant field \
                        in a map before and fold by it";
            out.push(
                RULE.finding(Place::node(number).key("by"), message)
                    .help(help),
            );
        }
    }
}
