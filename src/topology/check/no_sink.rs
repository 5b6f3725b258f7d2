//! T008: results go somewhere.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T008",
    severity: Severity::Warning,
    title: "there is no sink",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    // What a processor does with records, nobody but itself knows; a log writes them.
    let is_end =
        |kind: &NodeKind| kind.is_sink() || matches!(kind, NodeKind::Process(_) | NodeKind::Log(_));
    let nothing_leaves = cx.kinds().all(|(_, kind)| !is_end(kind));
    if cx.is_complete() && cx.sources().next().is_some() && nothing_leaves {
        let help = "add a node such as `table: { sql: { from: …, table: … } }`";
        let message = "there is no sink, so nothing is written anywhere";
        out.push(
            RULE.finding(Place::topology("nodes").name(), message)
                .help(help),
        );
    }
}
