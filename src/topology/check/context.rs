//! What the rules look at.

use crate::format::SchemaFormat;
use crate::topology::analysis::{Analysis, Occurrences, Subject};
use crate::topology::builder::{Draft, DraftNode, Problem};
use crate::topology::finding::Place;
use crate::topology::graph::{
    Aggregate, AppId, Format, GlobalTable, Join, KafkaSink, NodeKind, NodeName, Source, SqlSink,
    WindowKind, flat_name,
};
use crate::value::{FieldPath, ValueType};

/// A field of what a sink writes.
pub(super) struct WrittenField {
    pub name: String,
    /// What its value is; [`ValueType::Any`] where that is not known.
    pub kind: ValueType,
    pub place: Place,
}

/// A draft and what follows from it.
pub(super) struct Context<'a> {
    pub app: &'a AppId,
    pub nodes: &'a [DraftNode],
    pub problems: &'a [(Place, Problem)],
    pub analysis: Analysis<'a>,
}

impl<'a> Context<'a> {
    pub fn new(draft: &'a Draft) -> Context<'a> {
        let subject = |node: &'a DraftNode| Subject {
            name: &node.name,
            kind: node.kind.as_ref(),
            has_gaps: node.has_gaps,
        };
        let subjects: Vec<_> = draft.nodes.iter().map(subject).collect();
        let analysis = Analysis::of(&subjects);
        Context {
            app: &draft.app,
            nodes: &draft.nodes,
            problems: &draft.problems,
            analysis,
        }
    }

    /// The name of a node.
    pub fn name(&self, number: usize) -> &'a str {
        self.nodes[number].name.as_str()
    }

    /// Whether every node could be read and every input was found. Rules about what is *not* there
    /// have nothing to say otherwise.
    pub fn is_complete(&self) -> bool {
        let is_found = |inputs: &Vec<Option<usize>>| inputs.iter().all(Option::is_some);
        self.nodes.iter().all(|node| node.kind.is_some())
            && self.analysis.inputs.iter().all(is_found)
    }

    /// The number of the first node of that name, the one that others mean by it.
    pub fn number_of(&self, name: &NodeName) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == *name)
    }

    /// The nodes whose kind could be read.
    pub fn kinds(&self) -> impl Iterator<Item = (usize, &'a NodeKind)> {
        let numbered = self.nodes.iter().enumerate();
        numbered.filter_map(|(number, node)| Some((number, node.kind.as_ref()?)))
    }

    pub fn sources(&self) -> impl Iterator<Item = (usize, &'a Source)> {
        self.kinds().filter_map(|(number, kind)| match kind {
            NodeKind::Source(source) => Some((number, source)),
            _ => None,
        })
    }

    /// The nodes that read topics which others fill, sources and global tables, and what they read.
    pub fn readers(&self) -> impl Iterator<Item = (usize, &'a Source)> {
        let read = |(number, kind): (usize, &'a NodeKind)| Some((number, kind.source()?));
        self.kinds().filter_map(read)
    }

    /// The global table that a node reads from as that input.
    pub fn global_table(&self, number: usize, input: usize) -> Option<usize> {
        let table = *self.analysis.inputs[number].get(input)?.as_ref()?;
        matches!(self.nodes[table].kind, Some(NodeKind::GlobalTable(_))).then_some(table)
    }

    /// The hopping windows of aggregates: their size and advance, in milliseconds.
    pub fn hopping_windows(&self) -> impl Iterator<Item = (usize, i64, i64)> {
        let hopping = |(number, aggregate): (usize, &Aggregate)| match aggregate.window?.kind {
            WindowKind::Hopping {
                size_ms,
                advance_ms,
            } => Some((number, size_ms, advance_ms)),
            _ => None,
        };
        self.aggregates().filter_map(hopping)
    }

    pub fn aggregates(&self) -> impl Iterator<Item = (usize, &'a Aggregate)> {
        self.kinds().filter_map(|(number, kind)| match kind {
            NodeKind::Aggregate(aggregate) => Some((number, aggregate)),
            _ => None,
        })
    }

    pub fn sql_sinks(&self) -> impl Iterator<Item = (usize, &'a SqlSink)> {
        self.kinds().filter_map(|(number, kind)| match kind {
            NodeKind::Sql(sink) => Some((number, sink)),
            _ => None,
        })
    }

    pub fn kafka_sinks(&self) -> impl Iterator<Item = (usize, &'a KafkaSink)> {
        self.kinds().filter_map(|(number, kind)| match kind {
            NodeKind::Kafka(sink) => Some((number, sink)),
            _ => None,
        })
    }

    /// The formats of nodes that a schema explains, with the place of their node.
    pub fn schema_formats(&self) -> impl Iterator<Item = (Place, &'a SchemaFormat)> {
        let format = |(number, kind): (usize, &'a NodeKind)| {
            let format = match kind {
                NodeKind::Source(source) | NodeKind::GlobalTable(GlobalTable { source }) => {
                    Some(&source.format)
                }
                NodeKind::Kafka(sink) => sink.format.as_ref(),
                _ => None,
            };
            match format {
                Some(Format::Schema(format)) => Some((Place::node(number), format)),
                _ => None,
            }
        };
        self.kinds().filter_map(format)
    }

    /// The fields that a sink writes: those that it names, or those of what comes to it.
    pub fn written_fields(&self, number: usize, sink: &KafkaSink) -> Vec<WrittenField> {
        let place = Place::node(number).key("fields");
        if !sink.fields.is_empty() {
            let mut names = Occurrences::default();
            let fields = sink.fields.iter().map(|(name, _)| {
                let place = names.place(place.clone(), name);
                let kind = self.analysis.type_at(&place);
                WrittenField {
                    name: name.clone(),
                    kind,
                    place,
                }
            });
            return fields.collect();
        }
        let before = &self.analysis.before[number];
        let field = |name: &str, kind| WrittenField {
            name: name.to_owned(),
            kind,
            place: place.clone(),
        };
        if before.is_open() {
            let fields = sink.fields_of_schema(before).into_iter();
            let fields = fields.map(|(name, _)| {
                let kind = before.type_of(&FieldPath::new(&name));
                field(&name, kind)
            });
            return fields.collect();
        }
        let fields = before.fields().iter();
        let fields = fields.map(|(path, kind)| field(flat_name(path).as_str(), *kind));
        fields.collect()
    }

    /// Where the input of that number is named.
    pub fn input_place(&self, number: usize, input: usize) -> Place {
        let place = Place::node(number);
        match (&self.nodes[number].kind, input) {
            (Some(NodeKind::Merge(_)), _) => place.key("from").item(input),
            (Some(NodeKind::Join(_)), 1) => place.key("with"),
            _ => place.key("from"),
        }
    }

    /// The first of these nodes and those in front of them that a record comes through which is not
    /// just passed on, as `passes` has it.
    pub fn origins(&self, nodes: &[Option<usize>], passes: fn(&NodeKind) -> bool) -> Vec<usize> {
        self.origins_through(nodes, |_, kind| passes(kind))
    }

    /// The same, where it depends on the node whether records are just passed on.
    pub fn origins_through(
        &self,
        nodes: &[Option<usize>],
        passes: impl Fn(usize, &NodeKind) -> bool,
    ) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut open: Vec<usize> = nodes.iter().flatten().copied().collect();
        let mut origins = Vec::new();
        while let Some(node) = open.pop() {
            if seen.contains(&node) {
                continue;
            }
            seen.push(node);
            match &self.nodes[node].kind {
                Some(kind) if passes(node, kind) => {
                    open.extend(self.analysis.inputs[node].iter().flatten())
                }
                _ => origins.push(node),
            }
        }
        origins
    }

    pub fn joins(&self) -> impl Iterator<Item = (usize, &'a Join)> {
        self.kinds().filter_map(|(number, kind)| match kind {
            NodeKind::Join(join) => Some((number, join)),
            _ => None,
        })
    }

    /// The topics that are read, and where they are named.
    pub fn source_topics(&self) -> impl Iterator<Item = (Place, &'a str)> {
        self.readers().flat_map(|(number, source)| {
            let place = move |item| Place::node(number).key("topics").item(item);
            source
                .topics
                .iter()
                .enumerate()
                .map(move |(item, topic)| (place(item), topic.as_str()))
        })
    }
}
