//! Where ours does something else, and why. What it does instead is said in docs/SEMANTICS.md.

use super::case::{Case, Output};
use super::play::Played;

/// What a case may give in place of what was recorded.
pub struct Deviation {
    pub reason: &'static str,
    holds: fn(&Case, &Played) -> bool,
}

impl Deviation {
    /// How a case may differ, if it may.
    pub fn of(case: &Case) -> Option<Deviation> {
        let is = |tag: &str| case.tags.iter().any(|t| t == tag);
        match () {
            () if is("throttle") => Some(Deviation {
                reason: "what is due leaves with the next commit, not once a second",
                holds: leaves_sooner,
            }),
            () if is("quirk") && is("retention") => Some(Deviation {
                reason: "what is still of use is kept, whatever the retention says",
                holds: nothing_is_lost,
            }),
            () if case.family == "hopping" && has_null_results(case) => Some(Deviation {
                reason: "panes do not tell whether a record without a value came first",
                holds: times_may_be_later,
            }),
            () if case.operator.text("materialized") == "source" => Some(Deviation {
                reason: "a map that gives nothing, as before, tells of no deletion",
                holds: fewer_deletions,
            }),
            () => None,
        }
    }

    /// Whether a case that differs does so in this way.
    pub fn explains(&self, case: &Case, found: &Played) -> bool {
        (self.holds)(case, found)
    }
}

/// Whether a window may have records and no result.
fn has_null_results(case: &Case) -> bool {
    matches!(case.operator.text("aggregate"), "min" | "max")
}

/// The same results; a record without a value may count for the time of a result that it came before.
fn times_may_be_later(case: &Case, found: &Played) -> bool {
    let mut pairs = case.output.iter().zip(&found.output);
    case.output.len() == found.output.len()
        && pairs.all(|(theirs, mine)| {
            let theirs_then = Output {
                timestamp_ms: mine.timestamp_ms,
                ..theirs.clone()
            };
            theirs_then == *mine && theirs.timestamp_ms <= mine.timestamp_ms
        })
}

/// The same rows, and no deletion that was not recorded.
fn fewer_deletions(case: &Case, found: &Played) -> bool {
    let rows = |output: &[Output]| -> Vec<Output> {
        let rows = output.iter().filter(|each| !each.value.is_null());
        rows.cloned().collect()
    };
    let mut deletions = found.output.iter().filter(|each| each.value.is_null());
    rows(&case.output) == rows(&found.output) && deletions.all(|each| case.output.contains(each))
}

/// All results that were recorded, none of them later; some that were still to come may be there as well.
fn leaves_sooner(case: &Case, found: &Played) -> bool {
    let mut found: Vec<&Output> = found.output.iter().collect();
    case.output.iter().all(|theirs| {
        let same = found.iter().position(|mine| {
            let is_of_time = match case.family == "hopping" && has_null_results(case) {
                true => mine.timestamp_ms >= theirs.timestamp_ms,
                false => mine.timestamp_ms == theirs.timestamp_ms,
            };
            mine.after_input <= theirs.after_input
                && (&mine.topic, &mine.key, mine.window)
                    == (&theirs.topic, &theirs.key, theirs.window)
                && mine.value == theirs.value
                && is_of_time
        });
        same.map(|at| found.swap_remove(at)).is_some()
    })
}

/// No key has fewer results.
fn nothing_is_lost(case: &Case, found: &Played) -> bool {
    let results = |output: &[Output], key: &Option<String>| {
        let of_key = output.iter().filter(|each| each.key == *key);
        of_key.filter(|each| !each.value.is_null()).count()
    };
    let mut recorded = case.output.iter();
    recorded.all(|each| results(&found.output, &each.key) >= results(&case.output, &each.key))
}
