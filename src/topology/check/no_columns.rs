//! T061: which columns a row has, where its fields are not known.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T061",
    severity: Severity::Error,
    title: "a table of records has no columns",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        let before = &cx.analysis.before[number];
        let has_gaps = cx.nodes[number].has_gaps || !before.is_certain();
        if sink.columns.is_empty() && before.has_open_part() && !has_gaps {
            let message = format!(
                "`{}` does not say which columns its table has",
                cx.name(number)
            );
            let help = match before.joined().first() {
                Some((prefix, _)) => format!(
                    "add `columns: {{ name: expression, … }}`, also with those of what was joined, `{prefix}.…`"
                ),
                None => "add `columns: { name: expression, … }`; only behind an aggregate are the \
                         fields known without"
                    .to_owned(),
            };
            out.push(
                RULE.finding(Place::node(number).key("columns"), message)
                    .help(help),
            );
        }
    }
}
