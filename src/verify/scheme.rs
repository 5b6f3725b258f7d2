//! Which tables of a topology can be held against its raw events, and how.

use std::collections::{BTreeMap, BTreeSet};

use crate::expr::Expression;
use crate::format::Format;
use crate::ingest::target::Target;
use crate::runtime;
use crate::sql::TableSpec;
use crate::topology::graph::{
    Aggregate, Emit, Filter, Function, Node, NodeKind, NodeName, NullValues, OnError, Source,
    SqlSink, TableUse, Topology, Until, WINDOW_END, WINDOW_START, Window, WindowKind,
};
use crate::topology::nearest::nearest;
use crate::topology::plan::Plan;
use crate::value::FieldPath;

/// A table of raw events, and the tables of windows that can be computed anew from it.
#[derive(Clone, Debug)]
pub struct Scheme {
    /// Where the events are.
    pub raw: RawTable,
    /// What is computed from them.
    pub rollups: Vec<Rollup>,
    /// The other tables, which cannot be verified.
    pub left_out: Vec<LeftOut>,
    /// What computes them: the nodes that lead to their sinks. Windows are in it as the events come
    /// that make them, and no event is late.
    pub(super) topology: Topology,
}

/// A table that has the events themselves.
#[derive(Clone, Debug)]
pub struct RawTable {
    /// The SQL sink that writes it.
    pub node: String,
    /// Its name.
    pub table: String,
    /// The column of the event time.
    pub time: String,
    /// The column of the event as it came.
    pub payload: String,
    /// Where the events were read from.
    pub(super) target: Target,
}

/// A table with a row for each key and window.
#[derive(Clone, Debug)]
pub struct Rollup {
    /// The SQL sink that writes it.
    pub node: String,
    /// Its name.
    pub table: String,
    /// The column of the start of the window.
    pub start: String,
    /// Of sessions, the column of the end.
    pub session_end: Option<String>,
    /// What its rows are told apart by.
    pub key: Vec<String>,
    /// The other columns.
    pub columns: Vec<Column>,
    /// Its windows.
    pub windows: WindowKind,
    /// Whether a window has its row once it is closed, and not as soon as there are events.
    pub waits_for_close: bool,
}

/// A column of a rollup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How it is compared.
    pub agreement: Agreement,
}

/// How far two computations of the same results agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    /// They are equal; of fractions, but for the order in which they were added.
    Equal,
    /// Counts of different values, which are estimates beyond 1,024 of them.
    Near,
    /// They depend on the order of arrival, which a table does not tell, or are estimates that may be
    /// anything where values lie apart.
    Unknown,
}

/// A table that cannot be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub table: String,
    /// Why.
    pub reason: String,
}

/// Nothing of a topology can be verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// No table has the events themselves.
    #[error(
        "no table has the events themselves: it takes an `sql` node whose columns have `raw()` and \
         `record_timestamp()`, in front of which nothing but filters and maps stand"
    )]
    NoRawTable,
    /// A table that was named is not there, or cannot be used.
    #[error("{0}")]
    Table(String),
    /// No table has windows that could be computed anew.
    #[error("no table can be verified:{}", listed(.0))]
    NoRollups(Vec<LeftOut>),
}

fn listed(left_out: &[LeftOut]) -> String {
    let lines = left_out.iter();
    match left_out.is_empty() {
        true => " no `sql` node is behind an aggregate".to_owned(),
        false => lines
            .map(|each| format!("\n  {}: {}", each.table, each.reason))
            .collect(),
    }
}

/// What expressions may ask for that a raw event does not say.
const NOT_KEPT: [&str; 4] = [
    "record_partition",
    "record_offset",
    "record_topic",
    "record_header",
];

impl Scheme {
    /// That of these tables, or of all, of a topology and its plan; `raw` names the table of the events, where there are several.
    ///
    /// # Errors
    /// When there are no raw events, or a table that was named cannot be verified, or none can.
    pub fn of(
        topology: &Topology,
        plan: &Plan,
        tables: &[String],
        raw: Option<&str>,
    ) -> Result<Scheme, SchemeError> {
        let specs = runtime::tables(plan);
        let (raw_sink, raw) = raw_table(topology, raw)?;
        let mut rollups = Vec::new();
        let mut left_out = Vec::new();
        for (node, sink) in sinks(topology) {
            let is_wanted = tables.is_empty() || tables.contains(&sink.table);
            if !is_wanted || node.name == raw_sink.name {
                continue;
            }
            let spec = specs.iter().find(|spec| spec.table == sink.table);
            let spec = spec.expect("each table of the topology is one of its plan");
            match rollup(topology, raw_sink, node, (sink, spec)) {
                Ok(rollup) => rollups.push(rollup),
                Err(reason) => left_out.push(LeftOut {
                    table: sink.table.clone(),
                    reason,
                }),
            }
        }
        check_named(topology, tables, &rollups, &left_out)?;
        if rollups.is_empty() {
            return Err(SchemeError::NoRollups(left_out));
        }
        let names = rollups.iter().map(|rollup| NodeName::new(&rollup.node));
        let topology = part_of(topology, &names.collect::<Vec<_>>());
        Ok(Scheme {
            raw,
            rollups,
            left_out,
            topology,
        })
    }
}

/// Every table that was named has to be one that can be verified.
fn check_named(
    topology: &Topology,
    tables: &[String],
    rollups: &[Rollup],
    left_out: &[LeftOut],
) -> Result<(), SchemeError> {
    for table in tables {
        if rollups.iter().any(|rollup| rollup.table == *table) {
            continue;
        }
        let known = left_out.iter().find(|each| each.table == *table);
        let is_there = sinks(topology).any(|(_, sink)| sink.table == *table);
        return Err(SchemeError::Table(match (known, is_there) {
            (Some(left_out), _) => format!("{table} cannot be verified: {}", left_out.reason),
            (None, true) => format!("{table} has the events that tables are held against"),
            (None, false) => {
                let names = sinks(topology).map(|(_, sink)| sink.table.as_str());
                match nearest(table, names) {
                    Some(near) => format!("no node writes a table {table}: did you mean {near}?"),
                    None => format!("no node writes a table {table}"),
                }
            }
        }));
    }
    Ok(())
}

fn sinks(topology: &Topology) -> impl Iterator<Item = (&Node, &SqlSink)> {
    topology.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Sql(sink) => Some((node, sink)),
        _ => None,
    })
}

/// The table of the events, and the sink that writes it.
fn raw_table<'t>(
    topology: &'t Topology,
    wanted: Option<&str>,
) -> Result<(&'t Node, RawTable), SchemeError> {
    let mut found = sinks(topology).filter_map(|(node, sink)| {
        let raw = events_of(topology, node, sink)?;
        Some((node, raw))
    });
    match wanted {
        None => found.next().ok_or(SchemeError::NoRawTable),
        Some(table) => found.find(|(_, raw)| raw.table == table).ok_or_else(|| {
            SchemeError::Table(format!(
                "{table} does not have the events as they came, in columns with `raw()` and \
                 `record_timestamp()`"
            ))
        }),
    }
}

/// The table of a sink, if it has every event that reaches it as it came, once.
fn events_of(topology: &Topology, node: &Node, sink: &SqlSink) -> Option<RawTable> {
    let column = |is_it: &dyn Fn(&Expression) -> bool| {
        let mut columns = sink.columns.iter();
        let found = columns.find(|(_, expression)| is_it(expression));
        found.map(|(name, _)| name.clone())
    };
    let mut source = None;
    for node in ancestors(topology, &node.name) {
        match &node.kind {
            NodeKind::Source(each) => source = Some(each),
            NodeKind::Filter(_)
            | NodeKind::Map(_)
            | NodeKind::SelectKey(_)
            | NodeKind::Branch(_)
            | NodeKind::Arm(_)
            | NodeKind::Log(_)
            | NodeKind::Deduplicate(_)
            | NodeKind::Sql(_) => {}
            _ => return None,
        }
    }
    let source: &Source = source?;
    let is_text = matches!(source.format, Format::Json | Format::Text);
    let [_] = source.topics.as_slice() else {
        return None;
    };
    let is_time = |expression: &Expression| {
        let field = expression.field();
        expression.is_call_of("record_timestamp") || (field.is_some() && field == source.timestamp)
    };
    let raw = RawTable {
        node: node.name.to_string(),
        table: sink.table.clone(),
        time: column(&is_time)?,
        payload: column(&|expression| expression.is_call_of("raw"))?,
        target: Target::for_source(source),
    };
    is_text.then_some(raw)
}

/// How the table of a sink behind an aggregate is verified; or why it cannot be.
fn rollup(
    topology: &Topology,
    raw_sink: &Node,
    node: &Node,
    (sink, spec): (&SqlSink, &TableSpec),
) -> Result<Rollup, String> {
    if sink.table_use == TableUse::Shared {
        return Err("other nodes may write it as well (`shared: true`)".to_owned());
    }
    let way = ancestors(topology, &node.name);
    let mut aggregates = Vec::new();
    let mut is_held_until_close = false;
    for each in &way {
        match &each.kind {
            NodeKind::Aggregate(aggregate) => aggregates.push(aggregate),
            NodeKind::Suppress(suppress) if suppress.until == Until::Close => {
                is_held_until_close = true;
            }
            NodeKind::Suppress(_) => {
                return Err(format!(
                    "`{}` may still hold back its last results",
                    each.name
                ));
            }
            NodeKind::Source(_) | NodeKind::Sql(_) => {}
            // What it holds back is not among the raw events either.
            NodeKind::Deduplicate(_) if is_before(topology, raw_sink, each) => {}
            NodeKind::Table(_) => return Err(stateful(each)),
            kind if kind.is_stateless() => {}
            _ => return Err(stateful(each)),
        }
    }
    let aggregate = match aggregates.as_slice() {
        [] => return Err("it is not behind an aggregate".to_owned()),
        [aggregate] => aggregate,
        _ => return Err("it is behind more than one aggregate".to_owned()),
    };
    let Some(window) = &aggregate.window else {
        return Err("its results have no windows".to_owned());
    };
    if aggregate.delete_if.is_some() {
        return Err(
            "`delete_if` goes by the order of arrival, which a table does not tell".to_owned(),
        );
    }
    check_source(&way)?;
    check_expressions(&way)?;
    check_events(topology, raw_sink, &way)?;
    let agreements = Agreements::behind(topology, aggregate, &way)?;
    let columns = columns(sink, spec);
    let column_of = |field: &str| {
        let field = FieldPath::new(field);
        let mut columns = columns.iter();
        let found = columns.find(|(_, expression)| expression.field().as_ref() == Some(&field));
        let name = found.map(|(name, _)| name.clone());
        name.ok_or_else(|| format!("no column of it is `{field}`"))
    };
    let start = column_of(WINDOW_START)?;
    let session_end = match window.kind {
        WindowKind::Session { .. } => Some(column_of(WINDOW_END)?),
        _ => None,
    };
    let key = spec.key.iter().map(|at| spec.columns[*at].name.clone());
    let key: Vec<String> = key.collect();
    let is_key = |(name, _): &&(String, Expression)| key.contains(name);
    // What a window leaves under one key while it grows must not stay when it has another one.
    let mut keys = columns.iter().filter(is_key);
    if let Some((name, _)) = keys.find(|(_, expression)| agreements.is_of_results(expression)) {
        return Err(format!("its key has `{name}`, which is made of results"));
    }
    let others = columns.iter().filter(|column| !is_key(column));
    Ok(Rollup {
        node: node.name.to_string(),
        table: sink.table.clone(),
        start,
        session_end,
        columns: others
            .map(|(name, expression)| Column {
                name: name.clone(),
                agreement: agreements.of(expression),
            })
            .collect(),
        key,
        windows: window.kind,
        waits_for_close: aggregate.emit == Emit::Close || is_held_until_close,
    })
}

/// What comes from its source has to be among the raw events.
fn check_source(way: &[&Node]) -> Result<(), String> {
    let sources = way.iter().filter_map(|node| node.kind.source());
    let mut asking = way.iter().filter(|node| {
        let mut expressions = node.kind.expressions().into_iter();
        expressions.any(|expression| expression.calls("record_key"))
    });
    for source in sources {
        if source.null_values == NullValues::Pass {
            return Err(
                "records without a value (`null_values: pass`) are no raw events".to_owned(),
            );
        }
        if source.key.is_none()
            && let Some(node) = asking.next()
        {
            return Err(format!(
                "`{}` asks for `record_key()`, and the source does not say in which field that is (`key`)",
                node.name
            ));
        }
    }
    Ok(())
}

fn stateful(node: &Node) -> String {
    format!(
        "what comes through `{}` (`{}`) does not follow from the events alone",
        node.name,
        node.kind.word()
    )
}

/// Nothing may ask for what a raw event does not say.
fn check_expressions(way: &[&Node]) -> Result<(), String> {
    // What a log writes is no result.
    let speaking = way
        .iter()
        .filter(|node| !matches!(node.kind, NodeKind::Log(_)));
    for node in speaking {
        for expression in node.kind.expressions() {
            let mut names = NOT_KEPT.into_iter();
            if let Some(name) = names.find(|name| expression.calls(name)) {
                return Err(format!(
                    "`{}` asks for `{name}()`, which raw events do not say",
                    node.name
                ));
            }
        }
    }
    Ok(())
}

/// What holds events back in front of the raw table has to stand in front of the aggregate too.
fn check_events(topology: &Topology, raw_sink: &Node, way: &[&Node]) -> Result<(), String> {
    let is_on_way = |node: &Node| way.iter().any(|each| each.name == node.name);
    for node in ancestors(topology, &raw_sink.name) {
        // What a map cannot compute does not come through it.
        let passes_all = matches!(node.kind, NodeKind::Log(_) | NodeKind::Sql(_));
        if passes_all || is_on_way(node) {
            continue;
        }
        return Err(match &node.kind {
            NodeKind::Source(_) => "its events come from elsewhere than the raw ones".to_owned(),
            _ => format!(
                "`{}` stands in front of `{}`, which writes the raw events, and not in front of it: some \
                 of its events are not among them",
                node.name, raw_sink.name
            ),
        });
    }
    let sources = way
        .iter()
        .filter(|node| matches!(node.kind, NodeKind::Source(_)));
    match sources.count() {
        1 => Ok(()),
        _ => Err("its events come from several sources".to_owned()),
    }
}

/// The columns that a sink writes, and what of.
fn columns(sink: &SqlSink, spec: &TableSpec) -> Vec<(String, Expression)> {
    if !sink.columns.is_empty() {
        return sink.columns.clone();
    }
    let names = spec.columns.iter().map(|column| &column.name);
    names
        .map(|name| (name.clone(), Expression::of_field(&FieldPath::new(name))))
        .collect()
}

/// How far results agree, and what is made of them, by the names of fields.
struct Agreements(BTreeMap<String, Agreement>);

impl Agreements {
    /// Of the fields behind an aggregate on the way to a sink.
    fn behind(
        topology: &Topology,
        aggregate: &Aggregate,
        way: &[&Node],
    ) -> Result<Agreements, String> {
        let results = aggregate.set.iter();
        let results =
            results.map(|(name, call)| (name.root().to_owned(), of_function(&call.function)));
        let mut known = Agreements(results.collect());
        let is_behind = |node: &&&Node| {
            let mut before = ancestors(topology, &node.name).into_iter();
            before.any(|node| matches!(node.kind, NodeKind::Aggregate(_)))
        };
        let behind: Vec<&&Node> = way.iter().filter(is_behind).collect();
        let maps = behind.iter().filter_map(|node| match &node.kind {
            NodeKind::Map(map) => Some(map),
            _ => None,
        });
        // Nodes are in no order, and a field made of others is no better than those.
        for _ in 0..=behind.len() {
            for (name, expression) in maps.clone().flat_map(|map| &map.set) {
                if known.is_of_results(expression) {
                    let made = known.of(expression);
                    let worst = known.0.entry(name.root().to_owned()).or_insert(made);
                    *worst = made.max(*worst);
                }
            }
        }
        for node in behind {
            let decides = match &node.kind {
                NodeKind::Map(map) => map.tombstone_if.iter().collect(),
                NodeKind::Aggregate(_) | NodeKind::Sql(_) | NodeKind::Log(_) => Vec::new(),
                kind => kind.expressions(),
            };
            if decides
                .iter()
                .any(|each| known.of(each) != Agreement::Equal)
            {
                return Err(format!(
                    "what comes through `{}` depends on results that are estimates, or on the order of \
                     arrival",
                    node.name
                ));
            }
        }
        Ok(known)
    }

    fn of(&self, expression: &Expression) -> Agreement {
        let paths = expression.paths();
        let known = paths.iter().filter_map(|path| self.0.get(path.root()));
        known.max().copied().unwrap_or(Agreement::Equal)
    }

    fn is_of_results(&self, expression: &Expression) -> bool {
        let paths = expression.paths();
        paths.iter().any(|path| self.0.contains_key(path.root()))
    }
}

fn of_function(function: &Function) -> Agreement {
    match function {
        Function::Count
        | Function::CountIf
        | Function::Sum
        | Function::Min
        | Function::Max
        | Function::Avg
        | Function::StddevPop
        | Function::StddevSamp
        | Function::Histogram(_)
        | Function::CollectSet(_) => Agreement::Equal,
        Function::Distinct => Agreement::Near,
        Function::Median
        | Function::Quantile(_)
        | Function::Quantiles(_)
        | Function::TopK(_)
        | Function::First
        | Function::Last
        | Function::Earliest
        | Function::Latest
        | Function::CollectList(_)
        | Function::QuantileSketch
        | Function::DistinctSketch
        | Function::TopKSketch => Agreement::Unknown,
    }
}

/// A node and all that lead to it.
fn ancestors<'t>(topology: &'t Topology, name: &NodeName) -> Vec<&'t Node> {
    let mut seen: BTreeSet<&NodeName> = BTreeSet::new();
    let mut found = Vec::new();
    let mut next: Vec<&Node> = topology.node(name).into_iter().collect();
    while let Some(node) = next.pop() {
        if seen.insert(&node.name) {
            found.push(node);
            let inputs = node.kind.inputs().iter();
            next.extend(inputs.filter_map(|input| topology.node(input)));
        }
    }
    found
}

fn is_before(topology: &Topology, node: &Node, earlier: &Node) -> bool {
    let mut ancestors = ancestors(topology, &node.name).into_iter();
    ancestors.any(|each| each.name == earlier.name)
}

/// A node that holds nothing back.
fn pass_all(from: &NodeName) -> NodeKind {
    NodeKind::Filter(Filter {
        from: from.clone(),
        condition: Expression::parse("true"),
        passes_when: true,
        on_error: OnError::Drop,
    })
}

/// The nodes that lead to these sinks. Events will come in the order of their time, so results need not
/// be waited for, and no event is late.
fn part_of(topology: &Topology, sinks: &[NodeName]) -> Topology {
    let names = sinks.iter().flat_map(|sink| ancestors(topology, sink));
    let names: BTreeSet<&NodeName> = names.map(|node| &node.name).collect();
    let nodes = topology.nodes.iter();
    let nodes = nodes.filter(|node| names.contains(&node.name));
    let as_it_comes = |node: &Node| {
        let kind = match &node.kind {
            NodeKind::Aggregate(aggregate) => NodeKind::Aggregate(Aggregate {
                emit: Emit::Updates,
                window: aggregate.window.map(|window| Window {
                    idle_close_ms: None,
                    retention_ms: None,
                    grace_ms: 0,
                    ..window
                }),
                ..aggregate.clone()
            }),
            NodeKind::Suppress(suppress) => pass_all(&suppress.from),
            NodeKind::Deduplicate(deduplicate) => pass_all(&deduplicate.from),
            NodeKind::Source(source) => NodeKind::Source(Source {
                max_ahead_ms: None,
                ..source.clone()
            }),
            other => other.clone(),
        };
        Node {
            name: node.name.clone(),
            kind,
        }
    };
    Topology {
        nodes: nodes.map(as_it_comes).collect(),
        ..topology.clone()
    }
}
