//! Tables, and nodes that put two inputs together.

use super::graph::{NodeName, OnError};
use crate::expr::Expression;
use crate::value::FieldPath;

/// Takes records for the rows of a table: the last record of a key is its row, and one without a value
/// deletes it. Of those behind it, each knows which earlier row a row replaces.
#[derive(Clone, Debug)]
pub struct Table {
    /// The input.
    pub from: NodeName,
    /// Whether the rows are kept, in a store. If not, earlier rows are not known: whatever does not
    /// pass a filter becomes a deletion.
    pub stored: bool,
    /// What happens to a record without a key.
    pub on_error: OnError,
}

/// Puts the rows of two inputs with equal keys together.
///
/// A stream finds the row that a table has at that moment; in a [`GlobalTable`](super::graph::GlobalTable) under any key. Two
/// tables make one, which changes with either. Of two streams, records with times near to each other
/// make pairs.
#[derive(Clone, Debug)]
pub struct Join {
    /// The left input, whose fields keep their names, and the right one.
    pub inputs: [NodeName; 2],
    /// How near records of two streams have to be; none: the right input is a table.
    pub within: Option<JoinWindow>,
    /// Gives the key of the right row, from a left one: of another table (a foreign key), or of a
    /// [`GlobalTable`](super::graph::GlobalTable); as a text, or anything else as JSON; null: there is no row. None: both have the
    /// same key.
    pub on: Option<Expression>,
    /// Which keys have a result.
    pub kind: JoinKind,
    /// What the paths of the right input's fields begin with behind the join, without the dot.
    pub prefix: FieldPath,
    /// What happens to a record without a key or a value.
    pub on_error: OnError,
}

/// How near to each other records of two streams have to be. The right one's time is from `before`
/// earlier than the left one's to `after` later, both included; lengths in milliseconds, not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindow {
    /// How much earlier the right record may be.
    pub before_ms: i64,
    /// How much later it may be.
    pub after_ms: i64,
    /// For how much longer, in stream time, a record waits for another one that is out of order.
    pub grace_ms: i64,
}

/// Which keys have a result; of two streams, which records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinKind {
    /// Those that both inputs have.
    #[default]
    Inner,
    /// Those that the left input has.
    Left,
    /// Those that either input has.
    Outer,
}

/// One of the inputs of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one after `from`.
    Left,
    /// The one after `with`.
    Right,
}

impl JoinWindow {
    /// How much later than a record of this side one of the other side may be.
    pub fn reach_ms(&self, side: Side) -> i64 {
        match side {
            Side::Left => self.after_ms,
            Side::Right => self.before_ms,
        }
    }

    /// For how long, in stream time, a record of a side waits for one of the other side.
    pub fn wait_ms(&self, side: Side) -> i64 {
        self.reach_ms(side).saturating_add(self.grace_ms)
    }

    /// For how long, in stream time, a record is kept.
    pub fn kept_ms(&self) -> i64 {
        let window_ms = self.before_ms.saturating_add(self.after_ms);
        window_ms.saturating_add(self.grace_ms)
    }
}

impl Side {
    /// Both, in the order of the inputs.
    pub const BOTH: [Side; 2] = [Side::Left, Side::Right];

    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// The word for it in the names of stores and topics.
    pub fn word(self) -> &'static str {
        match self {
            Side::Left => "left",
            Side::Right => "right",
        }
    }
}

impl Join {
    /// The input of that side.
    pub fn input(&self, side: Side) -> &NodeName {
        &self.inputs[side as usize]
    }
}

impl JoinKind {
    /// The word for it in topology files.
    pub fn word(self) -> &'static str {
        match self {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
            JoinKind::Outer => "outer",
        }
    }

    /// Whether a key has a result that only this side has.
    pub fn keeps(self, side: Side) -> bool {
        match self {
            JoinKind::Inner => false,
            JoinKind::Left => side == Side::Left,
            JoinKind::Outer => true,
        }
    }
}
