//! Records for the topics of a test, written and read without the program under test.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use tidemill::broker::kafka::{KafkaBroker, KafkaSettings};
use tidemill::broker::{
    Broker, BrokerError, Isolation, Outgoing, OwnedRecord, ProducerOptions, TopicPartition,
    TopicSpec,
};
use tidemill::time::Timestamp;

use super::wait_until;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time that the log has for the records of tests: in the past, as brokers refuse the future.
pub const LOG_TIME: Timestamp = Timestamp(1_520_439_377_000);

/// A Kafka and what is in it, and its address.
pub struct Topics(KafkaBroker, String);

/// A record to be written.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Where to; none: by the hash of the key.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Topics {
    pub fn connect(bootstrap: &str) -> Topics {
        let settings = KafkaSettings {
            bootstrap: bootstrap.to_owned(),
            client_id: "tidemill-tests".to_owned(),
            ..KafkaSettings::default()
        };
        let broker = KafkaBroker::connect(&settings).expect("a Kafka");
        Topics(broker, bootstrap.to_owned())
    }

    /// A topic that keeps records however old they are.
    pub fn create(&self, name: &str, partitions: u32, max_message_bytes: usize) {
        let config = [
            ("retention.ms", "-1".to_owned()),
            ("max.message.bytes", max_message_bytes.to_string()),
        ];
        let spec = TopicSpec {
            name: name.to_owned(),
            partitions,
            replication: -1,
            config: config.map(|(key, value)| (key.to_owned(), value)).into(),
        };
        self.0.create_topics(&[spec]).expect("a new topic");
    }

    /// Takes a topic away, with what is in it.
    pub fn delete(&self, name: &str) {
        self.0.delete_topics(&[name]).expect("a topic");
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, name: &str, partitions: usize) {
        let client: AdminClient<_> = ClientConfig::new()
            .set("bootstrap.servers", &self.1)
            .create()
            .expect("a client");
        let more = [NewPartitions::new(name, partitions)];
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let grown = runtime.block_on(client.create_partitions(&more, &AdminOptions::new()));
        let grown = grown.expect("an answer");
        assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    }

    /// Those of the topics that there are.
    pub fn existing(&self, names: &[String]) -> Vec<String> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let counts = self.0.partition_counts(&names).expect("a Kafka");
        counts.into_keys().collect()
    }

    /// Writes records in their order, each with its place in the list in a header `case`.
    pub fn write(&self, topic: &str, records: &[Raw]) {
        let mut producer = self
            .0
            .producer(&ProducerOptions::default())
            .expect("a producer");
        for (at, record) in records.iter().enumerate() {
            let case = at.to_string();
            let sent = producer.send(Outgoing {
                topic,
                partition: record.partition,
                timestamp: LOG_TIME,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &[("case", case.as_bytes())],
            });
            sent.expect("the topic takes it");
        }
        producer.flush().expect("the topic takes them");
    }

    /// Everything committed that is in a topic now, by partition and offset.
    pub fn read(&self, topic: &str) -> Vec<OwnedRecord> {
        let partitions = self.0.partition_counts(&[topic]).expect("an answer");
        let partitions: Vec<_> = (0..partitions.get(topic).copied().unwrap_or(0))
            .map(|partition| TopicPartition::new(topic, partition as i32))
            .collect();
        let mut ends = BTreeMap::new();
        // A topic that has just been made has no leaders for a moment.
        wait_until("the ends of a topic", PATIENCE, || {
            match self.0.end_offsets(&partitions, Isolation::ReadCommitted) {
                Ok(found) => ends = found,
                Err(BrokerError::Retry { .. }) => return false,
                Err(error) => panic!("{topic}: {error}"),
            }
            true
        });
        let mut reader = self.0.reader(Isolation::ReadCommitted).expect("a reader");
        let starts: Vec<_> = partitions.iter().cloned().map(|p| (p, 0)).collect();
        reader.assign(&starts).expect("they are there");
        let mut found = Vec::new();
        let begun = Instant::now();
        while ends
            .iter()
            .any(|(partition, end)| reader.position(partition).unwrap_or(0) < *end)
        {
            assert!(begun.elapsed() < PATIENCE, "{topic} cannot be read");
            let poll = reader.poll(Duration::from_millis(50), 1_000, &mut |record| {
                found.push(record.to_owned_record());
            });
            match poll {
                Ok(()) | Err(BrokerError::Retry { .. }) => {}
                Err(error) => panic!("{topic}: {error}"),
            }
        }
        found.sort_by_key(|record| (record.partition, record.offset));
        found
    }
}

/// The value of a header, as text.
pub fn header<'r>(record: &'r OwnedRecord, name: &str) -> Option<&'r str> {
    let (_, value) = record.headers.iter().find(|(known, _)| known == name)?;
    Some(std::str::from_utf8(value).expect("headers are texts"))
}
