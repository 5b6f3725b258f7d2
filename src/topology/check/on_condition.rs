//! T132: `on` is the key of a row, not a condition that rows are held against.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Join, Side};
use crate::value::{FieldPath, ValueType};

pub(super) const RULE: Rule = Rule {
    code: "T132",
    severity: Severity::Error,
    title: "`on` is a condition",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        let place = Place::node(number).key("on");
        let (Some(on), ValueType::Bool) = (&join.on, cx.analysis.type_at(&place)) else {
            continue;
        };
        // A field that is declared so may be a key.
        if on.field().is_some() {
            continue;
        }
        let [left, right] = [Side::Left, Side::Right].map(|side| &join.inputs[side as usize]);
        let message = format!(
            "`{}` is true or false: `on` gives the key of the row of `{right}` that is looked up",
            on.text()
        );
        let help = match key_in(join) {
            Some(key) => format!(
                "name what of a record of `{left}` is that key: `on: {key}`; the key of `{right}` is \
                 that of its topic"
            ),
            None => format!("name what of a record of `{left}` is that key"),
        };
        out.push(RULE.finding(place, message).help(help));
    }
}

/// The field that is compared with the key of the row: the first that does not lie in the row.
fn key_in(join: &Join) -> Option<FieldPath> {
    let [left, right] = [Side::Left, Side::Right].map(|side| join.inputs[side as usize].as_str());
    let mut paths = join.on.as_ref()?.paths().into_iter();
    let path = paths.find(|path| path.root() != right && path.root() != join.prefix.root())?;
    let inside = path.inside(&FieldPath::new(path.root()));
    Some(match inside {
        Some(inside) if path.root() == left => inside,
        _ => path,
    })
}
