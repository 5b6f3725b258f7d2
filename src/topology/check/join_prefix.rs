//! T084: what a join adds must not hide what is there.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::Side;

pub(super) const RULE: Rule = Rule {
    code: "T084",
    severity: Severity::Error,
    title: "a join hides a field of its left side",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        let Some(left) = cx.analysis.inputs[number][Side::Left as usize] else {
            continue;
        };
        let prefix = &join.prefix;
        let fields = cx.analysis.after[left].fields();
        let hidden = fields
            .iter()
            .find(|(path, _)| path == prefix || path.lies_in(prefix));
        if let Some((path, _)) = hidden {
            let name = cx.name(left);
            let message =
                format!("`{name}` has the field `{path}`, which could not be seen any more");
            let help = format!("join under another name: `as: {}`", suggested(cx, number));
            let place = Place::node(number).key("as");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}

/// The name of the right side, or that of the join.
fn suggested(cx: &Context<'_>, join: usize) -> String {
    let left = cx.analysis.inputs[join][Side::Left as usize];
    let is_free = |name: &str| left.is_none_or(|left| !cx.analysis.after[left].has(name));
    let right = cx.analysis.inputs[join][Side::Right as usize].map(|right| cx.name(right));
    let candidates = right.into_iter().chain([cx.name(join)]);
    let mut free = candidates.filter(|name| is_free(name) && !name.contains('.'));
    free.next().unwrap_or("joined").to_owned()
}
