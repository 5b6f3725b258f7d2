//! The whole engine on a real Kafka, beside a bare consumer of the same topic on the same broker.
//!
//! Everything is measured from outside: a run of Tidemill is the built program as a process, its
//! progress is what the broker says its group has committed, its CPU time and memory are what the
//! kernel says. After each run the result topics are read and must account for every accepted
//! event. Cases alternate within a round, so that a busy machine is busy for all of them.
//!
//! `benches/end-to-end` starts a broker, runs this, and keeps the raw figures.

use std::path::PathBuf;

mod consume;
mod job;
mod log;
mod process;
mod report;
mod streams;

use job::{Guarantee, Job, Keyed};
use log::Topic;
use report::{Case, Report};
use streams::{Rig, StreamsJob, Variant};

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {text:?} is no number")),
    }
}

/// What Tidemill is measured with.
fn jobs() -> impl Iterator<Item = Job> {
    use Guarantee::{AtLeastOnce, ExactlyOnce};
    let jobs = [
        (ExactlyOnce, Keyed::Yes, 1),
        (ExactlyOnce, Keyed::Yes, 2),
        (ExactlyOnce, Keyed::No, 1),
        (AtLeastOnce, Keyed::Yes, 1),
        (AtLeastOnce, Keyed::No, 1),
    ];
    jobs.into_iter().map(|(guarantee, keyed, threads)| Job {
        guarantee,
        keyed,
        threads,
    })
}

/// What Kafka Streams is measured with.
fn streams_jobs() -> impl Iterator<Item = StreamsJob> {
    let jobs = [
        (Variant::Processors, 1),
        (Variant::Processors, 2),
        (Variant::Dsl, 1),
    ];
    jobs.into_iter().map(|(variant, threads)| StreamsJob {
        variant,
        guarantee: Guarantee::ExactlyOnce,
        threads,
    })
}

fn main() {
    let bootstrap = std::env::var("KAFKA_BOOTSTRAP").ok();
    let bootstrap =
        bootstrap.expect("KAFKA_BOOTSTRAP says where Kafka is; benches/end-to-end starts one");
    // Alternated cases run in children of this program, so that each has its own CPU and memory.
    if let Some(topic) = consume::asked_for() {
        return consume::run(&bootstrap, &topic);
    }
    let events: u64 = setting("TIDEMILL_BENCH_EVENTS", 1_000_000);
    let rounds: u32 = setting("TIDEMILL_BENCH_ROUNDS", 3);
    let out = std::env::var_os("TIDEMILL_BENCH_OUT").map(PathBuf::from);
    let rig = Rig::of_environment();

    let mut topic = Topic::load(&bootstrap, events);
    let expected = topic.count_accepted();
    eprintln!(
        "{}: {events} events, {:.0} bytes on average, {expected} of them edits",
        topic.name,
        topic.bytes as f64 / events as f64
    );
    let mut report = Report::new(out);
    for round in 1..=rounds {
        report.add(round, Case::Consume, consume::measure(&topic));
        for job in jobs() {
            report.add(round, Case::Run(job), job.measure(&topic, expected));
        }
        if let Some(rig) = &rig {
            for job in streams_jobs() {
                report.add(
                    round,
                    Case::Streams(job),
                    job.measure(rig, &topic, expected),
                );
            }
        }
    }
    let job = Job {
        guarantee: Guarantee::ExactlyOnce,
        keyed: Keyed::Yes,
        threads: 1,
    };
    for (round, figures) in (1..).zip(job.restore(&topic, rounds)) {
        report.add(round, Case::Restore(job), figures);
    }
    report.show();
}
