//! T045: a window stays in the store while it still takes records.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;

pub(super) const RULE: Rule = Rule {
    code: "T045",
    severity: Severity::Error,
    title: "a retention is shorter than the window and its grace",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let Some(window) = aggregate.window else {
            continue;
        };
        let Some(retention_ms) = window.retention_ms else {
            continue;
        };
        let (size_ms, grace_ms) = (window.kind.length_ms(), window.grace_ms);
        let least = size_ms.saturating_add(grace_ms);
        if retention_ms < least {
            let message = format!(
                "a window of {} with a grace of {} must be kept for {} at least, found {}",
                Millis(size_ms),
                Millis(grace_ms),
                Millis(least),
                Millis(retention_ms)
            );
            let place = Place::node(number).key("window").key("retention");
            let help = format!("write `{}` or more, or leave it out", Millis(least));
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
