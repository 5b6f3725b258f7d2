//! T009: what a node gives is used.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T009",
    severity: Severity::Warning,
    title: "no node reads from this one",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    // A processor may do all that it is for by itself, and a log does.
    let is_end =
        |kind: &NodeKind| kind.is_sink() || matches!(kind, NodeKind::Process(_) | NodeKind::Log(_));
    let has_sink = cx.kinds().any(|(_, kind)| is_end(kind));
    if !cx.is_complete() || !has_sink {
        return;
    }
    for (number, kind) in cx.kinds() {
        let is_meant = cx.number_of(&cx.nodes[number].name) == Some(number);
        if !is_end(kind) && is_meant && cx.analysis.consumers[number].is_empty() {
            let message = format!("no node reads from `{}`", cx.name(number));
            let help = match kind {
                NodeKind::GlobalTable(_) => "remove it, or name it in the `with` of a join",
                _ => "remove it, or name it in the `from` of another node",
            };
            out.push(RULE.finding(place(cx, number, kind), message).help(help));
        }
    }
}

/// Where a node is named: an arm is so in its branch.
fn place(cx: &Context<'_>, number: usize, kind: &NodeKind) -> Place {
    if let NodeKind::Arm(arm) = kind
        && let Some(Some(branch)) = cx.analysis.inputs[number].first()
        && let Some(NodeKind::Branch(node)) = &cx.nodes[*branch].kind
    {
        let place = Place::node(*branch);
        return match node.arms.get(arm.number) {
            Some((name, _)) => place.key("branches").entry(name, 0).name(),
            None => place.key("default"),
        };
    }
    Place::node(number)
}
