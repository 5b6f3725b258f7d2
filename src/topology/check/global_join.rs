//! T121: a global table is looked into when a record of a stream comes; its changes cause nothing.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Join, JoinKind, JoinWindow, Side};

pub(super) const RULE: Rule = Rule {
    code: "T121",
    severity: Severity::Error,
    title: "a join with a global table that there cannot be",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        if let Some(table) = cx.global_table(number, Side::Right as usize) {
            out.extend(replacing_rows(cx, number, table));
            out.extend(outer(cx, number, join, table));
            out.extend(join.within.map(|within| timed(cx, number, within, table)));
        }
    }
}

/// Rows that replace one another would have to be joined anew whenever the table changes.
fn replacing_rows(cx: &Context<'_>, number: usize, table: usize) -> Option<Finding> {
    let left = cx.analysis.inputs[number][Side::Left as usize]?;
    if !cx.analysis.after[left].replace() || cx.global_table(number, Side::Left as usize).is_some()
    {
        return None;
    }
    let (name, table) = (cx.name(left), cx.name(table));
    let message = format!(
        "the rows of `{name}` replace one another, and a change of `{table}` would not change what was \
         made of them"
    );
    let help = format!(
        "join `{table}` with a stream, in front of the node that makes rows of it; or read its topic with \
         a `source` and a `table`, which is joined with `{name}` by the keys of both"
    );
    let place = cx.input_place(number, Side::Left as usize);
    Some(RULE.finding(place, message).help(help))
}

fn outer(cx: &Context<'_>, number: usize, join: &Join, table: usize) -> Option<Finding> {
    let message = format!(
        "rows of `{}` alone have no result: each record finds the one that is there, and every process \
         has all of them",
        cx.name(table)
    );
    let place = Place::node(number).key("type");
    let finding = RULE.finding(place, message).help("use `type: left`");
    (join.kind == JoinKind::Outer).then_some(finding)
}

fn timed(cx: &Context<'_>, number: usize, within: JoinWindow, table: usize) -> Finding {
    let key = match within.before_ms == within.after_ms {
        true => "within",
        false => "before",
    };
    let message = format!(
        "a record finds the row that `{}` has when it comes, and waits for none",
        cx.name(table)
    );
    let help =
        "take `within`, `before`, `after` and `grace` away: they pair the records of two streams";
    RULE.finding(Place::node(number).key(key), message)
        .help(help)
}
