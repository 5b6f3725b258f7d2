//! Many processes in one thread, and everything that can happen to them, by a seed.
//!
//! ```text
//!   World ──▶ one of: records come · the clock moves · a process takes a step
//!     │              a process dies, at once or at the n-th place of a commit · comes back, or on a new disk
//!     │              a process is frozen for longer than its session · stops as asked · a call of the log fails
//!     ▼
//!   at the end all of it heals, and one process finishes the work: then every topic, store and table must be
//!   what a plain loop over the input makes of it ([`topologies`])
//! ```
//!
//! The processes are the real threads, tasks and sinks; the log is [`MemoryBroker`], the database SQLite, and
//! time is a clock that the world moves. A run depends on its seed alone.
//!
//! `TIDEMILL_SIMULATION_STEPS=1000000` plays more than the usual few, `TIDEMILL_SIMULATION_SEED=7` only that
//! one.
//!
//! [`MemoryBroker`]: crate::broker::memory::MemoryBroker

mod faults;
mod joins;
mod process;
mod topologies;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;

use topologies::Subject;
use world::World;

/// The steps of one run.
const STEPS_PER_RUN: u64 = 2_000;

/// The topologies that share the steps.
const SUBJECTS: u64 = 5;

/// What the test plays when nothing is said.
const USUAL_STEPS: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = text.parse();
    Some(parsed.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn play(subject: &Subject, seed: u64, happened: &mut BTreeMap<&'static str, u64>) {
    let mut world = World::new(subject, seed);
    for _ in 0..STEPS_PER_RUN {
        world.step();
    }
    world.finish();
    for (what, count) in world.happened() {
        *happened.entry(what).or_default() += count;
    }
}

/// Runs of one topology with seeds from 0, or with the one seed that is asked for.
fn simulate(subject: &Subject) {
    let seeds = match number("TIDEMILL_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let steps = number("TIDEMILL_SIMULATION_STEPS").unwrap_or(USUAL_STEPS);
            0..steps.div_ceil(SUBJECTS * STEPS_PER_RUN)
        }
    };
    let runs = seeds.end - seeds.start;
    let mut happened = BTreeMap::new();
    for seed in seeds {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            play(subject, seed, &mut happened);
        }));
        if let Err(panic) = played {
            eprintln!(
                "the same again: TIDEMILL_SIMULATION_SEED={seed}, {}",
                subject.name
            );
            std::panic::resume_unwind(panic);
        }
    }
    let happened = happened
        .iter()
        .map(|(what, count)| format!("{count} {what}"));
    let happened = happened.collect::<Vec<_>>().join(", ");
    let line = format!(
        "simulation of {}: {} steps in {runs} runs: {happened}\n",
        subject.name,
        runs * STEPS_PER_RUN,
    );
    // Also when the test passes, whose output is kept back otherwise.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[test]
fn aggregates_and_their_tables_are_what_the_input_makes_of_them() {
    simulate(&topologies::ROLLUPS);
}

#[test]
fn rows_that_change_and_records_that_come_twice_are_counted_once() {
    simulate(&topologies::ROWS);
}

#[test]
fn windows_are_told_of_once_and_let_go() {
    simulate(&topologies::WINDOWS);
}

#[test]
fn with_at_least_once_nothing_is_missing() {
    simulate(&topologies::ROLLUPS_AT_LEAST_ONCE);
}

#[test]
fn joins_find_what_belongs_together_and_each_once() {
    simulate(&joins::JOINS);
}
