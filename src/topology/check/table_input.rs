//! T080: what a table is made of must be a stream whose records have their own keys.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T080",
    severity: Severity::Error,
    title: "a table cannot be made of this",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Table(table) = kind else {
            continue;
        };
        let mut seen = vec![number];
        let mut open: Vec<usize> = cx.analysis.inputs[number]
            .iter()
            .flatten()
            .copied()
            .collect();
        while let Some(before) = open.pop() {
            if seen.contains(&before) {
                continue;
            }
            seen.push(before);
            let name = cx.name(before);
            let finding = match &cx.nodes[before].kind {
                Some(NodeKind::Aggregate(_)) => Some((
                    format!("the results of `{name}` replace one another already"),
                    "read from the aggregate: its results are a table, in the store of that name",
                )),
                Some(NodeKind::SelectKey(_)) if table.stored => Some((
                    format!(
                        "`{name}` replaces the key, and rows of a key must be in one partition"
                    ),
                    "write the records to a topic with a `kafka` sink, and make the table of a \
                     source of that topic",
                )),
                _ => None,
            };
            match finding {
                Some((message, help)) => {
                    let place = Place::node(number).key("from");
                    out.push(RULE.finding(place, message).help(help));
                }
                None => open.extend(cx.analysis.inputs[before].iter().flatten()),
            }
        }
    }
}
