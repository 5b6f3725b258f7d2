//! How far an application's groups are behind the ends of the topics that they read.

use std::path::Path;
use std::time::{Duration, Instant};

use tidemill::broker::kafka::{KafkaBroker, KafkaSettings};
use tidemill::broker::{Broker, Isolation, TopicPartition};
use tidemill::topology::plan::{Plan, plan};

const POLL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);

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

    /// Where groups have not committed everything there is to read yet: nowhere once nothing more comes,
    /// neither what was missing nor what would be too much.
    pub fn behind(&self) -> Vec<String> {
        let mut behind = Vec::new();
        for (group, topics) in &self.reads {
            let partitions = self.partitions(topics);
            let ends = self
                .broker
                .end_offsets(&partitions, Isolation::ReadCommitted);
            let committed = self.broker.committed(group, &partitions);
            let (ends, committed) = match (ends, committed) {
                (Ok(ends), Ok(committed)) => (ends, committed),
                (ends, committed) => {
                    let why = [ends.err(), committed.err()];
                    behind.extend(
                        why.into_iter()
                            .flatten()
                            .map(|why| format!("{group}: {why}")),
                    );
                    continue;
                }
            };
            for (partition, end) in ends {
                let at = committed.get(&partition);
                if end > 0 && !at.is_some_and(|at| self.is_the_rest_empty(&partition, *at, end)) {
                    behind.push(format!("{group}: {partition} at {at:?} of {end}"));
                }
            }
        }
        behind
    }

    /// Whether there are only markers of transactions and what was aborted, which no position gets behind.
    fn is_the_rest_empty(&self, partition: &TopicPartition, at: i64, end: i64) -> bool {
        if at + 1 >= end {
            return true;
        }
        let mut reader = self.broker.reader(Isolation::ReadCommitted).unwrap();
        reader.assign(&[(partition.clone(), at)]).unwrap();
        let (mut records, began) = (0, Instant::now());
        while records == 0 && reader.position(partition).unwrap_or(at) < end {
            let polled = reader.poll(POLL, 1, &mut |_| records += 1);
            if polled.is_err() || began.elapsed() > PATIENCE {
                return false;
            }
        }
        records == 0
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
