//! T116: only windows that begin with a date have a time zone.

use super::{Context, Finding, Rule, Severity};
use crate::topology::builder::Problem;

pub(super) const RULE: Rule = Rule {
    code: "T116",
    severity: Severity::Error,
    title: "windows of this kind have no time zone",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        if let Problem::ZoneOf(kind) = problem {
            let message = match *kind {
                "none" => {
                    "without windows, there is nothing that a time zone could begin".to_owned()
                }
                kind => format!(
                    "{kind} windows do not begin with a date, so a time zone says nothing about them"
                ),
            };
            let help = "take `time_zone` away, or write `tumbling: 1d`, one window after the other";
            out.push(RULE.finding(place.clone(), message).help(help));
        }
    }
}
