//! The ends of a driver's topics, in the manner of Kafka Streams: one to write to, with a time that
//! goes on by itself, and one to read from.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::driver::{DriverError, TopologyTestDriver};
use super::record::TestRecord;
use crate::time::Timestamp;
use crate::topology::duration::Millis;

/// A topic that a test writes to. It keeps the time of the next record, apart from the wall clock.
#[derive(Clone, Debug)]
pub struct TestInputTopic {
    name: String,
    next: Option<Timestamp>,
    step_ms: i64,
}

/// A topic that a test reads from. What has been read is not read again, by whatever way.
#[derive(Clone, Debug)]
pub struct TestOutputTopic {
    name: String,
}

impl TopologyTestDriver {
    /// A source topic, to be written to.
    ///
    /// # Panics
    /// When no source of the topology reads it.
    pub fn input_topic(&self, name: &str) -> TestInputTopic {
        let topics = self.plan.source_topics();
        assert!(
            topics.contains(&name),
            "no source reads the topic {name}; they read {}",
            topics.join(", ")
        );
        TestInputTopic {
            name: name.to_owned(),
            next: None,
            step_ms: 0,
        }
    }

    /// A topic that Kafka sinks write, or that of the dead letters, to be read.
    ///
    /// # Panics
    /// When nothing of the topology writes it.
    pub fn output_topic(&self, name: &str) -> TestOutputTopic {
        let topics = self.plan.output_topics();
        assert!(
            topics.contains(&name) || name == self.plan.dead_letter_topic(),
            "nothing writes the topic {name}; there are {}",
            topics.join(", ")
        );
        TestOutputTopic {
            name: name.to_owned(),
        }
    }
}

impl TestInputTopic {
    /// The same with the time of the next record; without one, records have the time at which the wall
    /// clock stands.
    #[must_use]
    pub fn starting_at(mut self, time: Timestamp) -> TestInputTopic {
        self.next = Some(time);
        self
    }

    /// The same, each record so much later than the one before.
    #[must_use]
    pub fn advancing_by(mut self, step: Duration) -> TestInputTopic {
        self.step_ms = Millis::from(step).0;
        self
    }

    /// Moves the time of the next record forward.
    pub fn advance_time(&mut self, by: Duration) {
        self.next = self.next.map(|next| next.plus_millis(Millis::from(by).0));
    }

    /// Writes a value, in the format of the source, and lets it come through.
    ///
    /// # Errors
    /// When it does not fit the source's schema, or the topology has to give up.
    pub fn pipe<'k>(
        &mut self,
        driver: &mut TopologyTestDriver,
        key: impl Into<Option<&'k str>>,
        value: &Json,
    ) -> Result<(), DriverError> {
        let record = TestRecord {
            value: Some(driver.encode(&self.name, value)?),
            ..TestRecord::default()
        };
        let record = match key.into() {
            Some(key) => record.key(key),
            None => record,
        };
        self.pipe_record(driver, record)
    }

    /// Writes values one after the other.
    ///
    /// # Errors
    /// When the topology has to give up.
    pub fn pipe_all<'k>(
        &mut self,
        driver: &mut TopologyTestDriver,
        values: impl IntoIterator<Item = (&'k str, Json)>,
    ) -> Result<(), DriverError> {
        let mut values = values.into_iter();
        values.try_for_each(|(key, value)| self.pipe(driver, key, &value))
    }

    /// Writes a record. One that has a time of its own does not move the time of the next.
    ///
    /// # Errors
    /// When there is no such partition, or the topology has to give up.
    pub fn pipe_record(
        &mut self,
        driver: &mut TopologyTestDriver,
        mut record: TestRecord,
    ) -> Result<(), DriverError> {
        if record.timestamp.is_none() {
            record.timestamp = self.next;
            self.next = self.next.map(|next| next.plus_millis(self.step_ms));
        }
        driver.pipe_record(&self.name, &record)
    }
}

impl TestOutputTopic {
    /// The next record; none when all have been read. With several partitions, those of one are read
    /// before those of the next.
    pub fn read_record(&self, driver: &mut TopologyTestDriver) -> Option<TestRecord> {
        let mut read = driver.read_up_to(&self.name, 1).into_iter();
        read.next().map(TestRecord::from)
    }

    /// All records that have not been read yet.
    pub fn read_records(&self, driver: &mut TopologyTestDriver) -> Vec<TestRecord> {
        let read = driver.read(&self.name).into_iter();
        read.map(TestRecord::from).collect()
    }

    /// Their values, whatever the format of the sink.
    ///
    /// # Panics
    /// When one is not what the format says.
    pub fn read_values(&self, driver: &mut TopologyTestDriver) -> Vec<Json> {
        let read = self.read_key_values(driver).into_iter();
        read.map(|(_, value)| value).collect()
    }

    /// Their keys and values.
    ///
    /// # Panics
    /// When a value is not what the format of the sink says.
    pub fn read_key_values(&self, driver: &mut TopologyTestDriver) -> Vec<(Option<String>, Json)> {
        let read = self.read_records(driver);
        let is_dead_letter = self.name == driver.plan.dead_letter_topic();
        let pair = |record: &TestRecord| {
            let key = record.key_text().map(|key| key.into_owned());
            let value = match &record.value {
                Some(value) if !is_dead_letter => {
                    let decoded = driver.decode(&self.name, value);
                    decoded.expect("a value of the sink's format")
                }
                _ => record.to_json(),
            };
            (key, value)
        };
        read.iter().map(pair).collect()
    }

    /// The last value of each key; records without a key are left out. Null: the key was deleted.
    ///
    /// # Panics
    /// When a value is not what the format of the sink says.
    pub fn read_key_values_to_map(
        &self,
        driver: &mut TopologyTestDriver,
    ) -> BTreeMap<String, Json> {
        let pairs = self.read_key_values(driver).into_iter();
        pairs
            .filter_map(|(key, value)| Some((key?, value)))
            .collect()
    }

    /// How many records have not been read yet.
    pub fn queue_size(&self, driver: &TopologyTestDriver) -> usize {
        let unread = driver.unread(&self.name);
        unread.iter().map(|(_, records)| records.len()).sum()
    }

    /// Whether all have been read.
    pub fn is_empty(&self, driver: &TopologyTestDriver) -> bool {
        self.queue_size(driver) == 0
    }
}
