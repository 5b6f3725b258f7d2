//! T115: what a time zone tells is when days begin.

use super::{Context, Finding, Rule, Severity};
use crate::topology::builder::Problem;

pub(super) const RULE: Rule = Rule {
    code: "T115",
    severity: Severity::Error,
    title: "windows in a time zone are not whole days",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        if let Problem::NoDays(size) = problem {
            let message = format!("windows in a time zone are from 1d to 366d long, found {size}");
            let help = "write whole days, `week`, `month` or `year`, or take `time_zone` away";
            out.push(RULE.finding(place.clone(), message).help(help));
        }
    }
}
