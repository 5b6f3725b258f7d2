//! What an aggregate is planned as: how it folds, what is seen behind it, what its store holds.

use super::graph::Graph;
use super::planner::{PlanError, compile};
use super::reader::ResultTopic;
use super::scope::{Layout, Scope};
use super::time::{TimeNeed, TimeSource};
use crate::expr::{Evaluator, Expression};
use crate::topology::aggregation::shared;
use crate::topology::graph::{
    Aggregate, Aggregation, Emit, Function, Node, OnError, OnLate, WINDOW_END, WINDOW_START,
    Window, WindowKind,
};
use crate::value::{FieldPath, Slot, ValueType};
use crate::window::{Calendar, Hopping, Session, Sliding, Tumbling, Windows};

/// How rows are folded.
#[derive(Debug)]
pub struct FoldShape {
    /// The parts of the key.
    pub by: Vec<KeyPart>,
    /// The field whose text must equal the record's key, when the input is trusted to be
    /// partitioned by it.
    pub partitioned_by: Option<Slot>,
    /// The windows.
    pub windows: Windows,
    /// The functions that keep an accumulator, each with its arguments.
    pub calls: Vec<(Function, Vec<Evaluator>)>,
    /// What happens to late rows.
    pub on_late: OnLate,
    /// When an expression fails or a key field is missing.
    pub on_error: OnError,
}

/// A part of a key.
#[derive(Debug)]
pub struct KeyPart {
    /// Its path, as it is written.
    pub path: FieldPath,
    /// Where it is.
    pub place: KeyPlace,
    /// What it is declared to hold.
    pub kind: ValueType,
}

/// Where a part of a key is.
#[derive(Debug)]
pub enum KeyPlace {
    /// In a field.
    Field(Slot),
    /// Inside a field that a node has computed; gives that part.
    Inside(Evaluator),
}

/// An aggregate with its store.
#[derive(Debug)]
pub struct AggregatePlan {
    /// How rows are folded; behind a repartition, how partial results are merged.
    pub shape: FoldShape,
    /// By what time rows are judged and windows close.
    pub time: TimeSource,
    /// Where results are kept.
    pub store: usize,
    /// When results leave.
    pub emit: Emit,
    /// Where results are written for SQL sinks to read; none when nobody does, or the changelog
    /// serves.
    pub results_topic: Option<String>,
    /// The row of a result.
    pub slots: ResultSlots,
    /// When a result is deleted.
    pub deletion: Option<Deletion>,
    /// How long windows stay in the store after their start (sessions: after their end), in
    /// milliseconds of stream time; none: for ever.
    pub retention_ms: Option<i64>,
    /// When the partition is caught up and silent for this long, windows close by the wall clock.
    pub idle_close_ms: Option<i64>,
}

/// The near side of a repartition.
#[derive(Debug)]
pub struct FoldPlan {
    /// How rows are folded.
    pub shape: FoldShape,
    /// Where partial results go, partitioned by the new key.
    pub topic: String,
    /// By what time rows are judged.
    pub time: TimeSource,
    /// What depends on the stream time, which goes along.
    pub tells_time: TimeNeed,
    /// Whether each row is sent by itself: the far side has to see them one after the other.
    pub one_by_one: bool,
}

/// When a result is deleted.
#[derive(Debug)]
pub struct Deletion {
    /// Gives a bool.
    pub condition: Evaluator,
    /// The results that it names, and where it looks for them.
    pub results: Vec<(ResultRead, Slot)>,
    /// How many fields its rows have.
    pub slots: usize,
}

/// Where the parts of a result go in a row.
#[derive(Clone, Debug)]
pub struct ResultSlots {
    /// The fields of the key.
    pub by: Vec<Slot>,
    /// The start and the end of the window; none without windows.
    pub window: Option<(Slot, Slot)>,
    /// The results.
    pub results: Vec<(ResultRead, Slot)>,
}

/// How a result is read. Several may be read from one accumulator.
#[derive(Clone, Debug)]
pub struct ResultRead {
    /// From which accumulator.
    pub accumulator: usize,
    /// As the result of which function.
    pub function: Function,
}

impl FoldShape {
    /// The functions.
    pub fn functions(&self) -> Vec<Function> {
        let functions = self.calls.iter().map(|(function, _)| function);
        functions.cloned().collect()
    }
}

/// How an aggregate folds its input, with the types of its key fields.
pub(super) fn fold_shape(
    node: &Node,
    aggregate: &Aggregate,
    scope: &Scope<'_>,
    graph: &Graph<'_>,
) -> Result<(FoldShape, Vec<ValueType>), PlanError> {
    let mut by = Vec::new();
    let mut by_types = Vec::new();
    for path in &aggregate.by {
        let (place, kind) = match scope.find(path) {
            Some((slot, kind)) => (KeyPlace::Field(slot), kind),
            None => {
                let inside = compile(node, &Expression::of_field(path), scope)?;
                (KeyPlace::Inside(inside), ValueType::Any)
            }
        };
        by.push(KeyPart {
            path: path.clone(),
            place,
            kind,
        });
        by_types.push(kind);
    }
    let mut calls = Vec::new();
    for aggregation in kept(aggregate) {
        let arguments = aggregation
            .arguments
            .iter()
            .map(|argument| compile(node, argument, scope))
            .collect::<Result<Vec<_>, _>>()?;
        calls.push((aggregation.function.clone(), arguments));
    }
    let partitioned_by = graph.partitioned_by(aggregate);
    let partitioned_by = partitioned_by.map(|at| &aggregate.by[at]);
    let shape = FoldShape {
        partitioned_by: partitioned_by.and_then(|path| Some(scope.find(path)?.0)),
        by,
        windows: windows(aggregate),
        calls,
        on_late: aggregate.on_late,
        on_error: aggregate.on_error,
    };
    Ok((shape, by_types))
}

/// What is seen behind an aggregate, and in which slots.
pub(super) fn results_scope<'l>(
    aggregate: &Aggregate,
    layout: &'l Layout,
    by_types: &[ValueType],
    result_types: &[ValueType],
) -> (Scope<'l>, ResultSlots) {
    let mut scope = Scope::of_results(layout);
    let by = aggregate
        .key_fields()
        .zip(by_types)
        .map(|(path, kind)| scope.add(path, *kind))
        .collect();
    let window = aggregate.window.map(|_| {
        let mut time = |name| scope.add(FieldPath::new(name), ValueType::Time);
        (time(WINDOW_START), time(WINDOW_END))
    });
    let fields = aggregate.set.iter().zip(result_types);
    let slots = fields.map(|((path, _), kind)| scope.add(path.clone(), *kind));
    let results = reads(aggregate).into_iter().zip(slots).collect();
    (
        scope,
        ResultSlots {
            by,
            window,
            results,
        },
    )
}

/// When results are deleted. The condition has rows of its own, of nothing but the results.
pub(super) fn deletion(node: &Node, aggregate: &Aggregate) -> Result<Option<Deletion>, PlanError> {
    let Some(condition) = &aggregate.delete_if else {
        return Ok(None);
    };
    let layout = Layout::default();
    let mut scope = Scope::of_results(&layout);
    let named = condition.paths();
    let is_named = |path: &FieldPath| named.iter().any(|named| named.root() == path.as_str());
    let fields = aggregate.set.iter().zip(result_types(aggregate));
    let mut results = Vec::new();
    for (((path, _), kind), read) in fields.zip(reads(aggregate)) {
        let slot = scope.add(path.clone(), kind);
        if is_named(path) {
            results.push((read, slot));
        }
    }
    Ok(Some(Deletion {
        condition: compile(node, condition, &scope)?,
        results,
        slots: layout.slots(),
    }))
}

/// What the results are known to be when they are read: a sum is whole until a fraction comes, and
/// what is read from values may be null.
pub(super) fn result_types(aggregate: &Aggregate) -> Vec<ValueType> {
    let result_type = |(_, call): &(_, Aggregation)| match call.function.result_type(None) {
        ValueType::Float => ValueType::Any,
        kind => kind,
    };
    aggregate.set.iter().map(result_type).collect()
}

/// The functions of the accumulators that are kept.
pub(super) fn functions(aggregate: &Aggregate) -> impl Iterator<Item = Function> + '_ {
    kept(aggregate)
        .into_iter()
        .map(|call| call.function.clone())
}

/// The calls that keep an accumulator.
fn kept(aggregate: &Aggregate) -> Vec<&Aggregation> {
    let calls = calls(aggregate);
    let shared = shared(&calls).into_iter().zip(0..).zip(calls);
    let kept = shared.filter(|((from, at), _)| from == at);
    kept.map(|(_, call)| call).collect()
}

/// How each result is read from those.
fn reads(aggregate: &Aggregate) -> Vec<ResultRead> {
    let calls = calls(aggregate);
    let shared = shared(&calls);
    let is_kept = |at: &usize| shared[*at] == *at;
    let reads = calls.iter().zip(&shared).map(|(call, from)| ResultRead {
        accumulator: (0..*from).filter(is_kept).count(),
        function: call.function.clone(),
    });
    reads.collect()
}

fn calls(aggregate: &Aggregate) -> Vec<&Aggregation> {
    aggregate.set.iter().map(|(_, call)| call).collect()
}

/// The windows of an aggregate.
pub(super) fn windows(aggregate: &Aggregate) -> Windows {
    let Some(Window { kind, grace_ms, .. }) = aggregate.window else {
        return Windows::Unbounded;
    };
    match kind {
        WindowKind::Tumbling { size_ms } => Windows::Tumbling(Tumbling { size_ms, grace_ms }),
        WindowKind::Calendar { period, zone } => {
            Windows::Calendar(Calendar::new(period, zone, grace_ms))
        }
        WindowKind::Hopping {
            size_ms,
            advance_ms,
        } => Windows::Hopping(Hopping::new(size_ms, advance_ms, grace_ms)),
        WindowKind::Sliding { difference_ms } => Windows::Sliding(Sliding {
            difference_ms,
            grace_ms,
        }),
        WindowKind::Session { gap_ms } => Windows::Session(Session { gap_ms, grace_ms }),
    }
}

/// What an entry of the aggregate's store is. Grace and retention may change.
pub(super) fn content(aggregate: &Aggregate) -> String {
    let by: Vec<&str> = aggregate.by.iter().map(FieldPath::as_str).collect();
    let windows = match aggregate.window {
        None => "none".to_owned(),
        Some(window) => window.kind.to_string(),
    };
    let set: Vec<&str> = aggregate
        .set
        .iter()
        .map(|(_, call)| call.text.as_str())
        .collect();
    let mut content = format!("by {}; window {windows}; {}", by.join(", "), set.join(", "));
    if let Some(condition) = &aggregate.delete_if {
        content.push_str("; deleted if ");
        content.push_str(condition.text());
    }
    content
}

/// Where SQL sinks read results: what is stored is a result and every change of it is one, unless
/// results leave at the end only, are made of panes, or are taken back. (A deletion does not stay in a
/// changelog for as long as a sink may be away.)
pub(super) fn result_topic(aggregate: &Aggregate) -> ResultTopic {
    let stores_results = match aggregate.window.map(|window| window.kind) {
        None | Some(WindowKind::Tumbling { .. } | WindowKind::Calendar { .. }) => true,
        Some(
            WindowKind::Hopping { .. } | WindowKind::Sliding { .. } | WindowKind::Session { .. },
        ) => false,
    };
    match (
        aggregate.emit,
        stores_results && aggregate.delete_if.is_none(),
    ) {
        (Emit::Updates, true) => ResultTopic::Changelog,
        _ => ResultTopic::Results,
    }
}
