//! T129: a row that is deleted is found by what its record's key says.

use std::collections::HashMap;

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{NodeKind, NullValues, Side};
use crate::value::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "T129",
    severity: Severity::Warning,
    title: "the key of a table has a column that is not known of deleted rows",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut deletions = Deletions {
        cx,
        known: HashMap::new(),
    };
    for (number, sink) in cx.sql_sinks() {
        let Some(from) = cx.analysis.inputs[number][0] else {
            continue;
        };
        let Known::Only(fields) = deletions.behind(from) else {
            continue;
        };
        for name in &sink.key {
            let column = sink.columns.iter().find(|(column, _)| column == name);
            let Some((column, expression)) = column else {
                continue;
            };
            let unknown = expression.paths().into_iter();
            let mut unknown = unknown.filter(|path| !fields.contains(path));
            let Some(unknown) = unknown.next() else {
                continue;
            };
            let message = format!(
                "rows of `{}` are deleted too, and of a deleted one `{unknown}` is not known",
                sink.table
            );
            let known = match fields.first() {
                None => "`record_key()`, or the field that the source names as `key`".to_owned(),
                Some(field) => format!("`record_key()` or `{field}`"),
            };
            let help =
                format!("leave `{column}` out of `key`, or fill it from what is known: {known}");
            let place = Place::node(number).key("columns").entry(column, 0);
            out.push(RULE.finding(place, message).help(help));
        }
    }
}

/// The fields that a deletion has.
#[derive(Clone, PartialEq)]
enum Known {
    /// No deletions come, or it cannot be said what they have.
    Unsaid,
    /// These, which come from the record's key.
    Only(Vec<FieldPath>),
}

struct Deletions<'c, 'a> {
    cx: &'c Context<'a>,
    known: HashMap<usize, Known>,
}

impl Deletions<'_, '_> {
    /// What is known of deletions behind a node.
    fn behind(&mut self, number: usize) -> Known {
        if let Some(known) = self.known.get(&number) {
            return known.clone();
        }
        // Until it is known, for nodes that read from themselves.
        self.known.insert(number, Known::Unsaid);
        let known = self.find(number);
        self.known.insert(number, known.clone());
        known
    }

    fn find(&mut self, number: usize) -> Known {
        let Some(kind) = &self.cx.nodes[number].kind else {
            return Known::Unsaid;
        };
        match kind {
            NodeKind::Source(source) => match source.null_values {
                NullValues::Pass => Known::Only(source.key.iter().cloned().collect()),
                NullValues::Refuse => Known::Unsaid,
            },
            NodeKind::Filter(_)
            | NodeKind::Branch(_)
            | NodeKind::Arm(_)
            | NodeKind::Log(_)
            | NodeKind::ToStream(_)
            | NodeKind::Table(_) => self.before(number, Side::Left),
            NodeKind::Map(map) => match self.before(number, Side::Left) {
                Known::Unsaid => Known::Unsaid,
                Known::Only(mut fields) => {
                    for (field, expression) in &map.set {
                        let paths = expression.paths();
                        let is_known = paths.iter().all(|path| fields.contains(path));
                        fields.retain(|known| known != field && !known.lies_in(field));
                        if is_known {
                            fields.push(field.clone());
                        }
                    }
                    Known::Only(fields)
                }
            },
            // Only of two tables, whose rows can go: a record of a stream is handled by `on_error`.
            NodeKind::Join(_) if !self.is_of_tables(number) => Known::Unsaid,
            NodeKind::Join(join) if join.on.is_none() => {
                let left = self.before(number, Side::Left);
                match (left, self.before(number, Side::Right)) {
                    (Known::Only(mut left), Known::Only(right)) => {
                        let right = right.iter().map(|field| join.prefix.join(field));
                        left.extend(right);
                        Known::Only(left)
                    }
                    _ => Known::Unsaid,
                }
            }
            NodeKind::Join(_) => self.before(number, Side::Left),
            _ => Known::Unsaid,
        }
    }

    fn is_of_tables(&self, join: usize) -> bool {
        let analysis = &self.cx.analysis;
        let mut sides = analysis.inputs[join].iter();
        sides.all(|side| side.is_some_and(|side| analysis.after[side].replace()))
    }

    fn before(&mut self, number: usize, side: Side) -> Known {
        match self.cx.analysis.inputs[number].get(side as usize) {
            Some(Some(before)) => self.behind(*before),
            _ => Known::Unsaid,
        }
    }
}
