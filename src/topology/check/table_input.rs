//! T080: results of an aggregate that are updated are a table already.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Emit, NodeKind};

pub(super) const RULE: Rule = Rule {
    code: "T080",
    severity: Severity::Error,
    title: "a table of what is one already",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if !matches!(kind, NodeKind::Table(_)) {
            continue;
        }
        for before in cx.origins(&cx.analysis.inputs[number], keeps_key) {
            if let Some(NodeKind::Aggregate(aggregate)) = &cx.nodes[before].kind
                && aggregate.emit == Emit::Updates
            {
                let name = cx.name(before);
                let message = format!("the results of `{name}` replace one another already");
                let help = "read from the aggregate: its results are a table, in the store of \
                            that name";
                let place = Place::node(number).key("from");
                out.push(RULE.finding(place, message).help(help));
            }
        }
    }
}

/// Under another key, results are another table.
fn keeps_key(kind: &NodeKind) -> bool {
    kind.is_stateless() && !matches!(kind, NodeKind::SelectKey(_))
}
