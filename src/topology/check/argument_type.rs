//! T049: an argument of an aggregate function that can never be right.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::aggregation::Aggregation;
use crate::topology::analysis::Occurrences;

pub(super) const RULE: Rule = Rule {
    code: "T049",
    severity: Severity::Error,
    title: "an aggregate function does not take values of this type",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let mut occurrences = Occurrences::default();
        for (field, aggregation) in &aggregate.set {
            let set = Place::node(number).key("set");
            let place = occurrences.place(set, field.as_str());
            check_arguments(cx, &place, aggregation, out);
        }
    }
}

fn check_arguments(
    cx: &Context<'_>,
    place: &Place,
    aggregation: &Aggregation,
    out: &mut Vec<Finding>,
) {
    let signature = aggregation.signature();
    let all = cx.analysis.expressions.iter();
    let arguments = all.filter(|checked| checked.place == *place);
    for (number, checked) in arguments.enumerate() {
        let Ok(found) = checked.outcome else { continue };
        let takes = signature.takes(number);
        if takes.allows(found) {
            continue;
        }
        let (usage, wanted) = (signature.usage, takes.words());
        let text = checked.expression.text();
        let message = format!("`{usage}` takes {wanted}, `{text}` is of type {found}");
        let help =
            "name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`";
        let finding = RULE.finding(place.clone(), message).help(help);
        out.push(match &checked.part {
            Some(part) => finding.within(part.clone()),
            None => finding,
        });
    }
}
