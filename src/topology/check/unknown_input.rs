//! T004: the inputs of a node exist.

use super::{Context, Finding, Rule, Severity};
use crate::topology::nearest::did_you_mean;

pub(super) const RULE: Rule = Rule {
    code: "T004",
    severity: Severity::Error,
    title: "`from` names a node that does not exist",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        for (item, name) in kind.inputs().iter().enumerate() {
            if cx.analysis.inputs[number][item].is_some() {
                continue;
            }
            let message = format!("there is no node `{name}`");
            let candidates = cx
                .kinds()
                .filter(|(other, kind)| *other != number && kind.can_be_read());
            let mut names: Vec<&str> = Vec::new();
            for (other, _) in candidates {
                // Two nodes of one name are another rule's finding.
                if !names.contains(&cx.name(other)) {
                    names.push(cx.name(other));
                }
            }
            let help = did_you_mean(name.as_str(), "nodes that can be read from", names);
            let place = cx.input_place(number, item);
            out.push(RULE.finding(place, message).maybe_help(help));
        }
    }
}
