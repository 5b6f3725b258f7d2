//! T095: a deduplicate looks at some time around a record.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T095",
    severity: Severity::Error,
    title: "within is not longer than nothing",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if let NodeKind::Deduplicate(node) = kind
            && node.within_ms <= 0
        {
            let within = Millis(node.within_ms);
            let message = format!("`within` must be longer than nothing, found {within}");
            let help = "`within: 1h` drops a record if another one with its key has passed whose \
                        time is at most an hour away";
            let place = Place::node(number).key("within");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
