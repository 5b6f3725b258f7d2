//! T027: a lead is not negative.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;

pub(super) const RULE: Rule = Rule {
    code: "T027",
    severity: Severity::Error,
    title: "max_ahead is negative",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, source) in cx.sources() {
        let Some(ahead_ms) = source.max_ahead_ms.filter(|ms| *ms < 0) else {
            continue;
        };
        let message = format!("a lead cannot be negative, found {}", Millis(ahead_ms));
        let help = "`none` lets pass event times however far ahead of the clock";
        let place = Place::node(number).key("max_ahead");
        out.push(RULE.finding(place, message).help(help));
    }
}
