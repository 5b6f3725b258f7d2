//! T111: a store belongs to one processor, unless all that use it say that they share it: each may
//! change what the others have written.

use std::collections::HashMap;

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{NodeKind, NodeName};

pub(super) const RULE: Rule = Rule {
    code: "T111",
    severity: Severity::Error,
    title: "two processors have one store",
    check,
};

/// A place in which a store is named.
pub(super) struct Use<'a> {
    pub number: usize,
    pub item: usize,
    pub name: &'a NodeName,
    pub is_shared: bool,
}

impl Use<'_> {
    pub fn place(&self) -> Place {
        Place::node(self.number).key("stores").item(self.item)
    }
}

/// Where stores are named.
pub(super) fn uses<'a>(cx: &Context<'a>) -> impl Iterator<Item = Use<'a>> {
    cx.kinds().flat_map(|(number, kind)| {
        let stores = match kind {
            NodeKind::Process(process) => process.stores.as_slice(),
            _ => &[],
        };
        stores.iter().enumerate().map(move |(item, store)| Use {
            number,
            item,
            name: &store.name,
            is_shared: store.is_shared,
        })
    })
}

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut first_of: HashMap<&NodeName, Use<'_>> = HashMap::new();
    for used in uses(cx) {
        let Some(first) = first_of.get(used.name) else {
            first_of.insert(used.name, used);
            continue;
        };
        if first.number == used.number || (first.is_shared && used.is_shared) {
            continue;
        }
        let (a, b) = (cx.name(first.number), cx.name(used.number));
        let message = format!("`{a}` and `{b}` both have a store `{}`", used.name);
        let help = "give each a store of its own name, or name it with `shared_store` in both, if \
                    they are to work on the same entries";
        let finding = RULE.finding(used.place(), message).help(help);
        out.push(finding.related(first.place(), "the first one is here"));
    }
}
