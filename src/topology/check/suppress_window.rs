//! T091: only a window is ever closed.

use super::suppress_input::origin;
use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{NodeKind, Until};

pub(super) const RULE: Rule = Rule {
    code: "T091",
    severity: Severity::Error,
    title: "until: close where there are no windows",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Suppress(suppress) = kind else {
            continue;
        };
        let Some(at) = origin(cx, number).filter(|_| suppress.until == Until::Close) else {
            continue;
        };
        let has_windows = match &cx.nodes[at].kind {
            Some(NodeKind::Aggregate(aggregate)) => aggregate.window.is_some(),
            Some(NodeKind::Table(_) | NodeKind::Join(_)) => !cx.analysis.after[at].replace(),
            _ => true,
        };
        if !has_windows {
            let name = cx.name(at);
            let message = format!("`{name}` has no windows, so what leaves it is never final");
            let help = "`for: 5m` lets one update of each key pass in five minutes";
            let place = Place::node(number).key("until");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
