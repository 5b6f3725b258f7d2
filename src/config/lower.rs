//! From the tree of a file to calls of the builder.

use std::ops::Range;

use super::document::{Content, Entry, Value};
use super::environment::{Environment, Unresolved, expand};
use super::keys::{Findings, Keys};
use super::problem::{BAD_REFERENCE, NOT_ONE_KIND, UNDEFINED_VARIABLE, UNKNOWN_KIND, WRONG_TYPE};
use super::report::Diagnostic;
use super::{nodes, quoting};
use crate::topology::builder::Builder;
use crate::topology::finding::Place;
use crate::topology::graph::{Guarantee, Topology};
use crate::topology::nearest::did_you_mean;

const GUARANTEE: &[(&str, Guarantee)] = &[
    ("exactly_once", Guarantee::ExactlyOnce),
    ("at_least_once", Guarantee::AtLeastOnce),
];

/// Where the nodes of the builder stand in the file: by number.
pub(super) type Sites<'d> = Vec<Site<'d>>;

/// Where a node stands.
#[derive(Clone)]
pub(super) struct Site<'d> {
    pub name_span: Range<usize>,
    /// The word for its kind, and its keys; none when it could not be read.
    pub kind: Option<&'d Entry>,
}

/// Replaces the references to the environment in all texts (not in keys).
pub(super) fn expand_all(
    value: &mut Value,
    source: &str,
    environment: &Environment<'_>,
    findings: &mut Findings,
) {
    match &mut value.content {
        Content::Null | Content::Broken => {}
        Content::List(items) => {
            for item in items {
                expand_all(item, source, environment, findings);
            }
        }
        Content::Map(entries) => {
            for entry in entries {
                expand_all(&mut entry.value, source, environment, findings);
            }
        }
        Content::Scalar(text) => match expand(text, environment) {
            Ok(None) => {}
            Ok(Some(expanded)) => *text = expanded,
            Err(unresolved) => {
                for reference in &unresolved {
                    let diagnostic = unresolved_reference(reference, text, &value.span, source);
                    findings.diagnostics.push(diagnostic);
                }
                value.content = Content::Broken;
            }
        },
    }
}

fn unresolved_reference(
    reference: &Unresolved,
    text: &str,
    span: &Range<usize>,
    source: &str,
) -> Diagnostic {
    let at = |range: &Range<usize>| {
        let inside = quoting::locate(&source[span.clone()], text, range);
        Some(inside.map_or(span.clone(), |inside| {
            inside.start + span.start..inside.end + span.start
        }))
    };
    match reference {
        Unresolved::Undefined { name, range } => {
            let message = format!("the environment variable `{name}` is not set");
            let help = format!("set it, or give a default: `${{{name}:-default}}`");
            UNDEFINED_VARIABLE.at(at(range), message).help(help)
        }
        Unresolved::Malformed { range } => {
            let message = "this is not a reference to an environment variable";
            let help = "write `${NAME}` or `${NAME:-default}`; `$${` stands for `${`";
            BAD_REFERENCE.at(at(range), message).help(help)
        }
    }
}

/// A file that has been read.
pub(super) struct Lowered<'d> {
    pub builder: Builder,
    pub sites: Sites<'d>,
    /// Its tests, which are read when the topology is known.
    pub tests: Option<&'d Entry>,
}

/// The keys of the file itself.
pub(super) struct FileKeys<'d> {
    app: &'d str,
    guarantee: Option<Guarantee>,
    nodes: Option<&'d Entry>,
    tests: Option<&'d Entry>,
}

/// Reads the keys of the file itself.
pub(super) fn read_file<'d>(keys: &mut Keys<'d, '_>) -> FileKeys<'d> {
    FileKeys {
        app: keys.required("app"),
        guarantee: keys.choice("guarantee", GUARANTEE),
        nodes: keys.entry("nodes"),
        tests: keys.entry("tests"),
    }
}

/// Calls the builder for everything in the file.
pub(super) fn lower<'d>(root: &'d Value, findings: &mut Findings) -> Lowered<'d> {
    let start = root.span.start..root.span.start;
    let mut keys = Keys::new(root, start, Place::default(), None, findings);
    let file = read_file(&mut keys);
    keys.finish();
    let mut builder = Topology::builder(file.app);
    if let Some(guarantee) = file.guarantee {
        builder = builder.guarantee(guarantee);
    }
    let mut sites = Vec::new();
    for entry in file
        .nodes
        .map(|nodes| node_entries(nodes, findings))
        .unwrap_or_default()
    {
        let (site, with_node) = node(entry, builder, findings);
        builder = with_node;
        // A branch adds its arms as well, and they stand where it does.
        sites.resize(builder.len(), site);
    }
    for place in findings.reported.drain(..) {
        builder = builder.already_reported(place);
    }
    Lowered {
        builder,
        sites,
        tests: file.tests,
    }
}

fn node_entries<'d>(nodes: &'d Entry, findings: &mut Findings) -> &'d [Entry] {
    match &nodes.value.content {
        Content::Map(entries) => entries,
        Content::Null | Content::Broken => &[],
        Content::Scalar(_) | Content::List(_) => {
            let message = format!("expected a mapping of nodes, found {}", nodes.value.kind());
            let help = "write `name: { kind: { … } }` for each node";
            let diagnostic = WRONG_TYPE.at(Some(nodes.span()), message).help(help);
            findings.diagnostics.push(Diagnostic {
                key: Some("nodes".to_owned()),
                ..diagnostic
            });
            findings.reported.push(Place::topology("nodes"));
            &[]
        }
    }
}

/// Adds the node of an entry `name: { kind: { … } }`.
fn node<'d>(entry: &'d Entry, builder: Builder, findings: &mut Findings) -> (Site<'d>, Builder) {
    let name = entry.key.as_str();
    let name_span = entry.key_span.clone();
    let Some((kind, read)) = only_kind(entry, findings) else {
        let kind = None;
        return (Site { name_span, kind }, builder.unreadable(name));
    };
    let (anchor, place) = (kind.key_span.clone(), Place::node(builder.len()));
    let mut keys = Keys::new(&kind.value, anchor, place, Some(name), findings);
    let mut builder = read(&mut keys, name, builder);
    if keys.has_gaps() {
        builder = builder.with_gaps();
    }
    keys.finish();
    let kind = Some(kind);
    (Site { name_span, kind }, builder)
}

/// The one kind of a node, if it is a known one, and how it is read.
fn only_kind<'d>(entry: &'d Entry, findings: &mut Findings) -> Option<(&'d Entry, nodes::Read)> {
    let kinds = match &entry.value.content {
        Content::Map(kinds) => kinds.as_slice(),
        _ => &[],
    };
    let diagnostic = match kinds {
        [kind] => match nodes::reader(&kind.key) {
            Some(read) => return Some((kind, read)),
            None => unknown_kind(kind),
        },
        kinds => not_one_kind(entry, kinds),
    };
    findings.diagnostics.push(Diagnostic {
        node: Some(entry.key.clone()),
        ..diagnostic
    });
    None
}

/// What is said of a kind that no file can have.
const RUST_ONLY: &str = "a processor is Rust code: build the topology in Rust \
                         (docs/PROCESSORS.md says how it is written and run)";

fn unknown_kind(kind: &Entry) -> Diagnostic {
    let message = format!("there is no kind of node `{}`", kind.key);
    let help = match kind.key.as_str() {
        "process" => Some(RUST_ONLY.to_owned()),
        key => match nodes::called_elsewhere(key) {
            Some(ours) => Some(format!("here that is {ours}")),
            None => did_you_mean(key, "kinds of nodes", nodes::words()),
        },
    };
    let diagnostic = UNKNOWN_KIND.at(Some(kind.key_span.clone()), message);
    diagnostic.maybe_help(help)
}

fn not_one_kind(entry: &Entry, found: &[Entry]) -> Diagnostic {
    let is_known = |kind: &&Entry| nodes::reader(&kind.key).is_some();
    let quoted = |kind: &Entry| format!("`{}`", kind.key);
    let known: Vec<String> = found.iter().filter(is_known).map(quoted).collect();
    let name = &entry.key;
    let message = match known.as_slice() {
        [] => format!("the node `{name}` has no kind"),
        [_] => format!("the node `{name}` has keys beside its kind"),
        known => format!("the node `{name}` has several kinds: {}", known.join(", ")),
    };
    let words = || nodes::words().collect::<Vec<_>>().join(", ");
    let (place, help) = match (known.as_slice(), kind_as_value(found)) {
        ([kind], _) => {
            let mut beside = found.iter().filter(|other| !is_known(other));
            let names: Vec<String> = beside.clone().map(quoted).collect();
            let place = beside.next().unwrap_or(entry);
            let names = names.join(", ");
            (
                place,
                format!("the keys of a node stand inside of its kind: indent {names} below {kind}"),
            )
        }
        ([], Some(kind)) => (
            entry,
            format!("the kind is the key: write `{name}: {{ {kind}: {{ … }} }}`"),
        ),
        _ => {
            let help = format!(
                "write `{name}: {{ kind: {{ … }} }}`; the kinds: {}",
                words()
            );
            (entry, help)
        }
    };
    let diagnostic = NOT_ONE_KIND.at(Some(place.key_span.clone()), message);
    diagnostic.help(help)
}

/// The kind in `{ kind: kafka, from: … }`, as other programs write it.
fn kind_as_value(found: &[Entry]) -> Option<&str> {
    let mut said = found
        .iter()
        .filter(|entry| ["kind", "type"].contains(&entry.key.as_str()));
    let Content::Scalar(word) = &said.next()?.value.content else {
        return None;
    };
    nodes::reader(word).map(|_| word.as_str())
}
