//! T032: a condition is true or false.

use super::{Context, Finding, Place, Rule, Severity};
use crate::expr::Expression;
use crate::topology::analysis::Occurrences;
use crate::topology::graph::NodeKind;
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T032",
    severity: Severity::Error,
    title: "a condition is neither true nor false",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        for (place, condition) in conditions(&Place::node(number), kind) {
            let found = cx.analysis.type_at(&place);
            if !matches!(found, ValueType::Bool | ValueType::Any) {
                let text = condition.text();
                let message = format!("a condition must be a bool, `{text}` is of type {found}");
                out.push(
                    RULE.finding(place, message)
                        .help("compare it with something, as in `x > 0`"),
                );
            }
        }
    }
}

fn conditions<'k>(node: &Place, kind: &'k NodeKind) -> Vec<(Place, &'k Expression)> {
    let at = |key| node.clone().key(key);
    match kind {
        NodeKind::Filter(filter) => vec![(at("where"), &filter.condition)],
        NodeKind::Map(map) => {
            let condition = map.tombstone_if.iter();
            condition.map(|each| (at("tombstone_if"), each)).collect()
        }
        NodeKind::Aggregate(aggregate) => {
            let condition = aggregate.delete_if.iter();
            condition.map(|each| (at("delete_if"), each)).collect()
        }
        NodeKind::Branch(branch) => {
            let mut names = Occurrences::default();
            let arms = branch.arms.iter();
            arms.map(|(name, each)| (names.place(at("branches"), name), each))
                .collect()
        }
        _ => Vec::new(),
    }
}
