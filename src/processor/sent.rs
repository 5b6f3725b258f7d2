//! Rows on their way to SQL sinks, through the results topic of a node that is neither an aggregate
//! nor a table.
//!
//! The record has the row's key; its value is the [`StoredRow`] and whether the row is no more. A row
//! that is deleted has the fields that are known of it all the same: the sink finds its key there.

use super::rows::{self, fill_key, read_fields};
use super::{Before, Context, NodeCounts, OperatorState, ProcessError, Produced, Row, run_all};
use crate::codec;
use crate::record::StoredRow;
use crate::topology::plan::{Input, RowsReader};

/// A row that goes to SQL sinks, or that is no more.
pub(super) struct Sent<'r> {
    pub(super) key: Option<&'r [u8]>,
    pub(super) no_value: bool,
    pub(super) row: StoredRow<'r>,
}

/// Writes a row to a results topic, in the task's own partition.
pub(super) fn send_row(
    context: &mut Context<'_>,
    topic: &str,
    sent: &Sent<'_>,
    buffer: &mut Vec<u8>,
) -> Result<(), ProcessError> {
    buffer.clear();
    codec::encode_into(&(sent.no_value, &sent.row), buffer);
    let partition = Some(context.partition().0);
    Ok(context.outputs.produce(Produced {
        topic,
        partition,
        key: sent.key,
        value: Some(buffer),
        timestamp: sent.row.time(),
    })?)
}

/// A row that another sub-topology has sent.
pub(super) fn read_sent_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    counts: &mut NodeCounts,
    reader: &RowsReader,
    input: &Input,
    replaces: bool,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let bytes = row.record.value.unwrap_or_default();
    let sent = codec::decode_borrowed(bytes, row.arena);
    let (no_value, stored): (bool, StoredRow<'_>) =
        sent.map_err(|error| rows::foreign(&reader.node, error))?;
    row.time = stored.time();
    row.no_value = no_value;
    row.record.value = stored.raw();
    row.before = match replaces {
        true => Before::Unknown,
        false => Before::Stream,
    };
    read_fields(&stored, &reader.wanted, row.arena, row.fields);
    if no_value {
        fill_key(reader.key, row);
    }
    counts.output += 1;
    run_all(context, operators, &input.next, row)
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;

    use super::*;
    use crate::time::Timestamp;
    use crate::value::Value;

    #[test]
    fn bytes_of_the_format_stay_as_they_are() {
        let fields = [("n", Value::Int(3))];
        let mut bytes = Vec::new();
        codec::encode_into(
            &(true, StoredRow::new(Timestamp(7), None, &fields)),
            &mut bytes,
        );
        assert_eq!(bytes, [1, 1, 14, 0, 1, 1, b'n', 4, 6]);
        let arena = Bump::new();
        let (no_value, row): (bool, StoredRow<'_>) =
            codec::decode_borrowed(&bytes, &arena).unwrap();
        assert!(no_value);
        assert_eq!(row.fields(), &fields);
    }
}
