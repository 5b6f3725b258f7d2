//! T112: a store that is said to be shared is so by two.

use super::store_shared::uses;
use super::{Context, Finding, Rule, Severity};
use crate::topology::nearest::nearest;

pub(super) const RULE: Rule = Rule {
    code: "T112",
    severity: Severity::Warning,
    title: "a shared store has one processor only",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for used in uses(cx).filter(|used| used.is_shared) {
        let others = || uses(cx).filter(|other| other.number != used.number);
        if others().any(|other| other.name == used.name) {
            continue;
        }
        let name = used.name;
        let known: Vec<_> = others().map(|other| other.name.as_str()).collect();
        let help = match nearest(name.as_str(), known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name it with `store`, if it is for this node alone".to_owned(),
        };
        let message = format!("no other processor shares the store `{name}`");
        out.push(RULE.finding(used.place(), message).help(help));
    }
}
