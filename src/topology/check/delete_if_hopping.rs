//! T088: results of hopping windows are made of panes, which belong to several windows each: none of
//! them can be begun anew by itself.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::WindowKind;

pub(super) const RULE: Rule = Rule {
    code: "T088",
    severity: Severity::Error,
    title: "delete_if with hopping windows",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let kind = aggregate.window.map(|window| window.kind);
        let (Some(WindowKind::Hopping { .. }), Some(condition)) = (kind, &aggregate.delete_if)
        else {
            continue;
        };
        let message = "hopping windows share what is kept of them, so no result of theirs can be \
                       deleted by itself";
        let help = format!(
            "take back results with a filter behind: `where: \"!({})\"`",
            condition.text()
        );
        out.push(
            RULE.finding(Place::node(number).key("delete_if"), message)
                .help(help),
        );
    }
}
