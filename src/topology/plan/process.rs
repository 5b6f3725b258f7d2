//! What a node that runs a processor is planned as.

use crate::expr::Evaluator;
use crate::topology::graph::OnError;
use crate::topology::process::Supplier;
use crate::value::{Slot, ValueType};

/// Runs a user's processor, with its stores.
#[derive(Debug)]
pub struct ProcessPlan {
    /// Makes the processor of a task.
    pub supplier: Supplier,
    /// Under which names it sees what of a record.
    pub names: Vec<String>,
    /// What that is, in the same order.
    pub reads: Vec<Evaluator>,
    /// The fields that it gives, and where they go.
    pub gives: Vec<GivenField>,
    /// Whether what it gives for a record has the record's own fields as well.
    pub keeps_fields: bool,
    /// Its stores: name, and number in the sub-topology.
    pub stores: Vec<(String, usize)>,
    /// When it cannot handle a record, or an expression fails.
    pub on_error: OnError,
}

/// A field that a processor gives.
#[derive(Debug)]
pub struct GivenField {
    /// Its name.
    pub name: String,
    /// What it may hold, besides null.
    pub kind: ValueType,
    /// Where it goes.
    pub slot: Slot,
}
