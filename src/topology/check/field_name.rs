//! T021: fields that a node makes have plain names.
//!
//! A map sets whole fields. Setting `meta.dt` would mean to rebuild the object `meta` for every
//! record, and what `meta` then holds would depend on who asks; so it is not possible.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::analysis::Occurrences;
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T021",
    severity: Severity::Error,
    title: "a field that a node makes cannot have this name",
    check,
};

/// As long as the name of a column may be.
const LONGEST: usize = 64;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        for (key, name) in named(kind) {
            let place = Place::node(number).key(key);
            out.extend(finding(place, name).filter(|_| !name.is_empty()));
        }
        let (key, names) = made(kind);
        let mut occurrences = Occurrences::default();
        for name in names {
            let place = occurrences.place(Place::node(number).key(key), name).name();
            out.extend(finding(place, name));
        }
    }
}

fn finding(place: Place, name: &str) -> Option<Finding> {
    let reason = reason(name)?;
    let message = format!("a field cannot be called `{name}` here: {reason}");
    let help = match name.contains('.') {
        true => format!("call it `{}`", name.replace('.', "_")),
        false => "use letters, digits and `_`, not beginning with a digit".to_owned(),
    };
    Some(RULE.finding(place, message).help(help))
}

/// The names of fields that stand under a key of their own.
fn named(kind: &NodeKind) -> Vec<(&'static str, &str)> {
    match kind {
        NodeKind::FlatMap(node) => {
            let position = node.position.iter();
            let position = position.map(|name| ("position", name.as_str()));
            [("as", node.element.as_str())]
                .into_iter()
                .chain(position)
                .collect()
        }
        NodeKind::Join(join) => vec![("as", join.prefix.as_str())],
        _ => Vec::new(),
    }
}

/// The names of the fields that a node makes, and the key under which they stand.
fn made(kind: &NodeKind) -> (&'static str, Vec<&str>) {
    match kind {
        NodeKind::Map(map) => (
            "set",
            map.set.iter().map(|(name, _)| name.as_str()).collect(),
        ),
        NodeKind::Aggregate(aggregate) => (
            "set",
            aggregate
                .set
                .iter()
                .map(|(name, _)| name.as_str())
                .collect(),
        ),
        NodeKind::Process(node) => (
            "gives",
            node.gives.iter().map(|(name, _)| name.as_str()).collect(),
        ),
        NodeKind::Kafka(sink) => (
            "fields",
            sink.fields.iter().map(|(name, _)| name.as_str()).collect(),
        ),
        _ => ("set", Vec::new()),
    }
}

fn reason(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if name.contains('.') {
        return Some("only whole fields can be set, not fields inside an object".to_owned());
    }
    if name.len() > LONGEST {
        return Some(format!(
            "it has {} characters, {LONGEST} are allowed",
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
