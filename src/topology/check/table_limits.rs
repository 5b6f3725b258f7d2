//! T068: what databases can hold in one row and one key.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T068",
    severity: Severity::Error,
    title: "a table has too many columns, or its key has",
    check,
};

/// InnoDB's limit for a table; it also keeps one row far below the 65,535 placeholders of a MySQL
/// statement and the 32,766 of SQLite.
const MOST_COLUMNS: usize = 1_017;
/// MySQL's limit for an index.
const MOST_KEY_COLUMNS: usize = 16;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        let row = &cx.analysis.after[number];
        let limits = [
            ("columns", "a table", row.fields().len(), MOST_COLUMNS),
            ("key", "a key", row.key().len(), MOST_KEY_COLUMNS),
        ];
        for (key, what, found, most) in limits {
            if found > most {
                let table = &sink.table;
                let message = format!("{what} has at most {most} columns, `{table}` has {found}");
                let help = "leave some out; `raw()` keeps the whole record in one column";
                out.push(
                    RULE.finding(Place::node(number).key(key), message)
                        .help(help),
                );
            }
        }
    }
}
