//! T023: a field that cannot be there.

use super::{Context, Finding, Place, Rule, Severity};
use crate::expr::ExprError;
use crate::topology::nearest::did_you_mean;
use crate::topology::shape::{Lookup, Shape};
use crate::value::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "T023",
    severity: Severity::Error,
    title: "there is no such field",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for checked in &cx.analysis.expressions {
        let errors = checked.type_errors().iter();
        for error in errors.filter(|error| checked.is_absent_field(error)) {
            let finding = RULE.finding(checked.place.clone(), &error.message);
            let range = checked.range_in_place(error);
            out.push(finding.help(help_for(error)).within(range));
        }
    }
    for (number, source) in cx.sources() {
        let shape = Shape::of_source(source);
        let fields = [
            ("key", &source.key),
            ("timestamp", &source.timestamp),
            ("id", &source.id),
        ];
        for (key, path) in fields {
            let path = path.as_ref();
            let path = path.filter(|_| source.format.paths().is_some());
            let place = Place::node(number).key(key);
            out.extend(path.and_then(|path| key_field(place, path, &shape)));
        }
    }
    for (number, aggregate) in cx.aggregates() {
        let before = &cx.analysis.before[number];
        for (item, path) in aggregate.by.iter().enumerate() {
            out.extend(key_field(
                Place::node(number).key("by").item(item),
                path,
                before,
            ));
        }
    }
}

fn help_for(error: &ExprError) -> String {
    let usual = "name a field that can be there, or the one around it";
    error.help.clone().unwrap_or_else(|| usual.to_owned())
}

fn key_field(place: Place, path: &FieldPath, before: &Shape) -> Option<Finding> {
    match before.lookup(path) {
        Lookup::Typed(_) | Lookup::Undeclared => None,
        Lookup::Inside(outer, kind) => {
            let message = format!("`{outer}` is a {kind}, it has no fields");
            Some(
                RULE.finding(place, message)
                    .help(format!("name `{outer}` itself")),
            )
        }
        Lookup::Absent => {
            let known = before.fields().iter().map(|(known, _)| known.as_str());
            let help = did_you_mean(path.as_str(), "fields here", known);
            let message = format!("unknown field `{path}`");
            Some(RULE.finding(place, message).maybe_help(help))
        }
    }
}
