//! T009: what a node gives is used.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T009",
    severity: Severity::Warning,
    title: "no node reads from this one",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let has_sink = cx.kinds().any(|(_, kind)| kind.is_sink());
    if !cx.is_complete() || !has_sink {
        return;
    }
    for (number, kind) in cx.kinds() {
        let is_meant = cx.number_of(&cx.nodes[number].name) == Some(number);
        if !kind.is_sink() && is_meant && cx.analysis.consumers[number].is_empty() {
            let message = format!("no node reads from `{}`", cx.name(number));
            let help = "remove it, or name it in the `from` of another node";
            out.push(RULE.finding(Place::node(number), message).help(help));
        }
    }
}
