//! T024: a field that is almost called like a declared one is probably meant to be that one.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::nearest::nearest;
use crate::topology::shape::{Lookup, Shape};
use crate::value::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "T024",
    severity: Severity::Warning,
    title: "a field is not declared, but one with a similar name is",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for checked in &cx.analysis.expressions {
        let number = checked.place.node.expect("expressions stand in nodes");
        let before = &cx.analysis.before[number];
        for (lookup, path) in &checked.reads {
            if *lookup != Lookup::Undeclared {
                continue;
            }
            let Some(finding) = finding(checked.place.clone(), path, before) else {
                continue;
            };
            out.push(match checked.range_of(path) {
                Some(range) => finding.within(range),
                None => finding,
            });
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
            let Some(path) = path else {
                continue;
            };
            if shape.lookup(path) == Lookup::Undeclared {
                out.extend(finding(Place::node(number).key(key), path, &shape));
            }
        }
    }
    for (number, aggregate) in cx.aggregates() {
        let before = &cx.analysis.before[number];
        for (item, path) in aggregate.by.iter().enumerate() {
            if before.lookup(path) == Lookup::Undeclared {
                out.extend(finding(
                    Place::node(number).key("by").item(item),
                    path,
                    before,
                ));
            }
        }
    }
}

fn finding(place: Place, path: &FieldPath, before: &Shape) -> Option<Finding> {
    let meant = before
        .fields()
        .iter()
        .find(|(known, _)| looks_like(path, known))?;
    let message = format!("the field `{path}` is not declared");
    let help = format!("did you mean `{}`? Declare the field if it exists", meant.0);
    Some(RULE.finding(place, message).help(help))
}

/// Whether the two differ in one name of the path, and there by a slip of the pen.
fn looks_like(path: &FieldPath, known: &FieldPath) -> bool {
    if path.segments().count() != known.segments().count() {
        return false;
    }
    let mut different = path
        .segments()
        .zip(known.segments())
        .filter(|(a, b)| a != b);
    match (different.next(), different.next()) {
        (Some((written, known)), None) => nearest(written, [known]).is_some(),
        _ => false,
    }
}
