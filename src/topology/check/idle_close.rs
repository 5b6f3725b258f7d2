//! T046: silence takes time.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;

pub(super) const RULE: Rule = Rule {
    code: "T046",
    severity: Severity::Error,
    title: "idle_close is not longer than nothing",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let idle_close_ms = aggregate.window.and_then(|window| window.idle_close_ms);
        let Some(idle_ms) = idle_close_ms.filter(|ms| *ms <= 0) else {
            continue;
        };
        let found = Millis(idle_ms);
        let message = format!("a silence must be longer than nothing, found {found}");
        let help = "leave `idle_close` out to close windows by the records' time alone";
        let place = Place::node(number).key("window").key("idle_close");
        out.push(RULE.finding(place, message).help(help));
    }
}
