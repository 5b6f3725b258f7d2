//! T062: what identifies a row, so that a repetition overwrites it instead of adding another.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T062",
    severity: Severity::Error,
    title: "a table of records has no key",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        let before = &cx.analysis.before[number];
        if sink.key.is_empty() && before.key().is_empty() && before.is_certain() {
            let name = cx.name(number);
            let message = format!("`{name}` does not say what identifies a row of its table");
            let help = "add `key: [column, …]`; a record without an identity of its own has \
                        `record_partition()` and `record_offset()`";
            out.push(
                RULE.finding(Place::node(number).key("key"), message)
                    .help(help),
            );
        }
    }
}
