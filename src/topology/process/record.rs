//! A record as a processor sees it.

use crate::time::Timestamp;
use crate::value::Value;

/// A record that reaches a processor.
#[derive(Clone, Copy, Debug)]
pub struct Record<'r>(RecordParts<'r>);

/// What a record is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordParts<'r> {
    pub names: &'r [String],
    pub fields: &'r [Value<'r>],
    pub key: Option<&'r [u8]>,
    pub time: Timestamp,
    pub event: Option<&'r [u8]>,
    pub is_deletion: bool,
    pub topic: &'r str,
    pub partition: i32,
    pub offset: i64,
}

impl<'r> Record<'r> {
    pub(crate) fn new(parts: RecordParts<'r>) -> Record<'r> {
        Record(parts)
    }

    /// What the node reads under this name.
    ///
    /// # Panics
    /// When it reads nothing of that name: see [`Process::reads`](super::Process::reads).
    pub fn field(&self, name: &str) -> Value<'r> {
        let at = self.0.names.iter().position(|known| known == name);
        match at {
            Some(at) => self.0.fields[at],
            None => panic!(
                "the node reads no field {name:?}; it reads {:?}",
                self.0.names
            ),
        }
    }

    /// All that the node reads, in the order in which it says so.
    pub fn fields(&self) -> &'r [Value<'r>] {
        self.0.fields
    }

    /// The key, as it is here: a `select_key` may have replaced it.
    pub fn key(&self) -> Option<&'r [u8]> {
        self.0.key
    }

    /// The key as a text; none where there is none or it is no UTF-8.
    pub fn key_text(&self) -> Option<&'r str> {
        self.0.key.and_then(|key| str::from_utf8(key).ok())
    }

    /// The event time.
    pub fn time(&self) -> Timestamp {
        self.0.time
    }

    /// The event as it came; none behind an aggregate, whose results are no events, and of a
    /// deletion.
    pub fn event(&self) -> Option<&'r [u8]> {
        self.0.event
    }

    /// Whether it only says that there is nothing of its key any more: a record without a value, or
    /// a result that is taken back.
    pub fn is_deletion(&self) -> bool {
        self.0.is_deletion
    }

    /// The topic that it was read from, which may be one of the application's own; empty for a result
    /// of an aggregate in the same task.
    pub fn topic(&self) -> &'r str {
        self.0.topic
    }

    /// The partition that it was read from.
    pub fn partition(&self) -> i32 {
        self.0.partition
    }

    /// Its offset there; -1 for a result of an aggregate in the same task.
    pub fn offset(&self) -> i64 {
        self.0.offset
    }
}
