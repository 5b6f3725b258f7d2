//! What was recorded against what came here.

use super::case::{Case, Output, Stored};
use super::play::Played;

/// Whether output, drops and store are the same.
pub fn compare(case: &Case, found: &Played) -> Result<(), String> {
    let (expected, output) = (ordered(case, &case.output), ordered(case, &found.output));
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
    for row in case.store.iter().flatten() {
        let is_it = |mine: &&Stored| {
            let same_time = row.timestamp_ms.is_none() || row.timestamp_ms == mine.timestamp_ms;
            (&mine.key, &mine.window, &mine.value) == (&row.key, &row.window, &row.value)
                && same_time
        };
        if !found.store.iter().any(|mine| is_it(&mine)) {
            let here: Vec<_> = found.store.iter().filter(|r| r.key == row.key).collect();
            return Err(format!("store: expected {row:?}, found {here:?}"));
        }
    }
    Ok(())
}

/// The output with what is not determined put in order.
fn ordered(case: &Case, output: &[Output]) -> Vec<Output> {
    let mut output = output.to_vec();
    let is = |tag: &str| case.tags.iter().any(|t| t == tag);
    if is("store-dependent-order") {
        output.sort_by_key(|each| (each.after_input, each.window, each.key.clone()));
    }
    // The order between topics means nothing.
    output.sort_by(|a, b| (a.after_input, &a.topic).cmp(&(b.after_input, &b.topic)));
    // Kafka Streams makes a window twice where two rules make the same one.
    if case.family == "sliding" {
        output.dedup();
    }
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
