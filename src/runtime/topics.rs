//! Makes sure that an application's topics are there, with the partition counts that it needs.
//!
//! What it reads must be there. What it keeps for itself and what it writes is created.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{
    Broker, BrokerError, LARGEST_BATCH, MAX_MESSAGE_BYTES, TIMESTAMP_AFTER_MAX, TopicSpec,
};
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
    #[error(
        "topics that are read together differ in their partition counts: {counts}. Records of one key have \
         to be in partitions of one number: make one of the topics anew with as many as the other has, or put \
         a select_key in front of where they come together, which moves its records"
    )]
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
    /// Topics are gone that were there at the start.
    #[error(
        "{topics}: deleted while the application ran. Start it again when what it reads is there; what it \
         writes is then made anew. If a changelog was deleted its state cannot be trusted any more: \
         `tidemill reset` begins anew"
    )]
    Deleted {
        /// Their names.
        topics: String,
    },
}

/// Whether all source topics are there.
///
/// # Errors
/// [`TopicError::Missing`] when one is not.
pub(super) fn find_sources(broker: &dyn Broker, plan: &Plan) -> Result<(), TopicError> {
    let sources = plan.source_topics();
    let counts = broker.partition_counts(&sources)?;
    check_sources(&sources, &counts)
}

fn check_sources(sources: &[&str], counts: &BTreeMap<String, u32>) -> Result<(), TopicError> {
    match sources.iter().find(|topic| !counts.contains_key(**topic)) {
        Some(topic) => Err(TopicError::Missing {
            topic: (*topic).to_owned(),
        }),
        None => Ok(()),
    }
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
    let internal = plan.internal_topics.iter().map(|t| t.name.as_str());
    let mut names = plan.source_topics();
    names.extend(internal);
    names.extend(plan.output_topics());
    let mut counts = broker.partition_counts(&names)?;
    let missing = missing(plan, &counts, replication)?;
    broker.create_topics(&missing)?;
    counts.extend(missing.into_iter().map(|spec| (spec.name, spec.partitions)));
    Ok(counts)
}

/// Looks among the topics that are used for one that was deleted, and so explains trouble. The topic of
/// dead letters is made anew, as nothing else hangs on it: then true. When the log cannot be asked, there is
/// no explanation.
///
/// # Errors
/// [`TopicError::Deleted`] when others are gone.
pub(super) fn look_for_deleted<'t>(
    broker: &dyn Broker,
    used: impl IntoIterator<Item = &'t str>,
    dead_letters: &'t str,
    replication: i32,
) -> Result<bool, TopicError> {
    let used: BTreeSet<&str> = used.into_iter().chain([dead_letters]).collect();
    let mut gone: Vec<&str> = used.into_iter().collect();
    let Ok(counts) = broker.partition_counts(&gone) else {
        return Ok(false);
    };
    gone.retain(|topic| !counts.contains_key(*topic));
    match gone[..] {
        [] => Ok(false),
        [gone] if gone == dead_letters => {
            let topic = internal(dead_letters, 1, replication, Purpose::DeadLetters);
            match broker.create_topics(&[topic]) {
                // Whoever tries again misses it again.
                Err(BrokerError::Retry { .. }) => Ok(false),
                made => {
                    made?;
                    tracing::error!(
                        topic = dead_letters,
                        "the topic of dead letters was deleted, and what was in it; made anew"
                    );
                    Ok(true)
                }
            }
        }
        _ => Err(TopicError::Deleted {
            topics: gone.join(", "),
        }),
    }
}

fn internal(name: &str, partitions: u32, replication: i32, purpose: Purpose) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        replication,
        config: config(purpose),
    }
}

/// The topics to be created, given the partition counts of those that are there.
fn missing(
    plan: &Plan,
    counts: &BTreeMap<String, u32>,
    replication: i32,
) -> Result<Vec<TopicSpec>, TopicError> {
    check_sources(&plan.source_topics(), counts)?;
    let wanted = internal_sizes(plan, counts);
    let mut missing = Vec::new();
    for topic in &plan.internal_topics {
        let expected = wanted.get(topic.name.as_str()).copied().unwrap_or(1);
        match counts.get(&topic.name) {
            None => missing.push(internal(&topic.name, expected, replication, topic.purpose)),
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
    // A SQL sink needs no two records together.
    for sub_topology in &plan.processing {
        check_co_partitioning(sub_topology, counts)?;
    }
    missing.extend(missing_outputs(plan, counts, &wanted, replication));
    Ok(missing)
}

/// How many partitions each internal topic needs.
fn internal_sizes<'p>(plan: &'p Plan, counts: &BTreeMap<String, u32>) -> BTreeMap<&'p str, u32> {
    let mut wanted: BTreeMap<&str, u32> = BTreeMap::new();
    // A repartition topic may be sized like another one that has to be sized first.
    for _ in 0..=plan.internal_topics.len() {
        for topic in &plan.internal_topics {
            let like = topic.sized_like.iter().map(|name| {
                let sized = wanted.get(name.as_str());
                sized.or_else(|| counts.get(name)).copied()
            });
            let size = like.collect::<Option<Vec<u32>>>();
            if let Some(size) = size.map(|sizes| sizes.into_iter().max().unwrap_or(1)) {
                wanted.insert(&topic.name, size);
            }
        }
    }
    wanted
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
    // Results carry event times: those of old events a broker would delete within minutes, and those
    // of the future it would refuse.
    let config = [
        ("retention.ms", "-1".to_owned()),
        (TIMESTAMP_AFTER_MAX, i64::MAX.to_string()),
        (MAX_MESSAGE_BYTES, LARGEST_BATCH.to_string()),
    ];
    let config = config.map(|(key, value)| (key.to_owned(), value));
    let spec = |(topic, partitions): (&str, u32)| TopicSpec {
        name: topic.to_owned(),
        partitions,
        replication,
        config: BTreeMap::from(config.clone()),
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

/// How long after its end a window's changelog records are kept, beyond its retention.
const CHANGELOG_SLACK_MS: i64 = 24 * 3_600 * 1_000;

/// Deletions must be seen by a store that was away for this long.
const DELETE_RETENTION_MS: i64 = 7 * 24 * 3_600 * 1_000;

fn config(purpose: Purpose) -> BTreeMap<String, String> {
    // Whatever a source topic takes has to fit.
    let mut config = BTreeMap::from([(MAX_MESSAGE_BYTES.to_owned(), LARGEST_BATCH.to_string())]);
    let mut set = |name: &str, value: &str| config.insert(name.to_owned(), value.to_owned());
    match purpose {
        Purpose::Changelog { retention_ms } => {
            match retention_ms {
                None => set("cleanup.policy", "compact"),
                Some(retention_ms) => {
                    let kept_ms = retention_ms.saturating_add(CHANGELOG_SLACK_MS);
                    set(
                        "retention.ms",
                        &kept_ms.max(DELETE_RETENTION_MS).to_string(),
                    );
                    set("cleanup.policy", "compact,delete")
                }
            };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const FILE: &str = "
app: shop
nodes:
  orders:   { source: { topics: [orders, returns], timestamp: at } }
  per_shop:
    aggregate: { from: orders, by: [shop], window: { tumbling: 1m, grace: 10d }, set: { n: count() } }
  table:    { sql: { from: per_shop, table: shops } }
  closed:
    aggregate: { from: orders, by: [kind], window: { tumbling: 1m }, emit: close, set: { n: count() } }
  kinds:    { sql: { from: closed, table: kinds } }
  out:      { kafka: { from: per_shop, topic: out } }
";

    fn plan() -> Plan {
        crate::topology::plan::plan(&parse(FILE, "shop.yaml").unwrap()).unwrap()
    }

    fn counts(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
        let counts = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        counts.collect()
    }

    fn shown(spec: &TopicSpec) -> String {
        let config = spec
            .config
            .iter()
            .map(|(key, value)| format!(" {key}={value}"));
        let config: String = config.collect();
        format!(
            "{} {}x{}:{config}\n",
            spec.name, spec.partitions, spec.replication
        )
    }

    /// Everything that is not there is made like the sources, with settings under which nothing is
    /// deleted that is needed still.
    #[test]
    fn missing_topics_are_made_to_fit_the_sources() {
        let found = missing(&plan(), &counts(&[("orders", 6), ("returns", 6)]), 3).unwrap();
        let found: String = found.iter().map(shown).collect();
        expect_test::expect![[r#"
            shop-closed-changelog 6x3: cleanup.policy=compact,delete delete.retention.ms=604800000 max.message.bytes=16777216 message.timestamp.type=LogAppendTime retention.ms=604800000
            shop-closed-repartition 6x3: cleanup.policy=delete max.message.bytes=16777216 message.timestamp.type=LogAppendTime retention.ms=604800000
            shop-closed-results 6x3: cleanup.policy=delete max.message.bytes=16777216 message.timestamp.type=LogAppendTime retention.ms=604800000
            shop-dead-letters 1x3: cleanup.policy=delete max.message.bytes=16777216 message.timestamp.type=LogAppendTime retention.ms=-1
            shop-orders-progress 6x3: cleanup.policy=compact max.message.bytes=16777216 message.timestamp.type=LogAppendTime
            shop-per_shop-changelog 6x3: cleanup.policy=compact,delete delete.retention.ms=604800000 max.message.bytes=16777216 message.timestamp.type=LogAppendTime retention.ms=950460000
            shop-per_shop-repartition 6x3: cleanup.policy=delete max.message.bytes=16777216 message.timestamp.type=LogAppendTime retention.ms=604800000
            out 6x3: max.message.bytes=16777216 message.timestamp.after.max.ms=9223372036854775807 retention.ms=-1
        "#]].assert_eq(&found);
    }

    #[test]
    fn topics_that_are_there_are_left_alone() {
        let plan = plan();
        let mut there = counts(&[("orders", 6), ("returns", 6), ("out", 2)]);
        for spec in missing(&plan, &there, 1).unwrap() {
            there.insert(spec.name, spec.partitions);
        }
        // Dead letters and results may have any number of partitions.
        there.insert("shop-dead-letters".to_owned(), 40);
        assert!(missing(&plan, &there, 1).unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_to_do() {
        let refused = |there: &[(&str, u32)]| missing(&plan(), &counts(there), 1).unwrap_err();
        let shown = [
            refused(&[("orders", 6)]),
            refused(&[("orders", 6), ("returns", 4)]),
            refused(&[
                ("orders", 6),
                ("returns", 6),
                ("shop-per_shop-changelog", 4),
            ]),
            refused(&[
                ("orders", 6),
                ("returns", 6),
                ("shop-per_shop-repartition", 8),
            ]),
        ];
        let shown: String = shown.iter().map(|error| format!("{error}\n")).collect();
        expect_test::expect![[r#"
            topic returns does not exist: create it (`tidemill ingest … --partitions N` does), or correct its name in the topology
            topics that are read together differ in their partition counts: orders has 6, returns has 4. Records of one key have to be in partitions of one number: make one of the topics anew with as many as the other has, or put a select_key in front of where they come together, which moves its records
            internal topic shop-per_shop-changelog has 4 partitions, but its source has 6: the source's partition count was changed. State is split by partition, so this needs a new application name, or the old count
            internal topic shop-per_shop-repartition has 8 partitions, but its source has 6: the source's partition count was changed. State is split by partition, so this needs a new application name, or the old count
        "#]].assert_eq(&shown);
    }
}
