//! The tree of an expression: what is left of CEL once names are told apart into fields and
//! variables, and operators, functions and macros are known. Every node has its place in the text.

use std::ops::Range;

use super::constant::Constant;
use super::function::Function;
use crate::value::FieldPath;

pub(super) struct Node {
    pub range: Range<usize>,
    pub kind: NodeKind,
}

pub(super) enum NodeKind {
    /// Something that was refused; the error is kept beside the tree. Its parts stay, so that what
    /// is wrong with them is found too.
    Refused(Vec<Node>),
    Constant(Constant),
    /// The longest chain of names that begins at a field of the record.
    Field(FieldPath),
    /// A variable of [`Each`]; 0 is the innermost.
    Local(usize),
    /// `operand.name`, where the operand is not a field of the record.
    Select(Box<Node>, Box<str>),
    Has(Box<Node>),
    Index(Box<[Node; 2]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    /// `condition ? then : otherwise`.
    If(Box<[Node; 3]>),
    Binary(Operator, Box<[Node; 2]>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Call(&'static Function, Vec<Node>),
    Each(Box<Each>),
}

/// A macro over the items of a list, or over the names in a map. `test` and `value` see the item
/// as their innermost variable.
pub(super) struct Each {
    pub macro_: Macro,
    pub over: Node,
    pub test: Option<Node>,
    pub value: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Operator {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::In => "in",
        }
    }
}

impl Node {
    /// Visits every node of the tree, in the order of the text.
    pub(super) fn visit(&self, see: &mut dyn FnMut(&NodeKind)) {
        see(&self.kind);
        match &self.kind {
            NodeKind::Constant(_) | NodeKind::Local(_) | NodeKind::Field(_) => {}
            NodeKind::Select(operand, _)
            | NodeKind::Has(operand)
            | NodeKind::Not(operand)
            | NodeKind::Negate(operand) => operand.visit(see),
            NodeKind::Index(two)
            | NodeKind::And(two)
            | NodeKind::Or(two)
            | NodeKind::Binary(_, two) => two.iter().for_each(|node| node.visit(see)),
            NodeKind::If(three) => three.iter().for_each(|node| node.visit(see)),
            NodeKind::Refused(nodes) | NodeKind::List(nodes) | NodeKind::Call(_, nodes) => {
                nodes.iter().for_each(|node| node.visit(see));
            }
            NodeKind::Map(entries) => {
                for (name, value) in entries {
                    name.visit(see);
                    value.visit(see);
                }
            }
            NodeKind::Each(each) => {
                let inner = each.test.iter().chain(&each.value);
                std::iter::once(&each.over)
                    .chain(inner)
                    .for_each(|node| node.visit(see));
            }
        }
    }
}
