//! What stateless nodes are planned as.

use super::draft::Outlet;
use super::planner::{PlanError, compile, error};
use super::{OperatorId, Work};
use crate::expr::Evaluator;
use crate::topology::graph::{Branch, FlatMap, Map, Node, NodeKind};
use crate::value::{FieldPath, Slot, ValueType};

/// A field that is computed.
#[derive(Debug)]
pub struct Assignment {
    /// Its path.
    pub field: FieldPath,
    /// Where it goes.
    pub slot: Slot,
    /// Gives it.
    pub value: Evaluator,
}

/// A way behind a branch.
#[derive(Debug)]
pub struct Way {
    /// Gives a bool; none: this way goes what went no other.
    pub condition: Option<Evaluator>,
    /// Who is behind it; none: rows end here.
    pub next: Option<OperatorId>,
}

/// The work of a node with one input and one output; the fields that it makes are added to what is
/// seen behind it.
pub(super) fn work(node: &Node, outlet: &mut Outlet<'_>) -> Result<Work, PlanError> {
    match &node.kind {
        NodeKind::Filter(filter) => Ok(Work::Filter {
            condition: compile(node, &filter.condition, &outlet.scope)?,
            passes_when: filter.passes_when,
            on_error: filter.on_error,
        }),
        NodeKind::Map(map) => map_work(node, map, outlet),
        NodeKind::FlatMap(flat_map) => flat_map_work(node, flat_map, outlet),
        NodeKind::SelectKey(select) => Ok(Work::SelectKey {
            key: compile(node, &select.key, &outlet.scope)?,
            on_error: select.on_error,
        }),
        NodeKind::Log(log) => {
            let text = log.text.as_ref();
            let text = text.map(|text| compile(node, text, &outlet.scope));
            Ok(Work::Log {
                text: text.transpose()?,
                every: log.every,
            })
        }
        NodeKind::Arm(_) => Ok(Work::Pass),
        NodeKind::ToStream(_) => Ok(Work::ToStream),
        NodeKind::Table(table) if !table.stored => Ok(Work::Updates {
            on_error: table.on_error,
        }),
        _ => Err(error(node, "is not stateless")),
    }
}

fn map_work(node: &Node, map: &Map, outlet: &mut Outlet<'_>) -> Result<Work, PlanError> {
    let mut set = Vec::with_capacity(map.set.len());
    for (path, expression) in &map.set {
        let value = compile(node, expression, &outlet.scope)?;
        let slot = outlet.scope.add(path.clone(), value.result_type());
        set.push(Assignment {
            field: path.clone(),
            slot,
            value,
        });
    }
    let tombstone_if = map.tombstone_if.as_ref();
    let tombstone_if = tombstone_if.map(|condition| compile(node, condition, &outlet.scope));
    Ok(Work::Map {
        set,
        tombstone_if: tombstone_if.transpose()?,
        on_error: map.on_error,
    })
}

fn flat_map_work(
    node: &Node,
    flat_map: &FlatMap,
    outlet: &mut Outlet<'_>,
) -> Result<Work, PlanError> {
    let each = compile(node, &flat_map.each, &outlet.scope)?;
    let element = outlet.scope.add(flat_map.element.clone(), ValueType::Any);
    let position = flat_map.position.clone();
    Ok(Work::FlatMap {
        each,
        element,
        position: position.map(|path| outlet.scope.add(path, ValueType::Int)),
        on_error: flat_map.on_error,
    })
}

/// The work of a branch; who is behind each way is not known yet.
pub(super) fn branch(node: &Node, branch: &Branch, outlet: &Outlet<'_>) -> Result<Work, PlanError> {
    let mut ways = Vec::with_capacity(branch.arms.len() + 1);
    for (_, condition) in &branch.arms {
        ways.push(Way {
            condition: Some(compile(node, condition, &outlet.scope)?),
            next: None,
        });
    }
    ways.push(Way {
        condition: None,
        next: None,
    });
    Ok(Work::Branch {
        ways,
        on_error: branch.on_error,
    })
}
