//! T081: rows are deleted by records without a value.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{NodeKind, NullValues};

pub(super) const RULE: Rule = Rule {
    code: "T081",
    severity: Severity::Warning,
    title: "the source of a table refuses records without a value",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Table(_) = kind else {
            continue;
        };
        for before in cx.analysis.inputs[number].iter().flatten() {
            if let Some(NodeKind::Source(source)) = &cx.nodes[*before].kind
                && source.null_values == NullValues::Refuse
            {
                let name = cx.name(*before);
                let message = format!("`{name}` lets no record without a value through");
                let help =
                    format!("add `null_values: pass` to `{name}`: such a record deletes a row");
                let place = Place::node(number).key("from");
                out.push(RULE.finding(place, message).help(help));
            }
        }
    }
}
