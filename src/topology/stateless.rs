//! Nodes that take each record by itself.

use super::graph::{NodeName, OnError};
use crate::expr::Expression;
use crate::value::FieldPath;

/// Lets pass the records for which the expression is true, or those for which it is not.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The input.
    pub from: NodeName,
    /// Must give a bool.
    pub condition: Expression,
    /// What the condition gives for a record that passes.
    pub passes_when: bool,
    /// When the expression fails.
    pub on_error: OnError,
}

/// Adds or replaces fields, one after the other: a later one sees the earlier ones.
#[derive(Clone, Debug)]
pub struct Map {
    /// The input.
    pub from: NodeName,
    /// Field name and its expression.
    pub set: Vec<(FieldPath, Expression)>,
    /// Must give a bool; records for which it is true lose their value: they say that what is known
    /// of their key is no more. It sees the fields of `set`.
    pub tombstone_if: Option<Expression>,
    /// When an expression fails.
    pub on_error: OnError,
}

/// Makes a record of each element of a list, all with the key and the other fields of the record
/// that it is in.
#[derive(Clone, Debug)]
pub struct FlatMap {
    /// The input.
    pub from: NodeName,
    /// Must give a list; of null or a missing field nothing is made.
    pub each: Expression,
    /// The field that holds the element.
    pub element: FieldPath,
    /// The field that holds the element's place in the list, counted from 0.
    pub position: Option<FieldPath>,
    /// When the expression fails or gives something else.
    pub on_error: OnError,
}

/// Replaces the key of records. They stay in their partition until a node that needs them together
/// moves them.
#[derive(Clone, Debug)]
pub struct SelectKey {
    /// The input.
    pub from: NodeName,
    /// The new key: a text, or anything else as JSON; null for none.
    pub key: Expression,
    /// When the expression fails.
    pub on_error: OnError,
}

/// Sends each record to the first of its [arms](Arm) whose condition is true. Nodes read from those,
/// not from the branch itself.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The input.
    pub from: NodeName,
    /// The name of each arm and its condition, which must give a bool; they are asked in this order.
    pub arms: Vec<(String, Expression)>,
    /// The arm of records for which none is true; without it, they end here.
    pub default: Option<String>,
    /// When a condition fails.
    pub on_error: OnError,
}

/// The records that a branch sends one way; its node has the name `branch.arm`.
#[derive(Clone, Debug)]
pub struct Arm {
    /// The branch.
    pub from: NodeName,
    /// Which of its arms; as many as there are conditions: the default one.
    pub number: usize,
}

/// Makes one stream of several, with all their records.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The inputs, at least two.
    pub from: Vec<NodeName>,
}

/// Makes records of a stream of rows that replace one another: each update stands for itself from then on.
#[derive(Clone, Debug)]
pub struct ToStream {
    /// The input.
    pub from: NodeName,
}

/// Writes what passes into the log of the process, and passes it on as it is.
#[derive(Clone, Debug)]
pub struct Log {
    /// The input.
    pub from: NodeName,
    /// What is written; the record as it came unless given.
    pub text: Option<Expression>,
    /// Of so many records one is written, the first of them; at least 1.
    pub every: u64,
}
