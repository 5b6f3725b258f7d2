//! T059: an argument of an aggregate function that has to be the same for all records.

use super::{Context, Finding, Rule, Severity};
use crate::topology::aggregation::{AggregationError, Setting, Signature};
use crate::topology::builder::Problem;

pub(super) const RULE: Rule = Rule {
    code: "T059",
    severity: Severity::Error,
    title: "a constant of an aggregate function is none, or out of bounds",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        let Problem::Aggregation(AggregationError::Setting {
            signature,
            found,
            range,
        }) = problem
        else {
            continue;
        };
        let (usage, wanted) = (signature.usage, signature.setting.words());
        let message = format!("`{usage}` takes {wanted}, found `{found}`");
        let finding = RULE.finding(place.clone(), message);
        out.push(
            finding
                .help(help_for(signature, found))
                .within(range.clone()),
        );
    }
}

fn help_for(signature: &Signature, found: &str) -> String {
    let percent = found.trim().parse::<f64>().ok();
    match (signature.setting, percent) {
        (Setting::Share(_), Some(percent)) if percent > 1.0 && percent <= 100.0 => {
            format!("write `{}`: 1 is all of them", percent / 100.0)
        }
        (setting, _) => format!(
            "write a constant, such as `{}(x, {})`",
            signature.name,
            setting.example()
        ),
    }
}
