//! Records as tests write and read them.

use std::borrow::Cow;

use crate::broker::OwnedRecord;
use crate::time::Timestamp;

/// A record that is written to an input topic, or was read from an output topic.
///
/// ```
/// use tidemill::testkit::TestRecord;
/// use tidemill::time::Timestamp;
///
/// let order = TestRecord::json(&serde_json::json!({"shop": "a", "price": 5}))
///     .key("a")
///     .at(Timestamp(1_000));
/// assert_eq!(order.key_text().as_deref(), Some("a"));
/// assert_eq!(order.to_json()["price"], 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRecord {
    /// The key, if there is one.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The record's time; none: where the wall clock stands when it is written.
    pub timestamp: Option<Timestamp>,
    /// The partition; none: by the hash of the key, or spread evenly without one.
    pub partition: Option<i32>,
    /// Names and values of headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl TestRecord {
    /// A record with this value and nothing else.
    pub fn json(value: &serde_json::Value) -> TestRecord {
        TestRecord::text(&value.to_string())
    }

    /// A record with this text as its value, which need not be JSON.
    pub fn text(value: &str) -> TestRecord {
        TestRecord {
            value: Some(value.as_bytes().to_vec()),
            ..TestRecord::default()
        }
    }

    /// A record without a value: it deletes what is known of its key.
    pub fn tombstone(key: &str) -> TestRecord {
        TestRecord::default().key(key)
    }

    /// The same with this key.
    #[must_use]
    pub fn key(mut self, key: &str) -> TestRecord {
        self.key = Some(key.as_bytes().to_vec());
        self
    }

    /// The same at this time.
    #[must_use]
    pub fn at(mut self, timestamp: Timestamp) -> TestRecord {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same in this partition.
    #[must_use]
    pub fn in_partition(mut self, partition: i32) -> TestRecord {
        self.partition = Some(partition);
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &[u8]) -> TestRecord {
        self.headers.push((name.to_owned(), value.to_vec()));
        self
    }

    /// The key as text.
    pub fn key_text(&self) -> Option<Cow<'_, str>> {
        self.key.as_deref().map(String::from_utf8_lossy)
    }

    /// The value as JSON; null when there is none.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let parse = |value: &Vec<u8>| serde_json::from_slice(value).expect("JSON");
        self.value.as_ref().map_or(serde_json::Value::Null, parse)
    }

    /// The first header of that name, as text.
    pub fn header_text(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8_lossy(value))
    }
}

/// As it was read: with its time and its partition.
impl From<OwnedRecord> for TestRecord {
    fn from(record: OwnedRecord) -> TestRecord {
        TestRecord {
            key: record.key,
            value: record.value,
            timestamp: Some(record.timestamp),
            partition: Some(record.partition),
            headers: record.headers,
        }
    }
}
