//! T063: a table is written by one node, unless all that write it say that they share it: they
//! overwrite each other's rows.

use std::collections::HashMap;

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::TableUse;

pub(super) const RULE: Rule = Rule {
    code: "T063",
    severity: Severity::Error,
    title: "two nodes write into one table",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut first_of: HashMap<String, (usize, TableUse)> = HashMap::new();
    for (number, sink) in cx.sql_sinks() {
        // Whether capitals matter in names of tables depends on the database and its file system.
        let name = sink.table.to_lowercase();
        let (first, first_use) = *first_of.entry(name).or_insert((number, sink.table_use));
        let both_share = first_use == TableUse::Shared && sink.table_use == TableUse::Shared;
        if first == number || both_share {
            continue;
        }
        let (a, b) = (cx.name(first), cx.name(number));
        let message = format!("`{a}` and `{b}` both write into the table `{}`", sink.table);
        let place = |node| Place::node(node).key("table");
        let finding = RULE.finding(place(number), message).help(
            "give each its own table, or both `shared: true`, if they write rows of different keys",
        );
        out.push(finding.related(place(first), "the first one is here"));
    }
}
