//! T096: a task sees the records of one partition, so equal ones have to be in one.

use std::collections::HashMap;

use super::duplicate_updates::replaced_by;
use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Deduplicate, NodeKind};
use crate::topology::plan::Keys;

pub(super) const RULE: Rule = Rule {
    code: "T096",
    severity: Severity::Error,
    title: "records with equal keys may be in different partitions",
    check,
};

/// By the number of the node; none where something about it is not known.
type Known = HashMap<usize, Option<Keys>>;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut known = Known::new();
    for (number, kind) in cx.kinds() {
        let NodeKind::Deduplicate(node) = kind else {
            continue;
        };
        if replaced_by(cx, number).is_some() {
            continue;
        }
        let Some(keys) = keys_before(cx, number, &mut known).filter(|keys| !keys.hold(node)) else {
            continue;
        };
        if let Some(by) = node.by.first() {
            let message = format!(
                "records with equal `{}` may be in different partitions",
                by.text()
            );
            let place = Place::node(number).key("by");
            let is_keyed = is_keyed(cx, number);
            out.push(
                RULE.finding(place, message)
                    .help(help_for(node, &keys, is_keyed)),
            );
        }
    }
}

/// Whether records come from sources that name their key, or have got another one since.
fn is_keyed(cx: &Context<'_>, number: usize) -> bool {
    let passes = |kind: &NodeKind| kind.is_stateless() && !matches!(kind, NodeKind::SelectKey(_));
    let mut origins = cx.origins(&cx.analysis.inputs[number], passes).into_iter();
    origins.any(|at| match &cx.nodes[at].kind {
        Some(NodeKind::Source(source)) => source.key.is_some(),
        _ => true,
    })
}

fn help_for(node: &Deduplicate, keys: &Keys, is_keyed: bool) -> String {
    let first = match (keys.field(), node.by.iter().find_map(|each| each.field())) {
        (None, _) if is_keyed => {
            return "put `record_key()` into `by` too, if equal records have equal keys: then they are moved \
                    to the partition of their key. A `select_key` in front makes another one the key"
                .to_owned();
        }
        (Some(key), _) => {
            format!(
                "the topic is keyed by `{key}`: name it in `by` too, if equal records agree in it"
            )
        }
        (None, Some(field)) => {
            format!("if the topic is keyed by `{field}`, say so: `key: {field}` of the source")
        }
        (None, None) => {
            "name the field in `by` by which the topic is keyed (`key` of the source)".to_owned()
        }
    };
    format!("{first}; or make this the key, by a `select_key` in front, and leave `by` out")
}

/// By which fields the records that reach a node are partitioned.
fn keys_before<'a>(cx: &Context<'a>, number: usize, known: &mut Known) -> Option<Keys> {
    let input = cx.analysis.inputs[number].first().copied().flatten();
    keys_after(cx, input?, known)
}

fn keys_after<'a>(cx: &Context<'a>, number: usize, known: &mut Known) -> Option<Keys> {
    if let Some(keys) = known.get(&number) {
        return keys.clone();
    }
    // Of nodes that read from each other in a circle nothing is known.
    known.insert(number, None);
    let inputs = cx.analysis.inputs[number].iter();
    let inputs = inputs.map(|input| keys_after(cx, (*input)?, known));
    let inputs = inputs.collect::<Option<Vec<_>>>()?;
    let kind = cx.nodes[number].kind.as_ref()?;
    let keys = Keys::after(kind, inputs.iter());
    known.insert(number, Some(keys.clone()));
    Some(keys)
}
