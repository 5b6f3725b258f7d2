//! T124: a key is looked up before there is a row.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Join, Side};
use crate::value::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "T124",
    severity: Severity::Error,
    title: "`on` names a field of the row that it is to find",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        let left = cx.analysis.inputs[number][Side::Left as usize];
        // Two streams have no row that is found (T099).
        let finds_a_row = join.within.is_none();
        if let (Some(left), Some(path), true) = (left, of_the_row(join), finds_a_row) {
            let message = format!("`{path}` is a field of the row, which is found by `on`");
            let name = cx.name(left);
            let help = format!(
                "name what of a record of `{name}` is the key of the row: `on` sees that record alone"
            );
            let place = Place::node(number).key("on");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}

/// The first field that lies where the row will be.
fn of_the_row(join: &Join) -> Option<FieldPath> {
    let paths = join.on.as_ref()?.paths();
    let mut paths = paths.into_iter();
    paths.find(|path| *path == join.prefix || path.lies_in(&join.prefix))
}
