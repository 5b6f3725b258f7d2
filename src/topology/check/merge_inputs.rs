//! T055: a merge has something to merge.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T055",
    severity: Severity::Error,
    title: "a merge has fewer than two inputs",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Merge(merge) = kind else {
            continue;
        };
        if merge.from.len() < 2 {
            let found = match merge.from.is_empty() {
                true => "has no inputs",
                false => "has only one input",
            };
            let message = format!("`{}` {found}, there is nothing to merge", cx.name(number));
            let help = "name all inputs: `from: [a, b]`";
            out.push(
                RULE.finding(Place::node(number).key("from"), message)
                    .help(help),
            );
        }
    }
}
