//! T043: a window has a length.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;

pub(super) const RULE: Rule = Rule {
    code: "T043",
    severity: Severity::Error,
    title: "a window is not longer than nothing",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let Some(window) = aggregate.window else {
            continue;
        };
        if window.kind.length_ms() <= 0 {
            let size = Millis(window.kind.length_ms());
            let message = format!("a window must be longer than nothing, found {size}");
            let place = Place::node(number).key("window").key(window.kind.word());
            let help = "write a length of time above 0, such as `1m`";
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
