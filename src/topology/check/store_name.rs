//! T110: a store of processors becomes a part of the name of its changelog, as a node does.

use super::node_name::reason;
use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T110",
    severity: Severity::Error,
    title: "the name of a store cannot be used",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Process(process) = kind else {
            continue;
        };
        for (item, store) in process.stores.iter().enumerate() {
            let (name, place) = (&store.name, Place::node(number).key("stores").item(item));
            if let Some(reason) = reason(name.as_str()) {
                let message = format!("`{name}` cannot be the name of a store: {reason}");
                let help = "use lower-case letters, digits and `_`, beginning with a letter";
                out.push(RULE.finding(place, message).help(help));
            } else if let Some(node) = cx.number_of(name) {
                let message = format!("a node is called `{name}` as well, and may keep state");
                let finding = RULE
                    .finding(place, message)
                    .help("give the store another name");
                out.push(finding.related(Place::node(node), "the node is here"));
            }
        }
    }
}
