//! T082: an aggregate would count each change of a row as a record of its own.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T082",
    severity: Severity::Error,
    title: "an aggregate behind a table",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, _) in cx.aggregates() {
        for before in cx.origins(&cx.analysis.inputs[number], NodeKind::is_stateless) {
            let is_table = matches!(
                cx.nodes[before].kind,
                Some(NodeKind::Table(_) | NodeKind::Join(_))
            );
            if is_table && cx.analysis.after[before].replace() {
                let name = cx.name(before);
                let message = format!("the rows of `{name}` replace one another");
                let help = format!(
                    "read from what is in front of `{name}` to count records; rows cannot be \
                     aggregated yet"
                );
                let place = Place::node(number).key("from");
                out.push(RULE.finding(place, message).help(help));
            }
        }
    }
}
