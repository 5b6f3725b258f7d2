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

/// An aggregate with `emit: updates` that a node reads from, perhaps through stateless nodes.
fn origin(cx: &Context<'_>, number: usize) -> Option<usize> {
    let origins = cx.origins(&cx.analysis.inputs[number], NodeKind::is_stateless);
    origins.into_iter().find(|origin| {
        let kind = &cx.nodes[*origin].kind;
        matches!(kind, Some(NodeKind::Aggregate(aggregate)) if aggregate.emit == Emit::Updates)
    })
}
