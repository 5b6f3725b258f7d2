//! T051: an update of a window's result is no record of its own. Without windows there are rows that
//! replace one another, as behind a table.

use super::{Context, Finding, Place, Rule, Severity, suppress_input};
use crate::topology::graph::{Emit, NodeKind, Suppress, Until};

pub(super) const RULE: Rule = Rule {
    code: "T051",
    severity: Severity::Error,
    title: "an aggregate would count each update of another one's windows",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, _) in cx.aggregates() {
        let Some(origin) = origin(cx, number) else {
            continue;
        };
        let name = cx.name(origin);
        let message = format!(
            "`{name}` sends each of its results again whenever it changes, and every time it would \
             be counted here"
        );
        let help = format!(
            "add `emit: close` to `{name}`: then each window's result comes once; or, if each update is \
             to count, put a `to_stream` in between"
        );
        out.push(
            RULE.finding(Place::node(number).key("from"), message)
                .help(help),
        );
    }
}

/// An aggregate with windows and `emit: updates` that a node reads from, perhaps through stateless
/// nodes.
fn origin(cx: &Context<'_>, number: usize) -> Option<usize> {
    let passes = |at: usize, kind: &NodeKind| match kind {
        NodeKind::Suppress(suppress) => !lets_go_once(cx, at, suppress),
        kind => kind.is_stateless(),
    };
    let origins = cx.origins_through(&cx.analysis.inputs[number], passes);
    origins.into_iter().find(|origin| {
        let kind = &cx.nodes[*origin].kind;
        matches!(
            kind,
            Some(NodeKind::Aggregate(aggregate))
                if aggregate.emit == Emit::Updates && aggregate.window.is_some()
        )
    })
}

/// Whether each result leaves a suppress once. Where the end of a window lies in it, a result can leave
/// a millisecond before it is final.
pub(super) fn lets_go_once(cx: &Context<'_>, number: usize, suppress: &Suppress) -> bool {
    let origin = suppress_input::origin(cx, number);
    let window = origin.and_then(|at| match &cx.nodes[at].kind {
        Some(NodeKind::Aggregate(aggregate)) => aggregate.window,
        _ => None,
    });
    suppress.until == Until::Close && window.is_none_or(|window| window.kind.ends_behind())
}
