//! How far an application's groups are behind the ends of the topics that they read.

use std::path::Path;

use tidemill::broker::kafka::{KafkaBroker, KafkaSettings};
use tidemill::broker::{Broker, Isolation, TopicPartition};
use tidemill::topology::plan::{Plan, plan};

/// The groups of an application and what each reads.
pub struct Groups {
    broker: KafkaBroker,
    reads: Vec<(String, Vec<String>)>,
}

impl Groups {
    /// Of the application of this topology file.
    pub fn of(bootstrap: &str, topology: &Path) -> Groups {
        let topology = tidemill::config::load(topology).unwrap();
        let plan: Plan = plan(&topology).unwrap();
        let processing = plan.processing.iter().map(|sub| (plan.group(), sub));
        let sinks = plan
            .sinks
            .iter()
            .map(|sub| (plan.sink_group(&sub.name), sub));
        let reads = processing
            .chain(sinks)
            .map(|(group, sub)| (group, sub.topics().map(str::to_owned).collect()));
        let settings = KafkaSettings {
            bootstrap: bootstrap.to_owned(),
            client_id: "tests".to_owned(),
            ..KafkaSettings::default()
        };
        Groups {
            reads: reads.collect(),
            broker: KafkaBroker::connect(&settings).unwrap(),
        }
    }

    /// Whether every group has committed everything there is to read: then nothing more comes,
    /// neither what was missing nor what would be too much.
    pub fn are_through(&self) -> bool {
        self.reads.iter().all(|(group, topics)| {
            let partitions = self.partitions(topics);
            let ends = self
                .broker
                .end_offsets(&partitions, Isolation::ReadCommitted);
            let committed = self.broker.committed(group, &partitions);
            let (Ok(ends), Ok(committed)) = (ends, committed) else {
                return false;
            };
            // The last entry may be the marker of a transaction, which no position gets behind.
            ends.iter().all(|(partition, end)| {
                *end == 0 || committed.get(partition).is_some_and(|at| at + 1 >= *end)
            })
        })
    }

    fn partitions(&self, topics: &[String]) -> Vec<TopicPartition> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let counts = self.broker.partition_counts(&names).unwrap_or_default();
        let of = |(topic, count): (&String, &u32)| {
            let topic = topic.clone();
            (0..*count as i32).map(move |partition| TopicPartition::new(topic.as_str(), partition))
        };
        counts.iter().flat_map(of).collect()
    }
}
