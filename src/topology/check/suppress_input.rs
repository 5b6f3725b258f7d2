//! T090: what is held back are updates of an aggregate's results, or of a table's rows.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Emit, NodeKind};

pub(super) const RULE: Rule = Rule {
    code: "T090",
    severity: Severity::Error,
    title: "there is nothing here that could be held back",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if matches!(kind, NodeKind::Suppress(_))
            && let Some((message, help)) = origin(cx, number).and_then(|at| trouble(cx, at))
        {
            let place = Place::node(number).key("from");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}

/// The node whose rows reach a suppress as they are, but for their other fields; none where that is
/// not known.
pub(super) fn origin(cx: &Context<'_>, suppress: usize) -> Option<usize> {
    let mut at = suppress;
    // So many steps lead nowhere but in a circle.
    for _ in cx.nodes {
        at = (*cx.analysis.inputs[at].first()?)?;
        match &cx.nodes[at].kind {
            Some(
                NodeKind::Filter(_)
                | NodeKind::Map(_)
                | NodeKind::Branch(_)
                | NodeKind::Arm(_)
                | NodeKind::Log(_),
            ) => {}
            Some(_) => return Some(at),
            None => return None,
        }
    }
    None
}

fn trouble(cx: &Context<'_>, at: usize) -> Option<(String, String)> {
    let name = cx.name(at);
    let kind = cx.nodes[at].kind.as_ref()?;
    Some(match kind {
        NodeKind::Aggregate(aggregate) if aggregate.emit == Emit::Updates => return None,
        NodeKind::Aggregate(_) => (
            format!("each result of `{name}` leaves once, when its window is closed"),
            format!("read from `{name}` itself, or take `emit: close` away from it"),
        ),
        NodeKind::Suppress(_) => (
            format!("`{name}` holds results back already"),
            format!("read from what is in front of `{name}`, or from `{name}` itself"),
        ),
        NodeKind::Table(table) if !table.stored => (
            format!("`{name}` keeps no rows, so those of one key may be in different partitions"),
            format!("take `stored: false` away from `{name}`"),
        ),
        NodeKind::Table(_) => return None,
        NodeKind::Join(_) if cx.analysis.after[at].replace() => return None,
        NodeKind::SelectKey(_) | NodeKind::FlatMap(_) | NodeKind::Merge(_) => (
            format!("behind `{name}` it is not known which row is an update of which"),
            format!("put `{name}` behind the suppress"),
        ),
        _ => (
            format!("the records of `{name}` are no updates of one another"),
            "hold back the rows of a table, or the results of an aggregate with `emit: updates`"
                .to_owned(),
        ),
    })
}
