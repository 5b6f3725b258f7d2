//! T051: an update of a result is no record of its own.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Emit, NodeKind};

pub(super) const RULE: Rule = Rule {
    code: "T051",
    severity: Severity::Error,
    title: "an aggregate would count each update of another one's results",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, _) in cx.aggregates() {
        let Some(origin) = origin(cx, number) else {
            continue;
        };
        let name = cx.name(origin);
        let message = format!(
            "`{name}` sends each of its results again whenever it changes, and every time it would \
             be counted here"
        );
        let help = format!("add `emit: close` to `{name}`: then each window's result comes once");
        out.push(
            RULE.finding(Place::node(number).key("from"), message)
                .help(help),
        );
    }
}

/// The aggregate with `emit: updates` that a node reads from, perhaps through stateless nodes.
fn origin(cx: &Context<'_>, number: usize) -> Option<usize> {
    let mut at = number;
    // A circle is another rule's finding.
    for _ in 0..cx.nodes.len() {
        at = cx.analysis.inputs[at].first().copied().flatten()?;
        match cx.nodes[at].kind.as_ref()? {
            NodeKind::Filter(_) | NodeKind::Map(_) => {}
            NodeKind::Aggregate(aggregate) => {
                return (aggregate.emit == Emit::Updates).then_some(at);
            }
            NodeKind::Source(_) | NodeKind::Sql(_) | NodeKind::Kafka(_) => return None,
        }
    }
    None
}
