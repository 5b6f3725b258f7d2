//! T113: rows that others read have fields.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T113",
    severity: Severity::Error,
    title: "a processor gives no fields, and a node reads from it",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Process(process) = kind else {
            continue;
        };
        let gives_nothing = process.gives.is_empty() && !process.keeps_fields;
        let consumer = cx.analysis.consumers[number].first();
        if let Some(consumer) = consumer.filter(|_| gives_nothing) {
            let (name, reader) = (cx.name(number), cx.name(*consumer));
            let message = format!("`{name}` gives no fields, but `{reader}` reads from it");
            let help = "say which fields it gives with `gives`, or that the record's own stay with \
                        `keeps_fields`";
            let place = Place::node(number).key("gives");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
