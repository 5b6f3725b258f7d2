//! T058: results that leave with every change wait for no window to close.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::Emit;

pub(super) const RULE: Rule = Rule {
    code: "T058",
    severity: Severity::Warning,
    title: "idle_close without emit: close",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let idle_close_ms = aggregate.window.and_then(|window| window.idle_close_ms);
        if idle_close_ms.is_some_and(|ms| ms > 0) && aggregate.emit == Emit::Updates {
            let message = "`idle_close` has no effect with `emit: updates`";
            let help = "leave it out, or say `emit: close` for results that leave once";
            let place = Place::node(number).key("window").key("idle_close");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
