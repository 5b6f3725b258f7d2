//! T131: records of a stream stand for themselves already.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T131",
    severity: Severity::Error,
    title: "a stream of what is one already",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let before = &cx.analysis.before[number];
        let is_it = matches!(kind, NodeKind::ToStream(_));
        let [Some(input)] = cx.analysis.inputs[number].as_slice() else {
            continue;
        };
        if is_it && !before.replace() && cx.nodes[*input].kind.is_some() {
            let name = cx.name(*input);
            let message = format!("the records of `{name}` do not replace one another");
            let help = format!(
                "read from `{name}` itself; `to_stream` is for the rows of a `table` and for results that \
                 are updated"
            );
            let place = Place::node(number).key("from");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
