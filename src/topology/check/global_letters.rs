//! T123: every process reads all records of a global table, and again when it reads it anew.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{NodeKind, OnError};

pub(super) const RULE: Rule = Rule {
    code: "T123",
    severity: Severity::Error,
    title: "dead letters of a global table",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if matches!(kind, NodeKind::GlobalTable(table) if table.source.on_error == OnError::DeadLetter)
        {
            let message =
                "each process would put the same records aside, whenever it reads the table";
            let help = "leave `on_error` away: such records are dropped and counted, and the earlier row \
                        of their key stays; or `stop`";
            let place = Place::node(number).key("on_error");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
