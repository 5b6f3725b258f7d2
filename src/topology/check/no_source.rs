//! T007: records come from somewhere.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T007",
    severity: Severity::Error,
    title: "there is no source",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    if cx.is_complete() && cx.sources().next().is_none() {
        let help = "add a node such as `changes: { source: { topic: … } }`";
        let finding = RULE.finding(
            Place::topology("nodes").name(),
            "there is no source, so no records",
        );
        out.push(finding.help(help));
    }
}
