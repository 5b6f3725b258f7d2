//! T126: rows that replace one another are no records of a stream.

use super::{Context, Finding, Place, Rule, Severity, aggregate_of_table};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T126",
    severity: Severity::Error,
    title: "a table is merged with a stream",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if !matches!(kind, NodeKind::Merge(_)) {
            continue;
        }
        let inputs = || cx.analysis.inputs[number].iter().flatten().copied();
        let table = |input: &usize| aggregate_of_table::replacing(cx, &[Some(*input)]);
        let Some((at, stream)) = inputs()
            .enumerate()
            .find(|(_, input)| table(input).is_none())
        else {
            continue;
        };
        let Some(origin) = inputs().find_map(|input| table(&input)) else {
            continue;
        };
        if matches!(cx.nodes[origin].kind, Some(NodeKind::GlobalTable(_))) {
            // T120 says that nothing comes out of one.
            continue;
        }
        let message = format!(
            "the rows of `{}` replace one another, and the records of `{}` do not",
            cx.name(origin),
            cx.name(stream)
        );
        let help = "merge streams with streams, in front of a `table`, and tables with tables; a `to_stream` \
                    makes records of rows";
        let place = Place::node(number).key("from").item(at);
        out.push(RULE.finding(place, message).help(help));
    }
}
