//! T067: behind an aggregate, a row is one key and window.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::SqlSink;
use crate::value::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "T067",
    severity: Severity::Warning,
    title: "the key of a table lacks a part of the aggregate's key",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        let row = &cx.analysis.after[number];
        if sink.key.is_empty() || !sink.key.iter().all(|column| row.has(column)) {
            continue;
        }
        let key = cx.analysis.before[number].key();
        // Of a key without windows that is one field, the record's key is the text.
        let is_one = key.len() == 1;
        let holds = |column: &String, field: &FieldPath| {
            holds(sink, column, field) || is_one && is_record_key(sink, column)
        };
        let lacking = |field: &&FieldPath| !sink.key.iter().any(|column| holds(column, field));
        let lacks: Vec<String> = key
            .iter()
            .filter(lacking)
            .map(|field| format!("`{field}`"))
            .collect();
        if !lacks.is_empty() {
            let lacks = lacks.join(", ");
            let message = format!("the key of `{}` lacks {lacks}", sink.table);
            let help = "results that differ only there overwrite one another";
            out.push(
                RULE.finding(Place::node(number).key("key"), message)
                    .help(help),
            );
        }
    }
}

fn is_record_key(sink: &SqlSink, column: &str) -> bool {
    let mut columns = sink.columns.iter();
    columns.any(|(name, expression)| name == column && expression.is_record_key())
}

/// Whether a column holds a field as it is.
fn holds(sink: &SqlSink, column: &str, field: &FieldPath) -> bool {
    match sink.columns.iter().find(|(name, _)| name == column) {
        Some((_, expression)) => expression.field().as_ref() == Some(field),
        None => sink.columns.is_empty() && column == field.as_str(),
    }
}
