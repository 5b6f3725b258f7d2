//! What was recorded against what came here.

use super::case::{Case, Output, Stored};
use super::play::{Played, is_table, only_given};

/// Whether output, drops and store are the same.
pub fn compare(case: &Case, found: &Played) -> Result<(), String> {
    let (mut expected, output) = (ordered(case, &case.output), ordered(case, &found.output));
    if case.family == "sliding" {
        leave_out_what_is_replaced(case, &mut expected);
    }
    if expected != output {
        let steps = expected.iter().chain(&output).map(|each| each.after_input);
        let differs = |step: &usize| of_step(&expected, *step) != of_step(&output, *step);
        let mut steps: Vec<usize> = steps.filter(differs).collect();
        steps.sort_unstable();
        let step = steps.first().copied().unwrap_or_default();
        return Err(format!(
            "after input {step}\n    expected {}\n    found    {}",
            shown(&of_step(&expected, step)),
            shown(&of_step(&output, step))
        ));
    }
    compare_drops(case, found)?;
    compare_store(case, found)
}

/// Whether as many records were dropped.
pub fn compare_drops(case: &Case, found: &Played) -> Result<(), String> {
    let dropped = |reason: &str| -> u64 {
        let drops = case.drops.iter().filter(|drop| drop.reason == reason);
        drops.map(|drop| drop.count).sum()
    };
    // Records without a key vanish uncounted in a repartition of Kafka Streams; here they count.
    let steps = case.operator.raw["pre"].as_array();
    let is_rekeyed =
        steps.is_some_and(|steps| steps.iter().any(|step| step["key_from"].is_string()));
    let null = match is_rekeyed {
        true => found.null.max(dropped("null")),
        false => dropped("null"),
    };
    if (dropped("late"), null) != (found.late, found.null) {
        return Err(format!(
            "drops: expected {} late and {} null, found {} and {}",
            dropped("late"),
            dropped("null"),
            found.late,
            found.null
        ));
    }
    Ok(())
}

fn compare_store(case: &Case, found: &Played) -> Result<(), String> {
    for row in case.store.iter().flatten() {
        let is_it = |mine: &&Stored| {
            let same_time = row.timestamp_ms.is_none() || row.timestamp_ms == mine.timestamp_ms;
            let value = match is_table(case) {
                true => only_given(row.value.clone()),
                false => row.value.clone(),
            };
            (&mine.key, &mine.window, &mine.value) == (&row.key, &row.window, &value) && same_time
        };
        if !found.store.iter().any(|mine| is_it(&mine)) {
            let here: Vec<_> = found.store.iter().filter(|r| r.key == row.key).collect();
            return Err(format!("store: expected {row:?}, found {here:?}"));
        }
    }
    // Windows that Kafka Streams has let go of may be here still, but none that was taken back.
    let rows = case.store.as_deref().unwrap_or_default();
    for mine in &found.store {
        let is_known = match mine.window {
            None => rows.iter().any(|row| row.key == mine.key),
            Some(_) => !was_taken_back(case, mine) && !is_merged(case, mine, &found.store),
        };
        if !is_known {
            return Err(format!("store: {mine:?} is not expected"));
        }
    }
    Ok(())
}

/// Whether the last word about a window was that it is no more.
fn was_taken_back(case: &Case, stored: &Stored) -> bool {
    let mut words = case.output.iter().rev();
    let last = words.find(|each| (&each.key, each.window) == (&stored.key, stored.window));
    last.is_some_and(|last| last.value.is_null())
}

/// Whether a session lies in another one of its key, or so near that they are one.
fn is_merged(case: &Case, stored: &Stored, all: &[Stored]) -> bool {
    let Some(gap_ms) = case.operator.raw["window"]["gap_ms"].as_i64() else {
        return false;
    };
    let window = |each: &Stored| {
        each.window
            .map_or((0, 0), |each| (each.start_ms, each.end_ms))
    };
    let (start, end) = window(stored);
    let mut others = all.iter().filter(|each| each.key == stored.key);
    others.any(|other| {
        let (from, to) = window(other);
        (from, to) != (start, end) && from <= end + gap_ms && start <= to + gap_ms
    })
}

/// Kafka Streams makes a window twice where two rules make the same one. And its `suppress` judges each
/// result as it comes, so a window whose last millisecond a record brings may leave without that record,
/// and once more with it.
fn leave_out_what_is_replaced(case: &Case, expected: &mut Vec<Output>) {
    expected.dedup();
    if case.operator.text("emit") == "suppress_until_window_closes" {
        let all = expected.clone();
        let mut at = 0;
        expected.retain(|each| {
            at += 1;
            let is_replaced = |later: &Output| {
                (later.after_input, &later.key, later.window)
                    == (each.after_input, &each.key, each.window)
            };
            !all[at..].iter().any(is_replaced)
        });
    }
}

/// The output with what is not determined put in order.
fn ordered(case: &Case, output: &[Output]) -> Vec<Output> {
    let mut output = output.to_vec();
    let is = |tag: &str| case.tags.iter().any(|t| t == tag);
    // A result that leaves twice there, and is left out once, has changed its place.
    let leaves_early =
        case.family == "sliding" && case.operator.text("emit") == "suppress_until_window_closes";
    if is("store-dependent-order") || leaves_early {
        output.sort_by_key(|each| (each.after_input, each.window, each.key.clone()));
    }
    if is_table(case) {
        // The sink names the field, whether or not a row has it.
        for fields in output
            .iter_mut()
            .filter_map(|each| each.value.as_object_mut())
        {
            fields.retain(|name, value| name != "g" || !value.is_null());
        }
    }
    // The order between topics means nothing.
    output.sort_by(|a, b| (a.after_input, &a.topic).cmp(&(b.after_input, &b.topic)));
    output
}

fn of_step(output: &[Output], step: usize) -> Vec<Output> {
    let of = output.iter().filter(|each| each.after_input == step);
    of.cloned().collect()
}

fn shown(output: &[Output]) -> String {
    let one = |each: &Output| {
        let window = each
            .window
            .map(|w| format!("[{},{}]", w.start_ms, w.end_ms));
        format!(
            "{}{}={}@{}",
            each.key.as_deref().unwrap_or("null"),
            window.unwrap_or_default(),
            each.value,
            each.timestamp_ms
        )
    };
    output.iter().map(one).collect::<Vec<_>>().join(" ")
}
