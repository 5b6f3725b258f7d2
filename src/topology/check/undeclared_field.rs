//! T024: a field that is almost called like a declared one is probably meant to be that one; and so
//! is a joined one without the prefix of its join, or with the name of the joined node in its place; or a
//! constant as other languages write it.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::nearest::nearest;
use crate::topology::shape::{Lookup, Shape};
use crate::value::{FieldPath, ValueType};

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
            let place = checked.place.clone();
            // T132 says what to write instead of a condition.
            let is_on = place == Place::node(number).key("on");
            let is_condition = is_on && cx.analysis.type_at(&place) == ValueType::Bool;
            let finding = finding(cx, place.clone(), path, before)
                .or_else(|| in_front_of(cx, number, place, path).filter(|_| !is_condition));
            let Some(finding) = finding else {
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
                out.extend(finding(cx, Place::node(number).key(key), path, &shape));
            }
        }
    }
    for (number, aggregate) in cx.aggregates() {
        let before = &cx.analysis.before[number];
        for (item, path) in aggregate.by.iter().enumerate() {
            if before.lookup(path) == Lookup::Undeclared {
                let place = Place::node(number).key("by").item(item);
                out.extend(finding(cx, place, path, before));
            }
        }
    }
}

fn finding(cx: &Context<'_>, place: Place, path: &FieldPath, before: &Shape) -> Option<Finding> {
    let meant = constant(path)
        .or_else(|| similar(path, before))
        .or_else(|| without_prefix(path, before))
        .or_else(|| by_node(cx, path, before))?;
    let message = format!("the field `{path}` is not declared");
    let help = format!("did you mean `{meant}`? Declare the field if it exists");
    Some(RULE.finding(place, message).help(help))
}

/// A field with the name of a node in front of it, as SQL writes those of a table.
fn in_front_of(cx: &Context<'_>, number: usize, place: Place, path: &FieldPath) -> Option<Finding> {
    let root = path.root();
    let inside = path.inside(&FieldPath::new(root))?;
    let node = upstream(cx, number)
        .into_iter()
        .find(|node| cx.name(*node) == root)?;
    let message = format!(
        "`{path}` is a field inside an object `{root}`, which is not declared; `{}` is a node",
        cx.name(node)
    );
    let help = format!("did you mean `{inside}`? Declare the field if it exists");
    Some(RULE.finding(place, message).help(help))
}

/// All nodes that records come through on their way to this one.
fn upstream(cx: &Context<'_>, number: usize) -> Vec<usize> {
    let mut found = vec![number];
    let mut next = 0;
    while let Some(node) = found.get(next) {
        let inputs = cx.analysis.inputs[*node].iter().flatten();
        let new: Vec<usize> = inputs
            .filter(|input| !found.contains(input))
            .copied()
            .collect();
        found.extend(new);
        next += 1;
    }
    found
}

/// The constant that other languages write so.
fn constant(path: &FieldPath) -> Option<FieldPath> {
    let constant = match path.as_str() {
        "NULL" | "Null" | "None" | "nil" | "undefined" => "null",
        "TRUE" | "True" => "true",
        "FALSE" | "False" => "false",
        _ => return None,
    };
    Some(FieldPath::new(constant))
}

/// The declared field that is almost called so.
fn similar(path: &FieldPath, before: &Shape) -> Option<FieldPath> {
    let mut known = before.fields().iter().map(|(known, _)| known);
    known.find(|known| looks_like(path, known)).cloned()
}

/// The field of what was joined that is called so there, where records declare fields of their own.
fn without_prefix(path: &FieldPath, before: &Shape) -> Option<FieldPath> {
    let is_joined = |known: &FieldPath| {
        let mut joined = before.joined().iter();
        joined.any(|(prefix, _)| known.lies_in(prefix))
    };
    let mut known = before.fields().iter().map(|(known, _)| known);
    if known.all(is_joined) {
        return None;
    }
    let mut meant = before.joined().iter().map(|(prefix, _)| prefix.join(path));
    meant.find(|meant| before.has(meant.as_str()))
}

/// The field of what was joined, if it is named by the node that it comes from, and not by its prefix.
fn by_node(cx: &Context<'_>, path: &FieldPath, before: &Shape) -> Option<FieldPath> {
    let inside = path.inside(&FieldPath::new(path.root()))?;
    let mut joins = cx.joins().map(|(_, join)| join);
    let join = joins.find(|join| {
        let mut joined = before.joined().iter();
        let is_it = join.inputs[1].as_str() == path.root() && join.prefix.root() != path.root();
        is_it && joined.any(|(prefix, _)| *prefix == join.prefix)
    })?;
    Some(join.prefix.join(&inside))
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
