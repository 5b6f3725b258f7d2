//! T004: `from` names a node that exists.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::nearest::did_you_mean;

pub(super) const RULE: Rule = Rule {
    code: "T004",
    severity: Severity::Error,
    title: "`from` names a node that does not exist",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        for (name, input) in kind.inputs().zip(&cx.analysis.inputs[number]) {
            if input.is_some() {
                continue;
            }
            let message = format!("there is no node `{name}`");
            let candidates = cx
                .kinds()
                .filter(|(other, kind)| *other != number && !kind.is_sink());
            let mut names: Vec<&str> = Vec::new();
            for (other, _) in candidates {
                // Two nodes of one name are another rule's finding.
                if !names.contains(&cx.name(other)) {
                    names.push(cx.name(other));
                }
            }
            let help = did_you_mean(name.as_str(), "nodes that can be read from", names);
            let place = Place::node(number).key("from");
            out.push(RULE.finding(place, message).maybe_help(help));
        }
    }
}
