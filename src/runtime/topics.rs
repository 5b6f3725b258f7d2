//! Makes sure that an application's topics are there, with the partition counts that it needs.
//!
//! What it reads must be there. What it keeps for itself and what it writes is created.

use std::collections::BTreeMap;

use crate::broker::{Broker, BrokerError, TopicSpec};
use crate::topology::plan::{Plan, Purpose, SubTopology};

/// A topic is not as the application needs it.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Topics that others fill must exist.
    #[error(
        "topic {topic} does not exist: create it (`tidemill ingest … --partitions N` does), or \
         correct its name in the topology"
    )]
    Missing {
        /// The topic.
        topic: String,
    },
    /// Topics that are read together must have equal partition counts.
    #[error("topics that are read together differ in their partition counts: {counts}")]
    NotCoPartitioned {
        /// `a has 4, b has 6`.
        counts: String,
    },
    /// An internal topic does not fit any more.
    #[error(
        "internal topic {topic} has {found} partitions, but its source has {expected}: the \
         source's partition count was changed. State is split by partition, so this needs a new \
         application name, or the old count"
    )]
    WrongCount {
        /// The topic.
        topic: String,
        /// How many it has.
        found: u32,
        /// How many it needs.
        expected: u32,
    },
}

/// Creates the internal topics and the topics of Kafka sinks that are missing, and checks all counts;
/// gives the partition count of every topic of the plan.
///
/// # Errors
/// When a source topic is missing or counts do not fit.
pub(super) fn prepare(
    broker: &dyn Broker,
    plan: &Plan,
    replication: i32,
) -> Result<BTreeMap<String, u32>, TopicError> {
    let internal: Vec<&str> = plan
        .internal_topics
        .iter()
        .map(|t| t.name.as_str())
        .collect();
    let mut names = plan.source_topics();
    names.extend(&internal);
    names.extend(plan.output_topics());
    let mut counts = broker.partition_counts(&names)?;
    if let Some(topic) = plan
        .source_topics()
        .into_iter()
        .find(|topic| !counts.contains_key(*topic))
    {
        return Err(TopicError::Missing {
            topic: topic.to_owned(),
        });
    }
    // A repartition topic may be sized like another one that has to be sized first.
    let mut missing = Vec::new();
    let mut wanted: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..=plan.internal_topics.len() {
        for topic in &plan.internal_topics {
            let like = topic.sized_like.iter().map(|name| {
                wanted
                    .get(name.as_str())
                    .or_else(|| counts.get(name))
                    .copied()
            });
            let size = like.collect::<Option<Vec<u32>>>();
            if let Some(size) = size.map(|sizes| sizes.into_iter().max().unwrap_or(1)) {
                wanted.insert(&topic.name, size);
            }
        }
    }
    for topic in &plan.internal_topics {
        let expected = wanted.get(topic.name.as_str()).copied().unwrap_or(1);
        match counts.get(&topic.name) {
            None => missing.push(TopicSpec {
                name: topic.name.clone(),
                partitions: expected,
                replication,
                config: config(topic.purpose),
            }),
            Some(found) if *found != expected && topic.purpose != Purpose::DeadLetters => {
                return Err(TopicError::WrongCount {
                    topic: topic.name.clone(),
                    found: *found,
                    expected,
                });
            }
            Some(_) => {}
        }
    }
    for sub_topology in plan.processing.iter().chain(&plan.sinks) {
        check_co_partitioning(sub_topology, &counts)?;
    }
    missing.extend(missing_outputs(plan, &counts, &wanted, replication));
    broker.create_topics(&missing)?;
    counts.extend(missing.into_iter().map(|spec| (spec.name, spec.partitions)));
    Ok(counts)
}

/// The topics of Kafka sinks that are not there yet, with as many partitions as their tasks: a result
/// topic that somebody has made already is left as it is.
fn missing_outputs(
    plan: &Plan,
    counts: &BTreeMap<String, u32>,
    wanted: &BTreeMap<&str, u32>,
    replication: i32,
) -> Vec<TopicSpec> {
    let mut missing: BTreeMap<&str, u32> = BTreeMap::new();
    for sub_topology in &plan.processing {
        let size = |topic: &str| counts.get(topic).or_else(|| wanted.get(topic)).copied();
        let partitions = sub_topology.topics().filter_map(size).max().unwrap_or(1);
        for topic in sub_topology.outputs() {
            if !counts.contains_key(topic) {
                let known = missing.entry(topic).or_default();
                *known = partitions.max(*known);
            }
        }
    }
    let spec = |(topic, partitions): (&str, u32)| TopicSpec {
        name: topic.to_owned(),
        partitions,
        replication,
        // Results carry event times: of old events a broker would delete them within minutes.
        config: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
    };
    missing.into_iter().map(spec).collect()
}

fn check_co_partitioning(
    sub_topology: &SubTopology,
    counts: &BTreeMap<String, u32>,
) -> Result<(), TopicError> {
    let found: Vec<(&str, u32)> = sub_topology
        .topics()
        .filter_map(|topic| counts.get(topic).map(|count| (topic, *count)))
        .collect();
    match found.iter().all(|(_, count)| *count == found[0].1) {
        true => Ok(()),
        false => {
            let shown: Vec<String> = found
                .iter()
                .map(|(topic, count)| format!("{topic} has {count}"))
                .collect();
            Err(TopicError::NotCoPartitioned {
                counts: shown.join(", "),
            })
        }
    }
}

/// Largest record of an internal topic, so that whatever a source topic takes fits.
const MAX_MESSAGE_BYTES: &str = "16777216";

/// How long after its end a window's changelog records are kept, beyond its retention.
const CHANGELOG_SLACK_MS: i64 = 24 * 3_600 * 1_000;

/// Deletions must be seen by a store that was away for this long.
const DELETE_RETENTION_MS: i64 = 7 * 24 * 3_600 * 1_000;

fn config(purpose: Purpose) -> BTreeMap<String, String> {
    let mut config =
        BTreeMap::from([("max.message.bytes".to_owned(), MAX_MESSAGE_BYTES.to_owned())]);
    let mut set = |name: &str, value: &str| config.insert(name.to_owned(), value.to_owned());
    match purpose {
        Purpose::Changelog { retention_ms } => {
            set("cleanup.policy", "compact,delete");
            set(
                "retention.ms",
                &(retention_ms + CHANGELOG_SLACK_MS)
                    .max(DELETE_RETENTION_MS)
                    .to_string(),
            );
            set("delete.retention.ms", &DELETE_RETENTION_MS.to_string());
            // By the time of writing, not by event time: a replay of old events must not lose its
            // changelog to the broker's clean-up.
            set("message.timestamp.type", "LogAppendTime");
        }
        Purpose::Progress => {
            set("cleanup.policy", "compact");
            set("message.timestamp.type", "LogAppendTime");
        }
        Purpose::Repartition | Purpose::Results => {
            set("cleanup.policy", "delete");
            set("retention.ms", &DELETE_RETENTION_MS.to_string());
            set("message.timestamp.type", "LogAppendTime");
        }
        Purpose::DeadLetters => {
            set("cleanup.policy", "delete");
            set("retention.ms", "-1");
            set("message.timestamp.type", "LogAppendTime");
        }
    }
    config
}
