//! Global tables: every process has all rows, so a record finds any of them, whatever its partition.

use super::graph::{OnError, Source};
use crate::value::ValueType;

/// Reads topics, of any partition counts, for the rows of a table that each process has whole: the last
/// record of a key is its row, and one without a value deletes it. Joins look rows up in it.
///
/// It follows its topics on its own, apart from the records that are processed: which version of a row a
/// record meets depends on when it comes.
#[derive(Clone, Debug)]
pub struct GlobalTable {
    /// The topics, their format and the declared fields; the rest of it means nothing here. Several
    /// topics have no keys in common.
    pub(crate) source: Source,
}

impl GlobalTable {
    /// The rows of these topics. A record that cannot be read or has no key is dropped, unless
    /// [`GlobalTable::on_error`] says otherwise, and the earlier row of its key stays. Rows have the
    /// times that the log has for their records.
    pub fn new(source: Source) -> GlobalTable {
        let source = source.on_error(OnError::Drop);
        GlobalTable { source }
    }

    /// The rows of one topic, as JSON objects.
    pub fn json(topic: &str) -> GlobalTable {
        GlobalTable::new(Source::json(topic))
    }

    /// Declares the type of a field.
    #[must_use]
    pub fn field(mut self, path: &str, kind: ValueType) -> GlobalTable {
        self.source = self.source.field(path, kind);
        self
    }

    /// What happens to a record that cannot be read or has no key: dropped, or the process stops. It is
    /// no dead letter, as every process reads it, whenever it reads the table anew.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> GlobalTable {
        self.source.on_error = reaction;
        self
    }
}
