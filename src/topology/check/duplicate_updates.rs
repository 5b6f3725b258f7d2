//! T097: a row that takes the place of another one is no duplicate of it.

use super::repeated_updates::lets_go_once;
use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Emit, NodeKind};

pub(super) const RULE: Rule = Rule {
    code: "T097",
    severity: Severity::Error,
    title: "a deduplicate behind rows that replace one another",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if matches!(kind, NodeKind::Deduplicate(_))
            && let Some(origin) = replaced_by(cx, number)
        {
            let name = cx.name(origin);
            let message = format!(
                "`{name}` gives rows that replace one another: the later one counts, and here it \
                 would be dropped"
            );
            let help = format!(
                "put the deduplicate in front of `{name}`, or a `to_stream` between them, where each update \
                 is a record of its own"
            );
            let place = Place::node(number).key("from");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}

/// A node in front, perhaps of stateless ones, whose rows replace one another.
pub(super) fn replaced_by(cx: &Context<'_>, number: usize) -> Option<usize> {
    let mut open = vec![number];
    let mut seen = Vec::new();
    while let Some(node) = open.pop() {
        for at in cx.analysis.inputs[node].iter().flatten().copied() {
            if seen.contains(&at) {
                continue;
            }
            seen.push(at);
            match &cx.nodes[at].kind {
                Some(NodeKind::Aggregate(aggregate)) if aggregate.emit == Emit::Updates => {
                    return Some(at);
                }
                Some(NodeKind::Table(_)) => return Some(at),
                Some(NodeKind::Suppress(suppress)) if !lets_go_once(cx, at, suppress) => {
                    return Some(at);
                }
                Some(kind) if kind.is_stateless() => open.push(at),
                _ => {}
            }
        }
    }
    None
}
