//! What the tests of a topology can name: its sources, what it writes, what it keeps, its nodes.

use crate::topology::graph::{NodeKind, Source, Topology};
use crate::topology::plan::dead_letter_topic;
use crate::topology::shape::{Lookup, Shape};
use crate::value::{FieldPath, ValueType};

/// A topology with which nothing is wrong, as its tests see it.
pub(in crate::config) struct Subjects<'t> {
    topology: &'t Topology,
    /// What leaves each node.
    shapes: Vec<Shape>,
    /// Of a dead letter nothing is known: it is whatever has come.
    letter: Shape,
}

/// The fields of records or rows, of which several nodes may write some.
pub(in crate::config) struct Fields<'s> {
    shapes: Vec<&'s Shape>,
    /// Whether they are columns, which hold nothing that is not of their types. What a source declares of
    /// a field of records is what is to be expected there, and a test may bring something else.
    pub(super) are_columns: bool,
}

/// What is kept.
pub(super) enum Kept<'s> {
    /// By an aggregate.
    Results(Fields<'s>),
    /// By a table, global or not.
    Rows(Fields<'s>),
}

impl<'t> Subjects<'t> {
    pub fn of(topology: &'t Topology) -> Subjects<'t> {
        Subjects {
            topology,
            shapes: topology.shapes(),
            letter: Shape::unknown(),
        }
    }

    /// All sources and global tables, by their nodes.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&'t str, &'t Source)> + Clone {
        let nodes = self.topology.nodes.iter();
        nodes.filter_map(|node| Some((node.name.as_str(), node.kind.source()?)))
    }

    /// The records of a topic that Kafka sinks write, or of the dead letters; none when nothing writes it.
    pub(super) fn topic(&self, topic: &str) -> Option<Fields<'_>> {
        if topic == self.dead_letters() {
            return Some(Fields::of_records(vec![&self.letter]));
        }
        self.written(|kind| matches!(kind, NodeKind::Kafka(sink) if sink.topic == topic))
    }

    fn dead_letters(&self) -> String {
        dead_letter_topic(&self.topology.app)
    }

    /// The topics that Kafka sinks write.
    pub(super) fn topics(&self) -> Vec<&'t str> {
        let topics = self
            .topology
            .nodes
            .iter()
            .filter_map(|node| match &node.kind {
                NodeKind::Kafka(sink) => Some(sink.topic.as_str()),
                _ => None,
            });
        topics.collect()
    }

    /// The rows of a SQL table; none when nothing writes it.
    pub(super) fn table(&self, table: &str) -> Option<Fields<'_>> {
        let rows =
            self.written(|kind| matches!(kind, NodeKind::Sql(sink) if sink.table == table))?;
        Some(Fields {
            are_columns: true,
            ..rows
        })
    }

    /// The SQL tables.
    pub(super) fn tables(&self) -> Vec<&'t str> {
        let tables = self
            .topology
            .nodes
            .iter()
            .filter_map(|node| match &node.kind {
                NodeKind::Sql(sink) => Some(sink.table.as_str()),
                _ => None,
            });
        tables.collect()
    }

    /// What a node keeps; none when there is no such node, or it keeps nothing that can be looked at.
    pub(super) fn kept(&self, node: &str) -> Option<Kept<'_>> {
        let at = self.topology.nodes.iter();
        let at = at
            .enumerate()
            .find(|(_, known)| known.name.as_str() == node);
        let (at, found) = at?;
        let fields = Fields::of_records(vec![&self.shapes[at]]);
        match &found.kind {
            NodeKind::Aggregate(_) => Some(Kept::Results(fields)),
            NodeKind::Table(table) if table.stored => Some(Kept::Rows(fields)),
            NodeKind::GlobalTable(_) => Some(Kept::Rows(fields)),
            _ => None,
        }
    }

    /// The nodes of which [`Subjects::kept`] knows.
    pub(super) fn stores(&self) -> Vec<&'t str> {
        let mut names = self.nodes();
        names.retain(|name| self.kept(name).is_some());
        names
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> Vec<&'t str> {
        let nodes = self.topology.nodes.iter();
        nodes.map(|node| node.name.as_str()).collect()
    }

    fn written(&self, writes: impl Fn(&NodeKind) -> bool) -> Option<Fields<'_>> {
        let nodes = self.topology.nodes.iter().zip(&self.shapes);
        let shapes: Vec<&Shape> = nodes
            .filter(|(node, _)| writes(&node.kind))
            .map(|(_, shape)| shape)
            .collect();
        (!shapes.is_empty()).then_some(Fields::of_records(shapes))
    }
}

impl<'s> Fields<'s> {
    fn of_records(shapes: Vec<&'s Shape>) -> Fields<'s> {
        Fields {
            shapes,
            are_columns: false,
        }
    }

    /// What a field can hold; none when it cannot be there. A name with a dot is not known to be the
    /// path of a field, nor is it known not to be one.
    pub(super) fn type_of(&self, name: &str) -> Option<ValueType> {
        if name.contains('.') {
            return Some(ValueType::Any);
        }
        let path = FieldPath::new(name);
        let mut kinds = self
            .shapes
            .iter()
            .filter_map(|shape| match shape.lookup(&path) {
                Lookup::Absent => None,
                Lookup::Typed(kind) => Some(kind),
                Lookup::Undeclared | Lookup::Inside(..) => Some(ValueType::Any),
            });
        let first = kinds.next()?;
        let same = kinds.all(|kind| kind == first);
        Some(if same { first } else { ValueType::Any })
    }

    /// The fields that are known to be there.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (path, _) in self.shapes.iter().flat_map(|shape| shape.fields()) {
            if !names.contains(&path.as_str()) {
                names.push(path.as_str());
            }
        }
        names
    }

    /// The fields that tell a row from all others; empty when there are none, or writers differ.
    pub(super) fn key(&self) -> Vec<&str> {
        let mut keys = self.shapes.iter().map(|shape| shape.key());
        let first = keys.next().unwrap_or_default();
        match keys.all(|key| key == first) {
            true => first.iter().map(FieldPath::as_str).collect(),
            false => Vec::new(),
        }
    }
}
