//! T094: what happens when more is held back than may be.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{NodeKind, Until, WhenFull};

pub(super) const RULE: Rule = Rule {
    code: "T094",
    severity: Severity::Error,
    title: "when_full does not fit",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Suppress(suppress) = kind else {
            continue;
        };
        let Some(when_full) = suppress.when_full else {
            continue;
        };
        let is_bounded = suppress.max_rows.is_some() || suppress.max_bytes.is_some();
        let (message, help) = match (suppress.until, when_full) {
            _ if !is_bounded => (
                "any number of results may be held back here",
                "say how many: `max_rows: 100000`, or `max_bytes: …`",
            ),
            (Until::Close, WhenFull::Emit) => (
                "a result that leaves before its window is closed is not final",
                "take `when_full` away: the process stops when the bound is reached",
            ),
            _ => continue,
        };
        let place = Place::node(number).key("when_full");
        out.push(RULE.finding(place, message).help(help));
    }
}
