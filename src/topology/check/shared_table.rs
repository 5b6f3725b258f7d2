//! T063: a table is written by one node: two would overwrite each other's rows, and their positions
//! could not be restored together.

use std::collections::HashMap;

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T063",
    severity: Severity::Error,
    title: "two nodes write into one table",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut first_of: HashMap<String, usize> = HashMap::new();
    for (number, sink) in cx.sql_sinks() {
        // Whether capitals matter in names of tables depends on the database and its file system.
        let first = *first_of.entry(sink.table.to_lowercase()).or_insert(number);
        if first == number {
            continue;
        }
        let (a, b) = (cx.name(first), cx.name(number));
        let message = format!("`{a}` and `{b}` both write into the table `{}`", sink.table);
        let place = |node| Place::node(node).key("table");
        let finding = RULE
            .finding(place(number), message)
            .help("give each its own table");
        out.push(finding.related(place(first), "the first one is here"));
    }
}
