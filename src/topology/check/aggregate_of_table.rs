//! T082: where rows replace one another, an aggregate has to take back what an earlier one has added.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::analysis::Occurrences;
use crate::topology::graph::{Aggregate, NodeKind};

pub(super) const RULE: Rule = Rule {
    code: "T082",
    severity: Severity::Error,
    title: "an aggregate that cannot take back what a replaced row has added",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let Some(origin) = origin(cx, number) else {
            continue;
        };
        let name = cx.name(origin);
        let place = Place::node(number);
        if !cx.analysis.before[number].replace() {
            out.push(elements(name, place));
            continue;
        }
        if is_selected(cx, number) {
            out.push(selected(name, place.clone()));
        }
        if aggregate.window.is_some() {
            let message = format!(
                "the rows of `{name}` replace one another, and an earlier one may be in a window \
                 that is closed"
            );
            let place = place.clone().key("window");
            let help = "write `window: none`; or, if each update is to count in the window of its time, put \
                        a `to_stream` in between";
            out.push(RULE.finding(place, message).help(help));
        }
        out.extend(functions(name, &place, aggregate));
    }
}

/// A node whose rows replace one another, and from which an aggregate reads them, perhaps through
/// stateless nodes. Windows whose results are updated are another rule's.
pub(super) fn origin(cx: &Context<'_>, number: usize) -> Option<usize> {
    replacing(cx, &cx.analysis.inputs[number])
}

/// The same for some inputs of any node.
pub(super) fn replacing(cx: &Context<'_>, inputs: &[Option<usize>]) -> Option<usize> {
    let origins = cx.origins(inputs, is_passed);
    origins.into_iter().find(|origin| {
        let is_windowed = match &cx.nodes[*origin].kind {
            Some(NodeKind::Aggregate(aggregate)) => aggregate.window.is_some(),
            Some(NodeKind::Suppress(_)) => true,
            _ => false,
        };
        cx.analysis.after[*origin].replace() && !is_windowed
    })
}

fn is_passed(kind: &NodeKind) -> bool {
    kind.is_stateless() && !matches!(kind, NodeKind::Table(_))
}

/// Whether rows get other keys between a node that does not know which ones they replace, and the
/// aggregate.
fn is_selected(cx: &Context<'_>, number: usize) -> bool {
    let is_select = |kind: &Option<NodeKind>| matches!(kind, Some(NodeKind::SelectKey(_)));
    let knows = |origin: usize| match &cx.nodes[origin].kind {
        Some(NodeKind::Table(table)) => table.stored,
        Some(NodeKind::Join(join)) => join.on.is_none(),
        _ => false,
    };
    let passes = |kind: &NodeKind| is_passed(kind) && !matches!(kind, NodeKind::SelectKey(_));
    let before = cx.origins(&cx.analysis.inputs[number], passes);
    before
        .into_iter()
        .filter(|at| is_select(&cx.nodes[*at].kind))
        .flat_map(|at| cx.origins(&[Some(at)], is_passed))
        .any(|origin| cx.analysis.after[origin].replace() && !knows(origin))
}

fn elements(name: &str, place: Place) -> Finding {
    let message = format!(
        "the rows of `{name}` replace one another, and which elements an earlier one had is not known"
    );
    let help = format!("take the lists apart in front of `{name}`, or aggregate its rows");
    RULE.finding(place.key("from"), message).help(help)
}

fn selected(name: &str, place: Place) -> Finding {
    let message = format!(
        "the rows of `{name}` replace one another by their keys, and have other ones behind `select_key`"
    );
    let help =
        format!("read from in front of `select_key`: rows of `{name}` are grouped by fields");
    RULE.finding(place.key("from"), message).help(help)
}

fn functions<'a>(
    name: &'a str,
    place: &'a Place,
    aggregate: &'a Aggregate,
) -> impl Iterator<Item = Finding> + 'a {
    let mut names = Occurrences::default();
    aggregate.set.iter().filter_map(move |(field, call)| {
        let place = names.place(place.clone().key("set"), field.as_str());
        let message = format!(
            "the rows of `{name}` replace one another, and `{}` cannot take back what an earlier one \
             has added",
            call.function.name()
        );
        let help = "of such rows there are `count`, `count_if`, `sum`, `avg` and `histogram`; behind a \
                    `to_stream`, where each update counts for itself, all functions";
        (!call.function.takes_back()).then(|| RULE.finding(place, message).help(help))
    })
}
