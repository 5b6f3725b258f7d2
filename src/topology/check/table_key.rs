//! T064: the key of a table is made of its columns.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::SqlSink;
use crate::topology::nearest::did_you_mean;
use crate::topology::shape::Shape;
use crate::value::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "T064",
    severity: Severity::Error,
    title: "the key of a table names a column that the table does not have",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        let row = &cx.analysis.after[number];
        let missing = |name: &FieldPath| !row.has(name.as_str());
        if row.is_open() || row.fields().is_empty() || !cx.analysis.before[number].is_certain() {
            continue;
        }
        for (item, column) in row
            .key()
            .iter()
            .enumerate()
            .filter(|(_, name)| missing(name))
        {
            out.push(finding(Place::node(number), sink, item, column, row));
        }
    }
}

fn finding(node: Place, sink: &SqlSink, item: usize, column: &FieldPath, row: &Shape) -> Finding {
    let columns = row.fields().iter().map(|(column, _)| column.as_str());
    if sink.key.is_empty() {
        let message = format!(
            "the columns of `{}` lack the key field `{column}`",
            sink.table
        );
        let help = format!("add `{column}: {column}`, or name the columns of the key with `key:`");
        return RULE.finding(node.key("columns"), message).help(help);
    }
    let message = format!("the table `{}` has no column `{column}`", sink.table);
    let help = did_you_mean(column.as_str(), "columns", columns);
    RULE.finding(node.key("key").item(item), message)
        .maybe_help(help)
}
