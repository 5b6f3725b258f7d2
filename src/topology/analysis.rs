//! What follows from the nodes of a topology: who reads from whom, in which order, with which
//! fields and types. It takes topologies that are wrong in any way: what depends on a mistake is
//! unknown, so that one mistake does not look like many.

use std::collections::HashMap;
use std::ops::Range;

use super::finding::Place;
use super::graph::{
    Aggregate, FlatMap, KafkaSink, Map, Node, NodeKind, NodeName, Side, SqlSink, Topology,
    flat_name,
};
use super::shape::{Lookup, Shape};
use crate::expr::{ExprError, Expression};
use crate::value::{FieldPath, ValueType};

/// A node as the analysis sees it.
pub(super) struct Subject<'a> {
    pub name: &'a NodeName,
    /// None when only its name is known.
    pub kind: Option<&'a NodeKind>,
    /// Whether its records may have fields that cannot be seen.
    pub has_gaps: bool,
}

/// What follows from the nodes; everything is indexed by the number of the node.
pub(super) struct Analysis<'a> {
    /// The number of each input; none when there is no node of that name.
    pub inputs: Vec<Vec<Option<usize>>>,
    /// Who reads from it.
    pub consumers: Vec<Vec<usize>>,
    /// Those that read from themselves, directly or through others.
    pub in_cycle: Vec<bool>,
    /// What comes in, on the left side of a join; unknown for a source.
    pub before: Vec<Shape>,
    /// What leaves.
    pub after: Vec<Shape>,
    /// Every expression.
    pub expressions: Vec<Checked<'a>>,
}

/// An expression, bound to the fields of its node's input.
pub(super) struct Checked<'a> {
    pub place: Place,
    /// Which bytes of the text at `place` it is; none for all.
    pub part: Option<Range<usize>>,
    pub expression: &'a Expression,
    /// The type of its value, or what is wrong; the types of the fields are respected.
    pub outcome: Result<ValueType, Vec<ExprError>>,
    /// The fields that it reads, with what is known about them.
    pub reads: Vec<(Lookup, FieldPath)>,
}

impl Checked<'_> {
    /// Where in the text at its place the expression names a field; the first time, if it does so
    /// more than once.
    pub fn range_of(&self, path: &FieldPath) -> Option<Range<usize>> {
        let start = self.part.as_ref().map_or(0, |part| part.start);
        let at = self.expression.text().find(path.as_str())? + start;
        Some(at..at + path.as_str().len())
    }

    /// What is wrong because of the fields and their types; nothing while the expression itself is
    /// wrong.
    pub fn type_errors(&self) -> &[ExprError] {
        match &self.outcome {
            Err(errors) if self.expression.errors().is_empty() => errors,
            _ => &[],
        }
    }

    /// Whether the mistake is that a field cannot be there.
    pub fn is_absent_field(&self, error: &ExprError) -> bool {
        let text = self.expression.text().get(error.range.clone());
        let is_it = |(lookup, path): &(Lookup, FieldPath)| {
            *lookup == Lookup::Absent && text == Some(path.as_str())
        };
        self.reads.iter().any(is_it)
    }

    /// The range of a mistake, in the text at its place.
    pub fn range_in_place(&self, error: &ExprError) -> Range<usize> {
        let start = self.part.as_ref().map_or(0, |part| part.start);
        error.range.start + start..error.range.end + start
    }
}

impl Topology {
    /// The shape of the records that leave each node, in the order of `nodes`; for a sink, of what
    /// it writes.
    pub fn shapes(&self) -> Vec<Shape> {
        Analysis::of(&self.nodes.iter().map(Subject::of).collect::<Vec<_>>()).after
    }
}

impl<'a> Subject<'a> {
    /// A node of a topology with which nothing is wrong.
    fn of(node: &'a Node) -> Subject<'a> {
        Subject {
            name: &node.name,
            kind: Some(&node.kind),
            has_gaps: false,
        }
    }
}

impl<'a> Analysis<'a> {
    /// Analyses the nodes. Of several nodes of one name, the first is meant.
    pub fn of(nodes: &[Subject<'a>]) -> Analysis<'a> {
        let inputs = resolve_inputs(nodes);
        let mut consumers = vec![Vec::new(); nodes.len()];
        for (node, inputs) in inputs.iter().enumerate() {
            for input in inputs.iter().flatten() {
                consumers[*input].push(node);
            }
        }
        let (order, in_cycle) = inputs_first(&inputs, &consumers);
        let unknown = vec![Shape::unknown(); nodes.len()];
        let (before, after) = (unknown.clone(), unknown);
        let expressions = Vec::new();
        let mut analysis = Analysis {
            inputs,
            consumers,
            in_cycle,
            before,
            after,
            expressions,
        };
        for number in order {
            analysis.visit(number, &nodes[number]);
        }
        analysis
            .expressions
            .sort_by_key(|checked| checked.place.node);
        analysis
    }

    /// The type of the expression at a place; [`ValueType::Any`] when there is none or it is wrong.
    pub fn type_at(&self, place: &Place) -> ValueType {
        let found = self
            .expressions
            .iter()
            .find(|checked| checked.place == *place);
        found
            .and_then(|checked| checked.outcome.as_ref().ok().copied())
            .unwrap_or(ValueType::Any)
    }

    fn visit(&mut self, number: usize, node: &Subject<'a>) {
        let inputs = match node.kind {
            Some(NodeKind::Join(_)) => &self.inputs[number][..1],
            _ => self.inputs[number].as_slice(),
        };
        let before = match inputs {
            [Some(input)] => self.after[*input].clone(),
            [] | [None] => Shape::unknown(),
            inputs => Shape::of_merge(inputs.iter().map(|input| match input {
                Some(input) => self.after[*input].clone(),
                None => Shape::unknown(),
            })),
        };
        let mut after = match node.kind {
            None => Shape::unknown(),
            Some(kind) => self.shape_after(&Place::node(number), kind, &before),
        };
        if node.has_gaps {
            after.add_gap();
        }
        if let Some(NodeKind::Aggregate(aggregate)) = node.kind
            && let Some(condition) = &aggregate.delete_if
        {
            let results = Shape::of_deletion(aggregate, &after);
            self.expression(Place::node(number).key("delete_if"), condition, &results);
        }
        self.before[number] = before;
        self.after[number] = after;
    }

    fn shape_after(&mut self, place: &Place, kind: &'a NodeKind, before: &Shape) -> Shape {
        match kind {
            NodeKind::Source(source) => Shape::of_source(source),
            NodeKind::Filter(filter) => {
                self.expression(place.clone().key("where"), &filter.condition, before);
                before.clone()
            }
            NodeKind::Map(map) => self.map(place, map, before),
            NodeKind::FlatMap(node) => self.flat_map(place, node, before),
            NodeKind::SelectKey(node) => {
                self.expression(place.clone().key("key"), &node.key, before);
                before.clone()
            }
            NodeKind::Branch(branch) => {
                self.entries(&place.clone().key("branches"), &branch.arms, before);
                before.clone()
            }
            NodeKind::Log(log) => {
                if let Some(text) = &log.text {
                    self.expression(place.clone().key("text"), text, before);
                }
                before.clone()
            }
            NodeKind::Arm(_) | NodeKind::Merge(_) => before.clone(),
            NodeKind::ToStream(_) => Shape::of_updates(before),
            NodeKind::Table(_) => Shape::of_table(before),
            NodeKind::GlobalTable(table) => Shape::of_global_table(table),
            NodeKind::Suppress(node) => Shape::of_suppress(node, before),
            NodeKind::Join(join) => {
                let left = self.shape_of_side(place, Side::Left);
                if let Some(key) = &join.on {
                    self.expression(place.clone().key("on"), key, &left);
                }
                Shape::of_join(join, &left, &self.shape_of_side(place, Side::Right))
            }
            NodeKind::Deduplicate(node) => {
                let by = place.clone().key("by");
                for (item, expression) in node.by.iter().enumerate() {
                    self.expression(by.clone().item(item), expression, before);
                }
                before.clone()
            }
            NodeKind::Process(process) => {
                self.entries(&place.clone().key("reads"), &process.reads, before);
                Shape::of_process(process, before)
            }
            NodeKind::Aggregate(aggregate) => self.aggregate(place, aggregate, before),
            NodeKind::Sql(sink) => self.sql(place, sink, before),
            NodeKind::Kafka(sink) => self.kafka(place, sink, before),
        }
    }

    fn map(&mut self, place: &Place, map: &'a Map, before: &Shape) -> Shape {
        let mut shape = before.clone();
        let mut names = Occurrences::default();
        for (field, expression) in &map.set {
            let place = names.place(place.clone().key("set"), field.as_str());
            let kind = self.expression(place, expression, &shape);
            shape.set(field, kind);
        }
        if let Some(condition) = &map.tombstone_if {
            self.expression(place.clone().key("tombstone_if"), condition, &shape);
        }
        shape
    }

    fn flat_map(&mut self, place: &Place, node: &'a FlatMap, before: &Shape) -> Shape {
        self.expression(place.clone().key("each"), &node.each, before);
        let mut shape = Shape::of_elements(before);
        shape.set(&node.element, ValueType::Any);
        if let Some(position) = &node.position {
            shape.set(position, ValueType::Int);
        }
        shape
    }

    fn shape_of_side(&self, place: &Place, side: Side) -> Shape {
        let number = place.node.expect("the place of a node");
        match self.inputs[number][side as usize] {
            Some(input) => self.after[input].clone(),
            None => Shape::unknown(),
        }
    }

    fn aggregate(&mut self, place: &Place, node: &'a Aggregate, before: &Shape) -> Shape {
        let mut shape = Shape::of_aggregate(node, before);
        let mut names = Occurrences::default();
        for (field, aggregation) in &node.set {
            let place = names.place(place.clone().key("set"), field.as_str());
            let mut types = Vec::new();
            for (argument, part) in aggregation
                .arguments
                .iter()
                .zip(aggregation.argument_ranges())
            {
                types.push(self.part(place.clone(), Some(part), argument, before));
            }
            let kind = aggregation.function.result_type(types.first().copied());
            shape.set(field, kind);
        }
        shape
    }

    fn sql(&mut self, place: &Place, sink: &'a SqlSink, before: &Shape) -> Shape {
        let columns = self.entries(&place.clone().key("columns"), &sink.columns, before);
        // Without columns, a table of records has none that are known.
        let columns = if columns.is_empty() && !before.is_open() {
            let fields = before.fields().iter();
            fields
                .map(|(path, kind)| (flat_name(path), *kind))
                .collect()
        } else {
            columns
        };
        let named: Vec<FieldPath> = sink
            .key
            .iter()
            .map(|column| FieldPath::new(column))
            .collect();
        Shape::of_row(
            columns,
            if named.is_empty() {
                before.key().to_vec()
            } else {
                named
            },
        )
    }

    fn kafka(&mut self, place: &Place, sink: &'a KafkaSink, before: &Shape) -> Shape {
        if let Some(key) = &sink.key {
            self.expression(place.clone().key("key"), key, before);
        }
        let fields = self.entries(&place.clone().key("fields"), &sink.fields, before);
        if fields.is_empty() {
            before.clone()
        } else {
            Shape::of_row(fields, Vec::new())
        }
    }

    fn entries(
        &mut self,
        place: &Place,
        entries: &'a [(String, Expression)],
        before: &Shape,
    ) -> Vec<(FieldPath, ValueType)> {
        let mut names = Occurrences::default();
        let check = |(name, expression): &'a (String, Expression)| {
            let kind = self.expression(names.place(place.clone(), name), expression, before);
            (FieldPath::new(name), kind)
        };
        entries.iter().map(check).collect()
    }

    /// Checks an expression; its type is [`ValueType::Any`] when it is wrong.
    fn expression(&mut self, at: Place, expression: &'a Expression, scope: &Shape) -> ValueType {
        self.part(at, None, expression, scope)
    }

    fn part(
        &mut self,
        place: Place,
        part: Option<Range<usize>>,
        expression: &'a Expression,
        scope: &Shape,
    ) -> ValueType {
        let outcome = expression
            .compile(scope)
            .map(|evaluator| evaluator.result_type());
        let kind = outcome.as_ref().copied().unwrap_or(ValueType::Any);
        let look_up = |path: FieldPath| (scope.lookup(&path), path);
        let reads = expression.paths().into_iter().map(look_up).collect();
        self.expressions.push(Checked {
            place,
            part,
            expression,
            outcome,
            reads,
        });
        kind
    }
}

/// Counts the entries of each name, since a name may wrongly occur twice.
#[derive(Default)]
pub(super) struct Occurrences(HashMap<String, usize>);

impl Occurrences {
    /// The place of the next entry of that name.
    pub fn place(&mut self, list: Place, name: &str) -> Place {
        let count = self.0.entry(name.to_owned()).or_default();
        *count += 1;
        list.entry(name, *count - 1)
    }
}

fn resolve_inputs(nodes: &[Subject<'_>]) -> Vec<Vec<Option<usize>>> {
    let mut numbers: HashMap<&NodeName, usize> = HashMap::new();
    for (number, node) in nodes.iter().enumerate() {
        numbers.entry(node.name).or_insert(number);
    }
    let inputs = |node: &Subject<'_>| {
        let inputs = node.kind.map_or(&[][..], NodeKind::inputs).iter();
        inputs.map(|input| numbers.get(input).copied()).collect()
    };
    nodes.iter().map(inputs).collect()
}

/// The nodes such that each comes after its inputs (Kahn's algorithm); and, for each, whether it
/// lies on a cycle. Those behind a cycle come last.
fn inputs_first(
    inputs: &[Vec<Option<usize>>],
    consumers: &[Vec<usize>],
) -> (Vec<usize>, Vec<bool>) {
    let mut waiting: Vec<usize> = inputs
        .iter()
        .map(|list| list.iter().flatten().count())
        .collect();
    let mut order: Vec<usize> = (0..inputs.len())
        .filter(|node| waiting[*node] == 0)
        .collect();
    let mut next = 0;
    while let Some(node) = order.get(next).copied() {
        for consumer in &consumers[node] {
            waiting[*consumer] -= 1;
            if waiting[*consumer] == 0 {
                order.push(*consumer);
            }
        }
        next += 1;
    }
    let left: Vec<usize> = (0..inputs.len())
        .filter(|node| waiting[*node] > 0)
        .collect();
    let in_cycle =
        (0..inputs.len()).map(|node| left.contains(&node) && reaches(node, node, consumers));
    let in_cycle = in_cycle.collect();
    order.extend(left);
    (order, in_cycle)
}

/// Whether records of `from` can come to `to`, over one edge or more.
pub(super) fn reaches(from: usize, to: usize, consumers: &[Vec<usize>]) -> bool {
    let mut seen = vec![false; consumers.len()];
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for consumer in &consumers[node] {
            if *consumer == to {
                return true;
            }
            if !std::mem::replace(&mut seen[*consumer], true) {
                open.push(*consumer);
            }
        }
    }
    false
}
