//! Where ours does something else, and why. What it does instead is said in docs/SEMANTICS.md.

use super::case::{Case, Output, Step};
use super::compare::compare_drops;
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
            () if has_records_without_value(case) => Some(Deviation {
                reason: "panes do not tell whether a record without a value came first",
                holds: times_may_differ,
            }),
            () => None,
        }
    }

    /// Whether a case that differs does so in this way. Nothing is ever said more often than in Kafka
    /// Streams, or once if it is not said there.
    pub fn explains(&self, case: &Case, found: &Played) -> bool {
        is_said_once(case, found) && (self.holds)(case, found)
    }
}

/// Whether a hopping window may have records and no result.
fn has_records_without_value(case: &Case) -> bool {
    case.family == "hopping"
        && matches!(case.operator.text("aggregate"), "min" | "max")
        && records_without_value(case).next().is_some()
}

/// The times of the records that have no value, or may lose it on their way.
fn records_without_value(case: &Case) -> impl Iterator<Item = i64> {
    let steps = case.operator.raw["pre"].as_array();
    let takes_values =
        steps.is_some_and(|steps| steps.iter().any(|step| !step["null_if"].is_null()));
    case.input.iter().filter_map(move |step| match step {
        Step::Record(record) if takes_values || record.value.is_null() => Some(record.timestamp_ms),
        _ => None,
    })
}

/// Whether the times of a result differ by a record without a value, which counts for one of them only.
fn is_told_by_none(case: &Case, theirs: &Output, mine: &Output) -> bool {
    records_without_value(case).any(|time| time == mine.timestamp_ms.max(theirs.timestamp_ms))
}

/// Whether each result is there no more often than it was recorded; one that was not, once.
fn is_said_once(case: &Case, found: &Played) -> bool {
    let is_same = |one: &Output, other: &Output| {
        Output {
            after_input: other.after_input,
            ..one.clone()
        } == *other
    };
    let count = |all: &[Output], each: &Output| all.iter().filter(|one| is_same(one, each)).count();
    let mut mine = found.output.iter();
    mine.all(|each| count(&found.output, each) <= count(&case.output, each).max(1))
}

/// The same results; of records without a value others may count for their times.
fn times_may_differ(case: &Case, found: &Played) -> bool {
    let mut pairs = case.output.iter().zip(&found.output);
    compare_drops(case, found).is_ok()
        && case.output.len() == found.output.len()
        && pairs.all(|(theirs, mine)| {
            let theirs_then = Output {
                timestamp_ms: mine.timestamp_ms,
                ..theirs.clone()
            };
            let is_same = theirs.timestamp_ms == mine.timestamp_ms;
            theirs_then == *mine && (is_same || is_told_by_none(case, theirs, mine))
        })
}

/// Whether a result of a join of streams has one side only. When it leaves depends on all looks before.
fn is_unmatched(case: &Case, output: &Output) -> bool {
    case.is_join() && (output.value["left"].is_null() || output.value["right"].is_null())
}

/// All results that were recorded, none of them later but those of a join without a match; some that were
/// still to come may be there as well.
fn leaves_sooner(case: &Case, found: &Played) -> bool {
    if compare_drops(case, found).is_err() {
        return false;
    }
    let mut found: Vec<&Output> = found.output.iter().collect();
    case.output.iter().all(|theirs| {
        let same = found.iter().position(|mine| {
            let is_of_time = mine.timestamp_ms == theirs.timestamp_ms
                || (has_records_without_value(case) && is_told_by_none(case, theirs, mine));
            (mine.after_input <= theirs.after_input || is_unmatched(case, theirs))
                && (&mine.topic, &mine.key, mine.window)
                    == (&theirs.topic, &theirs.key, theirs.window)
                && mine.value == theirs.value
                && is_of_time
        });
        same.map(|at| found.swap_remove(at)).is_some()
    })
}

/// Every result that was recorded is there: no later and with its value, or as that of a window in which
/// there is more, since nothing of it was forgotten.
fn nothing_is_lost(case: &Case, found: &Played) -> bool {
    let late = case.drops.iter().filter(|drop| drop.reason == "late");
    if found.late > late.map(|drop| drop.count).sum() {
        return false;
    }
    let mut results = case.output.iter().filter(|each| !each.value.is_null());
    results.all(|theirs| {
        let is_it = |mine: &Output| {
            let has_more = match (theirs.window, mine.window) {
                (Some(theirs), Some(mine)) => {
                    mine.start_ms <= theirs.start_ms && mine.end_ms >= theirs.end_ms
                }
                _ => false,
            };
            let is_same = (theirs.window, &theirs.value) == (mine.window, &mine.value);
            (&mine.topic, &mine.key, mine.value.is_null()) == (&theirs.topic, &theirs.key, false)
                && (has_more || (is_same && mine.after_input <= theirs.after_input))
        };
        found.output.iter().any(is_it)
    })
}
