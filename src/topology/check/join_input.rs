//! T083: a join without a time is one with a table, which has one row for each key; one with a time is
//! one of two streams.

use super::{Context, Finding, Rule, Severity};
use crate::topology::graph::{Emit, NodeKind, Side};

pub(super) const RULE: Rule = Rule {
    code: "T083",
    severity: Severity::Error,
    title: "an input that this join does not take",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        if cx.global_table(number, Side::Right as usize).is_some() {
            // T121 says what is wrong with those.
            continue;
        }
        for side in Side::BOTH {
            let Some(input) = cx.analysis.inputs[number][side as usize] else {
                continue;
            };
            let replace = cx.analysis.after[input].replace();
            let found = match (join.within.is_some(), replace) {
                (true, true) => table(cx, input),
                (true, false) => None,
                (false, true) => rows_by_window(cx, input),
                (false, false) if side == Side::Right => stream(cx, input),
                (false, false) => None,
            };
            let place = cx.input_place(number, side as usize);
            out.extend(found.map(|(message, help)| RULE.finding(place, message).help(help)));
        }
    }
}

/// What is wrong with a stream on the side that is looked up.
fn stream(cx: &Context<'_>, input: usize) -> Option<(String, String)> {
    cx.nodes[input].kind.as_ref()?;
    let name = cx.name(input);
    Some((
        format!(
            "the records of `{name}` do not replace one another, so there is no row to be found"
        ),
        format!(
            "add a `table` node behind `{name}` and join with that, or say how near to each other \
             the records of two streams have to be: `within: 10m`"
        ),
    ))
}

/// What is wrong with rows where records are to be paired.
fn table(cx: &Context<'_>, input: usize) -> Option<(String, String)> {
    let name = cx.name(input);
    Some((
        format!("the rows of `{name}` replace one another, and `within` pairs records of streams"),
        format!(
            "take `within` away: a join with a table looks for the row that is there; or put a `to_stream` \
             behind `{name}`, and each of its updates is a record"
        ),
    ))
}

/// What is wrong with updated results that have a row for each window.
fn rows_by_window(cx: &Context<'_>, input: usize) -> Option<(String, String)> {
    let origins = cx.origins(&[Some(input)], keeps_key).into_iter();
    let mut windowed = origins.filter(|node| match &cx.nodes[*node].kind {
        Some(NodeKind::Aggregate(aggregate)) => {
            aggregate.window.is_some() && aggregate.emit == Emit::Updates
        }
        _ => false,
    });
    let name = cx.name(windowed.next()?);
    Some((
        format!(
            "the results of `{name}` have a row for each window, and a join looks by key alone"
        ),
        format!(
            "give `{name}` `window: none`, or `emit: close` with a `table` node behind it, which \
             keeps the last window of each key; or put the window into the key, with a `select_key` \
             behind it that adds `string(window_start)`"
        ),
    ))
}

/// Under another key there may be one row for each.
fn keeps_key(kind: &NodeKind) -> bool {
    kind.is_stateless() && !matches!(kind, NodeKind::SelectKey(_))
}
