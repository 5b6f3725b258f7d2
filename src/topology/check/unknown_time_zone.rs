//! T114: time zones are those of the database that the program brings along.

use super::{Context, Finding, Rule, Severity};
use crate::topology::builder::Problem;
use crate::topology::nearest::nearest;
use crate::window::Zone;

pub(super) const RULE: Rule = Rule {
    code: "T114",
    severity: Severity::Error,
    title: "a time zone is none",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        if let Problem::UnknownZone(name) = problem {
            let message = format!("there is no time zone `{name}`");
            let help = match nearest_zone(name) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "write a name such as `Europe/Berlin`, `America/New_York` or `UTC`".to_owned()
                }
            };
            out.push(RULE.finding(place.clone(), message).help(help));
        }
    }
}

/// The zone that was probably meant: of nearly this name, or of this city.
fn nearest_zone(name: &str) -> Option<&'static str> {
    let same = Zone::names().find(|known| known.eq_ignore_ascii_case(name));
    let city = |known: &&'static str| known.rsplit('/').next().unwrap_or(known);
    let of_city = || Zone::names().find(|known| city(known).eq_ignore_ascii_case(name));
    same.or_else(of_city)
        .or_else(|| nearest(name, Zone::names()))
}
