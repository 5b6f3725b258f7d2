//! T057: a log writes something.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T057",
    severity: Severity::Error,
    title: "a log writes no record of so many",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if let NodeKind::Log(log) = kind
            && log.every == 0
        {
            let message = "of 0 records none can be written";
            let help = "`every: 1` writes all of them, `every: 1000` one of a thousand";
            let place = Place::node(number).key("every");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
