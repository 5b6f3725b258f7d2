//! T020: the way to a field in a record, `meta.dt`.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{GlobalTable, NodeKind};
use crate::value::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "T020",
    severity: Severity::Error,
    title: "this is not the path of a field",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        for (place, path) in paths(&Place::node(number), kind) {
            let text = path.as_str();
            let usual = "write the names from the outside in, with dots: `meta.dt`";
            let (reason, help) = match reason(text) {
                Some(reason) => (reason, usual.to_owned()),
                None if is_call(text) => {
                    ("it is an expression".to_owned(), map_it(kind).to_owned())
                }
                None if is_declared(cx, number, kind, path) => continue,
                None => match unlike_a_name(text) {
                    Some(found) => (format!("it contains {found:?}"), instead(kind, text)),
                    None => continue,
                },
            };
            let message = format!("`{path}` is not the path of a field: {reason}");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}

fn paths<'k>(node: &Place, kind: &'k NodeKind) -> Vec<(Place, &'k FieldPath)> {
    let at = |key| node.clone().key(key);
    match kind {
        NodeKind::Source(source) | NodeKind::GlobalTable(GlobalTable { source }) => {
            let settings = [
                ("timestamp", &source.timestamp),
                ("key", &source.key),
                ("id", &source.id),
            ];
            let settings = settings
                .into_iter()
                .filter_map(|(key, path)| Some((at(key), path.as_ref()?)));
            let fields = source.fields.iter();
            let fields =
                fields.map(|(path, _)| (at("fields").entry(path.as_str(), 0).name(), path));
            settings.chain(fields).collect()
        }
        NodeKind::Aggregate(aggregate) => {
            let by = aggregate.by.iter().enumerate();
            by.map(|(item, path)| (at("by").item(item), path)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the records are said to have such a field, whatever it is called.
fn is_declared(cx: &Context<'_>, number: usize, kind: &NodeKind, path: &FieldPath) -> bool {
    match kind {
        NodeKind::Source(source) | NodeKind::GlobalTable(GlobalTable { source }) => {
            source.fields.iter().any(|(declared, _)| declared == path)
        }
        _ => {
            let fields = cx.analysis.before[number].fields();
            fields.iter().any(|(field, _)| field == path)
        }
    }
}

/// What fields are hardly ever called: a part of an expression, of a list or of a pattern.
fn unlike_a_name(path: &str) -> Option<char> {
    let is_unlike = |c: char| c.is_whitespace() || ",;(){}[]<>=+*|&?\"'`".contains(c);
    path.chars().find(|c| is_unlike(*c))
}

fn instead(kind: &NodeKind, text: &str) -> String {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_list = names.len() > 1 && names.iter().all(|name| unlike_a_name(name).is_none());
    match (is_list, kind) {
        (true, NodeKind::Aggregate(_)) => {
            format!("several fields are a list: `[{}]`", names.join(", "))
        }
        (true, _) => "one field is named here; of several a `map` node behind the source makes one"
            .to_owned(),
        (false, NodeKind::Aggregate(_)) => format!(
            "{}; if a field has this name, let the source declare it under `fields`",
            map_it(kind)
        ),
        (false, _) => format!(
            "{}; if a field has this name, declare it under `fields`",
            map_it(kind)
        ),
    }
}

/// Whether it is the call of a function, in which a dot means something else.
fn is_call(path: &str) -> bool {
    let name = path.split_once('(').map(|(name, _)| name);
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(char::is_alphabetic)
            && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '.')
    };
    path.ends_with(')') && name.is_some_and(is_name)
}

fn map_it(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Aggregate(_) => {
            "let a `map` node in front set a field to it, and name that field"
        }
        _ => {
            "name a field of the record; what is computed is set by a `map` node behind the source"
        }
    }
}

fn reason(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some("it is empty".to_owned());
    }
    if path.split('.').any(str::is_empty) {
        return Some("there is nothing on one side of a dot".to_owned());
    }
    if path != path.trim() {
        return Some("it begins or ends with a space".to_owned());
    }
    path.chars()
        .find(|c| c.is_control())
        .map(|bad| format!("it contains {bad:?}"))
}
