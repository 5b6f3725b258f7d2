//! T117: a week, a month or a year begins somewhere.

use super::{Context, Finding, Rule, Severity};
use crate::topology::builder::Problem;

pub(super) const RULE: Rule = Rule {
    code: "T117",
    severity: Severity::Error,
    title: "a window of the calendar has no time zone",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        if let Problem::NoZone(period) = problem {
            let message = format!("where a {period} begins depends on the time zone");
            let help = "add `time_zone: UTC`, or another one such as `Europe/Berlin`";
            out.push(RULE.finding(place.clone(), message).help(help));
        }
    }
}
