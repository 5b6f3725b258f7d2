//! What a node does, in a few lines.

use crate::expr::Expression;
use crate::topology::duration::Millis;
use crate::topology::graph::{
    Aggregate, Branch, Deduplicate, Emit, Filter, FlatMap, Format, GlobalTable, Join, KafkaSink,
    Log, Map, NodeKind, NullValues, OnDuplicate, OnLate, Process, Side, SinkHeaders, Source,
    SqlSink, Suppress, Table, TableUse, Until, WhenFull, Window,
};
use crate::value::FieldPath;

/// What the node does, for example `by wiki in tumbling 1m, grace 30s` and `edits = count()`.
pub(super) fn details(kind: &NodeKind) -> Vec<String> {
    match kind {
        NodeKind::Source(source) => of_source(source),
        NodeKind::Filter(filter) => of_filter(filter),
        NodeKind::Map(map) => of_map(map),
        NodeKind::FlatMap(node) => of_flat_map(node),
        NodeKind::SelectKey(node) => vec![format!("key {}", one_line(node.key.text()))],
        NodeKind::Branch(branch) => of_branch(branch),
        NodeKind::Log(log) => of_log(log),
        NodeKind::Table(table) => of_table(table),
        NodeKind::GlobalTable(table) => of_global_table(table),
        NodeKind::Join(join) => of_join(join),
        NodeKind::Arm(_) | NodeKind::Merge(_) | NodeKind::ToStream(_) => Vec::new(),
        NodeKind::Aggregate(aggregate) => of_aggregate(aggregate),
        NodeKind::Suppress(node) => of_suppress(node),
        NodeKind::Deduplicate(node) => of_deduplicate(node),
        NodeKind::Process(node) => of_process(node),
        NodeKind::Sql(sink) => of_sql(sink),
        NodeKind::Kafka(sink) => of_kafka(sink),
    }
}

fn of_source(source: &Source) -> Vec<String> {
    let mut parts = vec![format!("topic {}", source.topics.join(", "))];
    let settings = [
        ("key", &source.key),
        ("time", &source.timestamp),
        ("id", &source.id),
    ];
    for (name, path) in settings {
        parts.extend(path.as_ref().map(|path| format!("{name} {path}")));
    }
    if source.format != Format::Json {
        parts.push(format(&source.format));
    }
    match source.max_ahead_ms {
        Some(Source::MAX_AHEAD_MS) => {}
        Some(ms) => parts.push(format!("max ahead {}", Millis(ms))),
        None => parts.push("max ahead none".to_owned()),
    }
    match source.null_values {
        NullValues::Refuse => {}
        NullValues::Pass => parts.push("null values pass".to_owned()),
    }
    vec![parts.join("; ")]
}

fn of_filter(filter: &Filter) -> Vec<String> {
    vec![one_line(filter.condition.text())]
}

fn of_map(map: &Map) -> Vec<String> {
    let fields = map.set.iter();
    let fields = fields.map(|(field, expression)| assignment(field.as_str(), expression));
    let tombstone = map.tombstone_if.iter();
    let tombstone = tombstone.map(|text| format!("tombstone if {}", one_line(text.text())));
    fields.chain(tombstone).collect()
}

fn of_flat_map(node: &FlatMap) -> Vec<String> {
    let each = one_line(node.each.text());
    let position = node.position.as_ref();
    let position = position.map_or(String::new(), |path| format!(", position {path}"));
    vec![format!("each {each} as {}{position}", node.element)]
}

fn of_branch(branch: &Branch) -> Vec<String> {
    let arms = branch.arms.iter();
    let arms = arms.map(|(name, condition)| format!("{name}: {}", one_line(condition.text())));
    let default = branch.default.iter();
    arms.chain(default.map(|name| format!("{name}: everything else")))
        .collect()
}

fn of_log(log: &Log) -> Vec<String> {
    let text = log.text.as_ref();
    let text = text.map_or("the record".to_owned(), |text| one_line(text.text()));
    match log.every {
        1 => vec![text],
        every => vec![format!("{text}, one of {every}")],
    }
}

fn of_table(table: &Table) -> Vec<String> {
    match table.stored {
        true => vec!["the last record of each key".to_owned()],
        false => vec!["not stored".to_owned()],
    }
}

fn of_global_table(table: &GlobalTable) -> Vec<String> {
    let topics = table.source.topics.join(", ");
    vec![
        format!("topic {topics}"),
        "all rows in each process".to_owned(),
    ]
}

fn of_join(join: &Join) -> Vec<String> {
    let (kind, with) = (join.kind.word(), join.input(Side::Right));
    let within = join.within.map(|within| {
        let (before, after) = (Millis(within.before_ms), Millis(within.after_ms));
        let near = match before == after {
            true => format!(", within {before}"),
            false => format!(", from {before} before to {after} after"),
        };
        match within.grace_ms {
            0 => near,
            ms => format!("{near}, grace {}", Millis(ms)),
        }
    });
    let within = within.unwrap_or_default();
    let on = join.on.as_ref();
    let on = on.map_or_else(String::new, |key| format!(", on {}", one_line(key.text())));
    vec![format!(
        "{kind}, with {with} as {}{on}{within}",
        join.prefix
    )]
}

fn of_aggregate(node: &Aggregate) -> Vec<String> {
    let by: Vec<&str> = node.by.iter().map(FieldPath::as_str).collect();
    let emit = match node.emit {
        Emit::Updates => "",
        Emit::Close => ", emitted when closed",
    };
    let window = match &node.window {
        Some(each) => format!("in {}", window(each)),
        None => "over all time".to_owned(),
    };
    let on_late = match node.on_late {
        OnLate::Drop => "",
        OnLate::DeadLetter => ", late ones to the dead letters",
    };
    let key = format!("by {} {window}{emit}{on_late}", by.join(", "));
    let set = node.set.iter();
    let set = set.map(|(field, call)| format!("{field} = {}", one_line(&call.text)));
    let deleted = node.delete_if.iter();
    let deleted = deleted.map(|text| format!("deleted if {}", one_line(text.text())));
    [key].into_iter().chain(set).chain(deleted).collect()
}

fn window(window: &Window) -> String {
    let mut parts = vec![window.kind.to_string()];
    let settings = [
        ("grace", Some(window.grace_ms).filter(|grace| *grace != 0)),
        ("idle close", window.idle_close_ms),
        ("retention", window.retention_ms),
    ];
    for (name, ms) in settings {
        parts.extend(ms.map(|ms| format!("{name} {}", Millis(ms))));
    }
    parts.join(", ")
}

fn of_suppress(node: &Suppress) -> Vec<String> {
    let until = match node.until {
        Until::Close => "until the window is closed".to_owned(),
        Until::TimeLimit { ms } => format!("for {}", Millis(ms)),
    };
    let rows = node.max_rows.map(|rows| format!("{rows} rows"));
    let bytes = node.max_bytes.map(|bytes| format!("{bytes} bytes"));
    let bounds: Vec<String> = rows.into_iter().chain(bytes).collect();
    if bounds.is_empty() {
        return vec![until];
    }
    let reaction = match node.reaction() {
        WhenFull::Emit => "the oldest leave early",
        WhenFull::Stop => "the process stops",
    };
    let bounds = bounds.join(" or ");
    vec![until, format!("beyond {bounds} {reaction}")]
}

fn of_deduplicate(node: &Deduplicate) -> Vec<String> {
    let by: Vec<String> = node.by.iter().map(|each| one_line(each.text())).collect();
    let by = match by.as_slice() {
        [] => "the key".to_owned(),
        by => by.join(", "),
    };
    let mut parts = vec![format!("by {by} within {}", Millis(node.within_ms))];
    parts.extend(node.grace_ms.map(|ms| format!("grace {}", Millis(ms))));
    if node.on_duplicate == OnDuplicate::DeadLetter {
        parts.push("duplicates to the dead letters".to_owned());
    }
    if node.on_late == OnLate::DeadLetter {
        parts.push("late ones to the dead letters".to_owned());
    }
    vec![parts.join(", ")]
}

fn of_process(node: &Process) -> Vec<String> {
    let reads = node.reads.iter();
    let reads = reads.map(|(name, expression)| match expression.text() == name {
        true => name.clone(),
        false => assignment(name, expression),
    });
    let gives = node.gives.iter();
    let gives = gives.map(|(path, kind)| format!("{path} ({kind})"));
    let own = node.keeps_fields.then(|| "the record's fields".to_owned());
    let stores = node.stores.iter();
    let stores = stores.map(|store| match store.is_shared {
        true => format!("{} (shared)", store.name),
        false => store.name.to_string(),
    });
    let lists: [(&str, Vec<String>); 3] = [
        ("reads", reads.collect()),
        ("gives", own.into_iter().chain(gives).collect()),
        ("stores", stores.collect()),
    ];
    let said = lists.iter().filter(|(_, list)| !list.is_empty());
    said.map(|(word, list)| format!("{word} {}", list.join(", ")))
        .collect()
}

fn of_sql(sink: &SqlSink) -> Vec<String> {
    let shared = match sink.table_use {
        TableUse::Own => "",
        TableUse::Shared => ", shared",
    };
    let mut lines = vec![format!("table {}{shared}", sink.table)];
    if !sink.key.is_empty() {
        lines.push(format!("key {}", sink.key.join(", ")));
    }
    if !sink.columns.is_empty() {
        let columns: Vec<&str> = sink.columns.iter().map(|(name, _)| name.as_str()).collect();
        lines.push(format!("columns {}", columns.join(", ")));
    }
    lines
}

fn of_kafka(sink: &KafkaSink) -> Vec<String> {
    let mut lines = vec![format!("topic {}", sink.topic)];
    lines.extend(sink.format.as_ref().map(format));
    lines.extend(
        sink.key
            .as_ref()
            .map(|key| format!("key {}", one_line(key.text()))),
    );
    let fields = sink.fields.iter();
    lines.extend(fields.map(|(name, expression)| assignment(name, expression)));
    if sink.headers == SinkHeaders::Drop {
        lines.push("headers drop".to_owned());
    }
    lines
}

/// `format avro, schema order.avsc, registry http://registry:8081`.
fn format(format: &Format) -> String {
    let mut parts = vec![format!("format {}", format.word())];
    if let Format::Schema(format) = format {
        let schema = format.schema.as_ref();
        let schema = schema.map(|schema| schema.file_name().unwrap_or("given here"));
        let settings = [
            ("schema", schema),
            ("message", format.message.as_deref()),
            ("registry", format.registry.as_deref()),
            ("subject", format.subject.as_deref()),
        ];
        for (name, value) in settings {
            parts.extend(value.map(|value| format!("{name} {value}")));
        }
        if !format.registers {
            parts.push("not registered".to_owned());
        }
    }
    parts.join(", ")
}

fn assignment(name: &str, expression: &Expression) -> String {
    format!("{name} = {}", one_line(expression.text()))
}

/// A text that may be written over several lines.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}
