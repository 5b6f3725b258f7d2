//! T052: hopping windows leave no time out.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;

pub(super) const RULE: Rule = Rule {
    code: "T052",
    severity: Severity::Error,
    title: "hopping windows do not advance, or leave gaps",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, size_ms, advance_ms) in cx.hopping_windows() {
        if advance_ms <= 0 || advance_ms > size_ms {
            let message = format!(
                "windows of {} must begin at distances above 0s and up to {0}, found {}",
                Millis(size_ms),
                Millis(advance_ms)
            );
            let place = Place::node(number).key("window").key("advance");
            let help =
                "write an `advance` that is no longer than the window, such as a tenth of it";
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
