//! T022: each field, column, branch, input or part of a key is named once.

use std::collections::HashMap;

use super::{Context, Finding, Place, Rule, Severity};
use crate::expr::Expression;
use crate::topology::graph::{GlobalTable, NodeKind, NodeName};

pub(super) const RULE: Rule = Rule {
    code: "T022",
    severity: Severity::Error,
    title: "a field or column is named twice",
    check,
};

/// The names under one key of a node.
struct Names<'a> {
    key: &'static str,
    names: Vec<&'a str>,
    /// A list, as in `by: [a, b]`, or entries, as in `set: { a: …, b: … }`.
    is_list: bool,
    /// Databases do not tell `Title` from `title` in the names of columns.
    ignore_case: bool,
}

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        for names in names(kind) {
            names.check(&Place::node(number).key(names.key), out);
        }
    }
}

fn names(kind: &NodeKind) -> Vec<Names<'_>> {
    match kind {
        NodeKind::Source(source) | NodeKind::GlobalTable(GlobalTable { source }) => {
            vec![Names::entries(
                "fields",
                source.fields.iter().map(|(path, _)| path.as_str()),
            )]
        }
        NodeKind::Map(map) => {
            vec![Names::entries(
                "set",
                map.set.iter().map(|(path, _)| path.as_str()),
            )]
        }
        NodeKind::Aggregate(node) => vec![
            Names::list("by", node.by.iter().map(|path| path.as_str())),
            Names::entries("set", node.set.iter().map(|(path, _)| path.as_str())),
        ],
        NodeKind::Deduplicate(node) => {
            vec![Names::list("by", node.by.iter().map(Expression::text))]
        }
        NodeKind::Process(node) => vec![
            Names::entries("reads", node.reads.iter().map(|(name, _)| name.as_str())),
            Names::entries("gives", node.gives.iter().map(|(path, _)| path.as_str())),
            Names::list(
                "stores",
                node.stores.iter().map(|store| store.name.as_str()),
            ),
        ],
        NodeKind::Sql(sink) => vec![
            Names {
                ignore_case: true,
                ..Names::entries(
                    "columns",
                    sink.columns.iter().map(|(name, _)| name.as_str()),
                )
            },
            Names {
                ignore_case: true,
                ..Names::list("key", sink.key.iter().map(String::as_str))
            },
        ],
        NodeKind::Kafka(sink) => {
            vec![Names::entries(
                "fields",
                sink.fields.iter().map(|(name, _)| name.as_str()),
            )]
        }
        NodeKind::Branch(branch) => {
            let default = branch.default.iter();
            vec![Names::entries(
                "branches",
                branch
                    .arms
                    .iter()
                    .map(|(name, _)| name)
                    .chain(default)
                    .map(String::as_str),
            )]
        }
        NodeKind::Merge(merge) => {
            vec![Names::list("from", merge.from.iter().map(NodeName::as_str))]
        }
        NodeKind::Filter(_)
        | NodeKind::FlatMap(_)
        | NodeKind::SelectKey(_)
        | NodeKind::Arm(_)
        | NodeKind::ToStream(_)
        | NodeKind::Log(_)
        | NodeKind::Table(_)
        | NodeKind::Suppress(_)
        | NodeKind::Join(_) => Vec::new(),
    }
}

impl<'a> Names<'a> {
    fn entries(key: &'static str, names: impl Iterator<Item = &'a str>) -> Names<'a> {
        Names {
            key,
            names: names.collect(),
            is_list: false,
            ignore_case: false,
        }
    }

    fn list(key: &'static str, names: impl Iterator<Item = &'a str>) -> Names<'a> {
        Names {
            is_list: true,
            ..Names::entries(key, names)
        }
    }

    fn check(&self, list: &Place, out: &mut Vec<Finding>) {
        let mut first_of: HashMap<String, usize> = HashMap::new();
        for (index, name) in self.names.iter().enumerate() {
            let same = if self.ignore_case {
                name.to_lowercase()
            } else {
                (*name).to_owned()
            };
            let first = *first_of.entry(same).or_insert(index);
            if first != index {
                let message = format!("`{name}` is named twice");
                let finding = RULE.finding(self.place(list, index), message);
                let finding = finding.help("name it once");
                out.push(finding.related(self.place(list, first), "the first one is here"));
            }
        }
    }

    fn place(&self, list: &Place, index: usize) -> Place {
        if self.is_list {
            return list.clone().item(index);
        }
        let name = self.names[index];
        let nth = self.names[..index]
            .iter()
            .filter(|other| **other == name)
            .count();
        list.clone().entry(name, nth).name()
    }
}
