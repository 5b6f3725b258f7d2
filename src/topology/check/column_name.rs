//! T065: names of columns are plain words, so that they are the same on every database.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::analysis::Occurrences;
use crate::topology::graph::flat_name;

pub(super) const RULE: Rule = Rule {
    code: "T065",
    severity: Severity::Error,
    title: "a column cannot have this name",
    check,
};

/// MySQL's limit for identifiers.
const LONGEST: usize = 64;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        let mut occurrences = Occurrences::default();
        for (name, _) in &sink.columns {
            let place = occurrences
                .place(Place::node(number).key("columns"), name)
                .name();
            let Some(reason) = reason(name, LONGEST) else {
                continue;
            };
            let message = format!("a column cannot be called `{name}`: {reason}");
            let help = "use letters, digits and `_`, not beginning with a digit";
            out.push(RULE.finding(place, message).help(help));
        }
        let before = &cx.analysis.before[number];
        if !sink.columns.is_empty() || before.has_open_part() {
            continue;
        }
        // Without columns those of the fields are taken.
        for (field, _) in before.fields() {
            let name = flat_name(field);
            if let Some(reason) = reason(name.as_str(), LONGEST) {
                let message =
                    format!("the column of the field `{field}` cannot be called so: {reason}");
                let help = "say which columns there are: `columns: { name: expression, … }`; a \
                            field with such a name stands in backticks in an expression";
                let place = Place::node(number).key("columns");
                out.push(RULE.finding(place, message).help(help));
            }
        }
    }
}

/// Why this cannot be the name of a table or column.
pub(super) fn reason(name: &str, longest: usize) -> Option<String> {
    if name.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if name.len() > longest {
        return Some(format!(
            "it has {} characters, {longest} are allowed",
            name.len()
        ));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Some("it begins with a digit".to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .find(|&c| !allowed(c))
        .map(|bad| format!("it contains {bad:?}"))
}
