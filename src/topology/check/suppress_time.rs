//! T092: a time for which results are held back is longer than nothing.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;
use crate::topology::graph::{NodeKind, Until};

pub(super) const RULE: Rule = Rule {
    code: "T092",
    severity: Severity::Error,
    title: "results are held back for no time",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if let NodeKind::Suppress(suppress) = kind
            && let Until::TimeLimit { ms } = suppress.until
            && ms <= 0
        {
            let message = format!(
                "results must be held back for longer than nothing, found {}",
                Millis(ms)
            );
            let help = "`for: 5m` lets one update of each key and window pass in five minutes";
            let place = Place::node(number).key("for");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
