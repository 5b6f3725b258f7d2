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
        let mut seen = vec![number];
        let mut open = vec![number];
        while let Some(node) = open.pop() {
            for before in cx.analysis.inputs[node].iter().flatten().copied() {
                if seen.contains(&before) {
                    continue;
                }
                seen.push(before);
                match &cx.nodes[before].kind {
                    Some(NodeKind::Table(_)) => {
                        let name = cx.name(before);
                        let message = format!("the rows of `{name}` replace one another");
                        let help = format!(
                            "read from what is in front of `{name}` to count records; rows cannot \
                             be aggregated yet"
                        );
                        let place = Place::node(number).key("from");
                        out.push(RULE.finding(place, message).help(help));
                    }
                    Some(NodeKind::Aggregate(_)) | None => {}
                    Some(_) => open.push(before),
                }
            }
        }
    }
}
