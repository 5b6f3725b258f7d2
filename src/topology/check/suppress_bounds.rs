//! T093: where nothing may be held back, nothing is.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T093",
    severity: Severity::Error,
    title: "nothing may be held back",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Suppress(suppress) = kind else {
            continue;
        };
        let bounds = [
            ("max_rows", suppress.max_rows),
            ("max_bytes", suppress.max_bytes),
        ];
        for (key, _) in bounds.into_iter().filter(|(_, most)| *most == Some(0)) {
            let message = format!("`{key}: 0` lets nothing be held back");
            let help = format!("leave `{key}` out to hold back however much there is");
            let place = Place::node(number).key(key);
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
