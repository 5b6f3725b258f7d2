//! Computes tables anew from events, by the engine itself, in memory.

use super::scheme::Scheme;
use crate::ingest::target::LineReader;
use crate::sql::DatabaseUrl;
use crate::testkit::{DriverError, DriverOptions, TestRecord, TopologyTestDriver};
use crate::time::Timestamp;

/// The nodes that lead to the tables, and the tables in a scratch file of their own.
pub(super) struct Replay {
    driver: TopologyTestDriver,
    topic: String,
    keys: LineReader,
}

impl Replay {
    pub(super) fn new(scheme: &Scheme) -> Result<Replay, DriverError> {
        Ok(Replay {
            driver: TopologyTestDriver::with_options(&scheme.topology, DriverOptions::default())?,
            topic: scheme.raw.target.topic.clone(),
            keys: scheme.raw.target.line_reader(),
        })
    }

    /// Processes events, which are not older than those before, and writes what comes of them.
    pub(super) fn feed(&mut self, events: &[(Timestamp, String)]) -> Result<(), DriverError> {
        for (time, event) in events {
            // One without a key has failed in the application as it will here.
            let facts = self.keys.read(event.as_bytes()).ok();
            let key = facts.and_then(|facts| facts.key);
            let record = TestRecord {
                key: key.map(|key| key.as_bytes().to_vec()),
                timestamp: Some(*time),
                ..TestRecord::text(event)
            };
            self.driver.write_record(&self.topic, &record)?;
        }
        self.driver.run()?;
        self.driver.write_tables()?;
        self.driver.forget_records()
    }

    /// Where the tables are.
    pub(super) fn tables(&mut self) -> Result<&DatabaseUrl, DriverError> {
        self.driver.tables()
    }
}
