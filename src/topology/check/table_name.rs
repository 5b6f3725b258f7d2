//! T060: names of tables are plain words, so that they are the same on every database.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T060",
    severity: Severity::Error,
    title: "a table cannot have this name",
    check,
};

/// MySQL's limit for identifiers.
const LONGEST: usize = 64;
/// Tidemill's own tables, and SQLite's.
const RESERVED: [&str; 2] = ["tidemill_", "sqlite_"];

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        let Some(reason) = reason(&sink.table) else {
            continue;
        };
        let message = format!("a table cannot be called `{}`: {reason}", sink.table);
        let help = match reserved(&sink.table) {
            Some(prefix) => format!("choose a name that does not begin with `{prefix}`"),
            None => "use letters, digits and `_`, not beginning with a digit".to_owned(),
        };
        out.push(
            RULE.finding(Place::node(number).key("table"), message)
                .help(help),
        );
    }
}

fn reserved(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    RESERVED.into_iter().find(|prefix| name.starts_with(prefix))
}

fn reason(name: &str) -> Option<String> {
    if let Some(prefix) = reserved(name) {
        return Some(format!("names with `{prefix}` are reserved"));
    }
    super::column_name::reason(name, LONGEST)
}
