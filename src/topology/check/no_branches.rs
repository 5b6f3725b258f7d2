//! T056: a branch has arms.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T056",
    severity: Severity::Error,
    title: "a branch has no arms",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Branch(branch) = kind else {
            continue;
        };
        if branch.arms.is_empty() {
            let message = format!("`{}` does not say which ways there are", cx.name(number));
            let help = "add `branches: { name: condition }`, one entry for each way";
            let place = Place::node(number).key("branches");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
