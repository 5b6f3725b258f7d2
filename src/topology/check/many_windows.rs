//! T128: each record of hopping windows has a result in all windows that it is in.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;

pub(super) const RULE: Rule = Rule {
    code: "T128",
    severity: Severity::Error,
    title: "a record is in too many hopping windows",
    check,
};

/// Records cost the same in however many windows they are; the results of those windows do not.
const MOST: i64 = 100_000;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, size_ms, advance_ms) in cx.hopping_windows() {
        if advance_ms > 0 && size_ms / advance_ms > MOST {
            let message = format!(
                "each record would be in {} windows, and have a result in each of them",
                size_ms / advance_ms
            );
            let help = format!(
                "write an `advance` of {} or more",
                Millis(size_ms / MOST + 1)
            );
            let place = Place::node(number).key("window").key("advance");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
