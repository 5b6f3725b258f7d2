//! Rows as they are kept and sent: how they are written, and what is read of them.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::input::MARKER_KEY;
use super::input_clocks::Idle;
use super::keyed::{self, KeyedStore};
use super::operator::{Commit, Stateful, Surroundings};
use super::run::{RowFault, drop_row, move_fields};
use super::upstream::TimeTeller;
use super::{
    Before, Context, FoldedError, InRecord, Kind, NodeCounts, OperatorState, ProcessError,
    Produced, Progress, Row, deduplicate, run_all,
};
use crate::codec::{self, DecodeError};
use crate::headers::PackedHeaders;
use crate::record::{JoinedEvent, RowChange, StoredRow};
use crate::time::Timestamp;
use crate::topology::graph::NodeName;
use crate::topology::plan::{
    KeyField, Operator, OperatorId, Route, RowTopic, RowsReader, SendPlan, TablePlan, WantedFields,
    Work,
};
use crate::value::{Slot, Value, ValueType};

/// A table at work.
pub(super) struct RowTable {
    pub(super) rows: KeyedStore,
    buffer: Vec<u8>,
}

impl RowTable {
    pub(super) fn new(plan: &TablePlan, budget_bytes: usize) -> RowTable {
        RowTable {
            rows: KeyedStore::new(plan.store, budget_bytes),
            buffer: Vec::new(),
        }
    }
}

impl Stateful for RowTable {
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError> {
        self.rows.flush(commit.batch);
        Ok(())
    }

    fn committed(&mut self) {
        self.rows.committed();
    }

    fn is_full(&self) -> bool {
        self.rows.is_full()
    }
}

/// Keeps a row and sends it on, with the one that it replaces.
pub(super) fn keep_row<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &TablePlan,
    key: &[u8],
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    let operator = &context.plan.operators[id];
    let Kind::Table(table) = &mut operators[id].kind else {
        unreachable!("a table is at work here");
    };
    move_fields(&plan.moves, row);
    table.buffer.clear();
    if !row.no_value {
        stored_row(&plan.computed, row).encode_into(&mut table.buffer);
    }
    let value = (!row.no_value).then_some(table.buffer.as_slice());
    let before = table.rows.replace(context, key, value, row.arena)?;
    let before = match before {
        None => None,
        Some(bytes) => {
            let fields = row
                .arena
                .alloc_slice_fill_copy(context.plan.slots, Value::Missing);
            let stored = decode_row(&operator.node, bytes, row.arena)?;
            read_fields(&stored, &plan.wanted, row.arena, fields);
            Some(fields)
        }
    };
    operators[id].counts.output += 1;
    let earlier = std::mem::replace(&mut row.before, Before::Row(before));
    let done = run_all(context, operators, &operator.next, row);
    row.before = earlier;
    done
}

/// The row as it is kept: its event, those that were joined to it, and the fields that these do not
/// hold, or otherwise.
pub(super) fn stored_row<'s, 'a: 's>(
    computed: &'s [(String, Slot)],
    row: &Row<'_, 'a>,
) -> StoredRow<'s> {
    StoredRow::new(row.time, row.event, stored_fields(computed, row, None))
}

/// The same of a row on its way to operators that judge it by where it comes from.
pub(super) fn moved_row<'s, 'a: 's>(
    computed: &'s [(String, Slot)],
    row: &Row<'_, 'a>,
    judged_by: Timestamp,
) -> StoredRow<'s> {
    let own = (judged_by != row.time).then(|| StoredRow::judged_by_field(judged_by));
    StoredRow::new(row.time, row.event, stored_fields(computed, row, own))
}

fn stored_fields<'s, 'a: 's>(
    computed: &'s [(String, Slot)],
    row: &Row<'_, 'a>,
    own: Option<(&'s str, Value<'s>)>,
) -> &'s [(&'s str, Value<'s>)] {
    let room = row.joined.len() + computed.len() + own.iter().len();
    let mut fields: ArenaVec<'s, (&'s str, Value<'s>)> =
        ArenaVec::with_capacity_in(room, row.arena);
    fields.extend(own);
    fields.extend(row.joined.iter().map(|joined| joined.field(row.arena)));
    fields.extend(
        computed
            .iter()
            .map(|(name, slot)| (name.as_str(), row.fields[slot.index()])),
    );
    fields.into_bump_slice()
}

pub(super) fn decode_row<'a>(
    node: &NodeName,
    bytes: &'a [u8],
    arena: &'a Bump,
) -> Result<StoredRow<'a>, ProcessError> {
    StoredRow::decode(bytes, arena).map_err(foreign(node))
}

pub(super) fn foreign(node: &NodeName) -> impl Fn(DecodeError) -> ProcessError {
    move |source| ProcessError::Foreign {
        node: node.to_string(),
        source: FoldedError::from(source),
    }
}

/// The events that were joined to a kept row.
pub(super) fn joined_events<'a>(stored: &StoredRow<'a>, arena: &'a Bump) -> &'a [JoinedEvent<'a>] {
    let mut events = ArenaVec::new_in(arena);
    events.extend(stored.joined());
    events.into_bump_slice()
}

/// Fills the slots of what is wanted of a kept row.
pub(super) fn read_fields<'a>(
    stored: &StoredRow<'a>,
    wanted: &WantedFields,
    arena: &'a Bump,
    fields: &mut [Value<'a>],
) {
    for (_, slot) in &wanted.fields {
        fields[slot.index()] = Value::Missing;
    }
    if let Some(event) = stored.event() {
        event.read(&wanted.projection, arena, fields);
    }
    for (prefix, projection) in &wanted.joined {
        if let Some(joined) = stored.joined().find(|joined| joined.prefix == prefix) {
            joined.event.read(projection, arena, fields);
        }
    }
    for (name, value) in stored.fields() {
        if let Some((_, slot)) = wanted.fields.iter().find(|(path, _)| path == name) {
            fields[slot.index()] = value;
        }
    }
}

/// Sends rows to a topic of the application's own.
pub(super) struct Sender {
    buffer: Vec<u8>,
    /// Where the stream time goes along.
    time: Option<TimeTeller>,
}

impl Sender {
    pub(super) fn new(plan: &SendPlan, progress: &Progress) -> Sender {
        let own = progress.of(&plan.topic);
        let time = plan
            .tells_time
            .map(|need| TimeTeller::new(&own, &plan.time, need));
        Sender {
            buffer: Vec::new(),
            time,
        }
    }
}

impl Stateful for Sender {
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError> {
        let context = &mut *commit.context;
        let Work::Send(plan) = &context.plan.operators[commit.id].work else {
            unreachable!("rows are sent here");
        };
        match &mut self.time {
            Some(time) => time.tell(&plan.topic, context, commit.operators, commit.idle),
            None => Ok(()),
        }
    }

    /// Under the topic's name: a node may have two of these.
    fn save(&self, operator: &Operator, progress: &mut Progress) {
        if let (Some(time), Work::Send(plan)) = (&self.time, &operator.work) {
            progress.set(&plan.topic, time.progress());
        }
    }

    fn waits_for_silence(&self) -> bool {
        self.time.is_some()
    }

    fn acts_after(&self, _: &Operator, around: &Surroundings<'_>, idle: &Idle) -> bool {
        let time = self.time.as_ref();
        time.is_some_and(|time| time.acts_after(around, idle))
    }
}

/// Sends a row to a topic of the application's own.
pub(super) fn send_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &SendPlan,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let OperatorState { kind, counts, .. } = &mut operators[id];
    let Kind::Send(sender) = kind else {
        unreachable!("rows are sent here");
    };
    let Sender { buffer, time } = &mut **sender;
    let mut judged_by = row.time;
    if let Some(time) = time {
        let stream_time = time.judge_by(row, context.clocks);
        judged_by = stream_time;
        if let Some(lateness) = plan.lateness
            && row.time < stream_time.plus_millis(-lateness.grace_ms)
        {
            let (on_error, fault) = deduplicate::late(lateness.on_late, row, stream_time);
            let RowFault { reason, message } = fault;
            let node = &context.plan.operators[id].node;
            return drop_row(context, counts, node, on_error, reason, &message, row);
        }
    }
    buffer.clear();
    let stored = moved_row(&plan.computed, row, judged_by);
    let change = match row.no_value {
        true => RowChange::Deleted(stored),
        false => RowChange::Row(stored),
    };
    change.encode_into(buffer);
    Ok(context.outputs.produce(Produced {
        topic: &plan.topic,
        partition: match plan.route {
            Route::ByKey => None,
            Route::Same => Some(context.share.partition),
        },
        key: row.key,
        value: Some(buffer),
        timestamp: row.time,
        headers: match plan.passes_headers {
            true => row.record.headers,
            false => PackedHeaders::NONE,
        },
    })?)
}

/// A row that another sub-topology keeps or has sent, or that it is no more.
pub(super) fn read_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    counts: &mut NodeCounts,
    reader: &RowsReader,
    number: usize,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let input = &context.plan.inputs[number];
    if is_about_time(reader, &row.record) {
        return take_time(context, reader, number, row);
    }
    let Some(change) = read_change(reader, row)? else {
        return Ok(());
    };
    row.before = match reader.replace {
        true => Before::Unknown,
        false => Before::Stream,
    };
    match change {
        RowChange::Deleted(stored) => {
            (row.time, row.judged_by) = (stored.time(), stored.judged_by());
            row.no_value = true;
            row.record.value = None;
            row.event = None;
            read_fields(&stored, &reader.wanted, row.arena, row.fields);
            fill_key(reader.key, row);
        }
        RowChange::Row(stored) => {
            (row.time, row.judged_by) = (stored.time(), stored.judged_by());
            row.no_value = false;
            row.event = stored.event();
            row.record.value = row.event.map(|event| event.bytes());
            row.joined = joined_events(&stored, row.arena);
            read_fields(&stored, &reader.wanted, row.arena, row.fields);
        }
    }
    counts.output += 1;
    context.clocks.advance(number, row.time);
    run_all(context, operators, &input.next, row)
}

/// Whether an upstream of a repartition says with a record only how far it is.
pub(super) fn is_about_time(reader: &RowsReader, record: &InRecord<'_>) -> bool {
    reader.topic == RowTopic::Repartition && record.key.is_none()
}

/// Tells those behind a repartition how far an upstream is.
fn take_time(
    context: &mut Context<'_>,
    reader: &RowsReader,
    number: usize,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let time = codec::decode(row.record.value.unwrap_or_default());
    let time = time.map_err(|_| ProcessError::Damaged {
        node: reader.node.to_string(),
        what: "an upstream's stream time",
    })?;
    context.clocks.upstream(number, &time);
    Ok(())
}

/// What a record says of its key, which is put into the row; nothing, if it is no row at all.
fn read_change<'a>(
    reader: &RowsReader,
    row: &mut Row<'_, 'a>,
) -> Result<Option<RowChange<'a>>, ProcessError> {
    let bytes = row.record.value;
    match reader.topic {
        RowTopic::Repartition | RowTopic::Results => {
            let change = RowChange::decode(bytes.unwrap_or_default(), row.arena);
            change.map(Some).map_err(foreign(&reader.node))
        }
        RowTopic::Changelog => {
            let Some(key) = row.record.key.filter(|key| *key != MARKER_KEY) else {
                return Ok(None);
            };
            let key = keyed::record_key(key).ok_or_else(|| ProcessError::Damaged {
                node: reader.node.to_string(),
                what: "a row's key",
            })?;
            row.key = Some(key);
            Ok(Some(match bytes {
                None => RowChange::Deleted(StoredRow::new(row.record.timestamp, None, &[])),
                Some(bytes) => RowChange::Row(decode_row(&reader.node, bytes, row.arena)?),
            }))
        }
    }
}

/// Fills the field that holds the key of a record, which is all that is known of one without a value.
pub(super) fn fill_key(key: Option<KeyField>, row: &mut Row<'_, '_>) {
    let Some(field) = key else {
        return;
    };
    let text = row.key.and_then(|key| std::str::from_utf8(key).ok());
    let value = text.map(|text| match field.kind {
        ValueType::Int => text.parse().map_or(Value::Str(text), Value::Int),
        _ => Value::Str(text),
    });
    row.set(field.slot, value.unwrap_or(Value::Null));
}
