//! T098: what tells records from one another is a single value.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T098",
    severity: Severity::Error,
    title: "records cannot be told apart by a value of this type",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Deduplicate(node) = kind else {
            continue;
        };
        for (item, by) in node.by.iter().enumerate() {
            let place = Place::node(number).key("by").item(item);
            let found = cx.analysis.type_at(&place);
            if matches!(found, ValueType::List | ValueType::Map) {
                let text = by.text();
                let message =
                    format!("`{text}` is of type {found}, by which records cannot be told apart");
                let help = format!("make a text of it: `json({text})`");
                out.push(RULE.finding(place, message).help(help));
            }
        }
    }
}
