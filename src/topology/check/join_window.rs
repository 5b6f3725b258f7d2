//! T087: the times between which records are paired are not the wrong way round.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;

pub(super) const RULE: Rule = Rule {
    code: "T087",
    severity: Severity::Error,
    title: "no records are near enough for a join",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        let Some(within) = join.within else { continue };
        let (before, after) = (Millis(within.before_ms), Millis(within.after_ms));
        let place = |key| Place::node(number).key(key);
        if within.grace_ms < 0 {
            let message = format!(
                "a grace cannot be negative, found {}",
                Millis(within.grace_ms)
            );
            let help = "`0s` waits for no record that is out of order";
            out.push(RULE.finding(place("grace"), message).help(help));
        }
        if before.0.saturating_add(after.0) >= 0 {
            continue;
        }
        match before == after {
            true => {
                let message = format!("a length of time cannot be negative here, found {before}");
                let help = "`0s` pairs records of the same instant";
                out.push(RULE.finding(place("within"), message).help(help));
            }
            false => {
                let message = format!(
                    "the right record cannot be both at most {before} earlier and at most {after} \
                     later than the left one"
                );
                let help = "raise one of them: together they must not be negative";
                out.push(RULE.finding(place("before"), message).help(help));
            }
        }
    }
}
