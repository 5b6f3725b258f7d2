//! T012: a topic is read by one source, so that its records are read once and in one way, and is kept
//! in one global table.

use std::collections::HashMap;

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{NodeKind, Source};

pub(super) const RULE: Rule = Rule {
    code: "T012",
    severity: Severity::Error,
    title: "a topic is read twice",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut first_of: HashMap<(&str, bool), Place> = HashMap::new();
    for (place, topic) in cx.source_topics() {
        // A global table reads apart from the records that are processed.
        let read = (topic, is_global(cx, &place));
        let Some(first) = first_of.get(&read) else {
            first_of.insert(read, place);
            continue;
        };
        let finding = if first.node == place.node {
            let message = format!("the topic `{topic}` is named twice");
            RULE.finding(place, message).help("name it once")
        } else {
            two_sources(cx, place, first, topic)
        };
        out.push(finding.related(first.clone(), "it is read here already"));
    }
}

fn two_sources(cx: &Context<'_>, place: Place, first: &Place, topic: &str) -> Finding {
    let name = |place: &Place| cx.name(place.node.expect("topics stand in nodes"));
    let (readers, users) = match is_global(cx, &place) {
        true => ("global tables", "joins can look up"),
        false => ("sources", "nodes can read"),
    };
    let message = format!(
        "the {readers} `{}` and `{}` both read the topic `{topic}`",
        name(first),
        name(&place)
    );
    let differences = match (source(cx, first), source(cx, &place)) {
        (Some(first), Some(second)) => differences(first, second),
        _ => Vec::new(),
    };
    let help = if differences.is_empty() {
        let key = if is_global(cx, &place) {
            "with"
        } else {
            "from"
        };
        format!("several {users} `{key}: {}`", name(first))
    } else {
        format!(
            "one topic is read in one way; the two differ in {}",
            differences.join(", ")
        )
    };
    RULE.finding(place, message).help(help)
}

fn is_global(cx: &Context<'_>, place: &Place) -> bool {
    let kind = place.node.and_then(|node| cx.nodes[node].kind.as_ref());
    matches!(kind, Some(NodeKind::GlobalTable(_)))
}

fn source<'a>(cx: &Context<'a>, place: &Place) -> Option<&'a Source> {
    cx.nodes[place.node?].kind.as_ref()?.source()
}

fn differences(a: &Source, b: &Source) -> Vec<&'static str> {
    let settings = [
        ("format", a.format == b.format),
        ("timestamp", a.timestamp == b.timestamp),
        ("key", a.key == b.key),
        ("id", a.id == b.id),
        ("fields", a.fields == b.fields),
        ("on_error", a.on_error == b.on_error),
    ];
    settings
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect()
}
