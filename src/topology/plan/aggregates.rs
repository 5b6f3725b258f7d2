//! What an aggregate is planned as: how it folds, what is seen behind it, what its store holds.

use super::graph::Graph;
use super::planner::{PlanError, compile, error};
use super::scope::{Layout, Scope};
use super::{FoldShape, ResultSlots, ResultTopic};
use crate::topology::graph::{
    Aggregate, Emit, Function, Node, WINDOW_END, WINDOW_START, Window, WindowKind,
};
use crate::value::{FieldPath, ValueType};
use crate::window::{Hopping, Session, Sliding, Tumbling, Windows};

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
        let found = scope.find(path);
        let (slot, kind) = found.ok_or_else(|| error(node, format!("no field {path}")))?;
        by.push(slot);
        by_types.push(kind);
    }
    let mut calls = Vec::new();
    for (_, aggregation) in &aggregate.set {
        let arguments = aggregation
            .arguments
            .iter()
            .map(|argument| compile(node, argument, scope))
            .collect::<Result<Vec<_>, _>>()?;
        calls.push((aggregation.function, arguments));
    }
    let shape = FoldShape {
        partitioned_by: graph.partitioned_by(aggregate).map(|at| by[at]),
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
    let results = aggregate
        .set
        .iter()
        .zip(result_types)
        .map(|((path, _), kind)| scope.add(path.clone(), *kind))
        .collect();
    (
        scope,
        ResultSlots {
            by,
            window,
            results,
        },
    )
}

pub(super) fn result_types(aggregate: &Aggregate) -> Vec<ValueType> {
    functions(aggregate)
        .map(|function| match function {
            Function::Count | Function::CountIf | Function::Distinct => ValueType::Int,
            // A sum is whole until a fraction comes, and the others may be null.
            Function::Sum
            | Function::Min
            | Function::Max
            | Function::Avg
            | Function::StddevPop
            | Function::StddevSamp
            | Function::First
            | Function::Last => ValueType::Any,
        })
        .collect()
}

pub(super) fn functions(aggregate: &Aggregate) -> impl Iterator<Item = Function> + '_ {
    aggregate
        .set
        .iter()
        .map(|(_, aggregation)| aggregation.function)
}

/// The windows of an aggregate.
pub(super) fn windows(aggregate: &Aggregate) -> Windows {
    let Some(Window { kind, grace_ms, .. }) = aggregate.window else {
        return Windows::Unbounded;
    };
    match kind {
        WindowKind::Tumbling { size_ms } => Windows::Tumbling(Tumbling { size_ms, grace_ms }),
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
    format!("by {}; window {windows}; {}", by.join(", "), set.join(", "))
}

/// Where SQL sinks read results: what is stored is a result and every change of it is one, unless
/// results leave at the end only, are made of panes, or are taken back.
pub(super) fn result_topic(aggregate: &Aggregate) -> ResultTopic {
    let stores_results = match aggregate.window.map(|window| window.kind) {
        None | Some(WindowKind::Tumbling { .. }) => true,
        Some(
            WindowKind::Hopping { .. } | WindowKind::Sliding { .. } | WindowKind::Session { .. },
        ) => false,
    };
    match (aggregate.emit, stores_results) {
        (Emit::Updates, true) => ResultTopic::Changelog,
        _ => ResultTopic::Results,
    }
}
