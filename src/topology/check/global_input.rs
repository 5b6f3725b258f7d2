//! T120: a global table is read apart from the records that are processed, so no records come out of it.

use super::{Context, Finding, Rule, Severity};
use crate::topology::graph::{NodeKind, Side};

pub(super) const RULE: Rule = Rule {
    code: "T120",
    severity: Severity::Error,
    title: "a global table is read from by something else than a join",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        for input in 0..kind.inputs().len() {
            let is_looked_up = matches!(kind, NodeKind::Join(_)) && input == Side::Right as usize;
            let Some(table) = cx.global_table(number, input).filter(|_| !is_looked_up) else {
                continue;
            };
            let name = cx.name(table);
            let message =
                format!("`{name}` is a global table: rows are looked up in it, and none come out");
            let help = format!(
                "join with it, `with: {name}`; what has to see its records reads a `source` of the same topic"
            );
            out.push(
                RULE.finding(cx.input_place(number, input), message)
                    .help(help),
            );
        }
    }
}
