//! `/api/status`: what the first page shows, as JSON.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::facts::{AppFacts, Facts};
use super::progress::Verdict;
use crate::ingest::metrics::IngestMetrics;
use crate::processor::{DropReason, NodeCounts};
use crate::runtime::{EngineStatus, GlobalTableStatus, NodeInGroup, RestoreStatus, SinkStatus};
use crate::time::Timestamp;

pub(super) fn status(facts: &Facts) -> Value {
    let now = facts.clock.now();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": now.to_string(),
        "now_ms": now.millis(),
        "started": facts.started.to_string(),
        "database": facts.database.as_ref().map(ToString::to_string),
        "apps": facts.apps.iter().map(app).collect::<Vec<_>>(),
        "ingest": facts.ingest.as_deref().map(ingest),
    })
}

fn app(app: &AppFacts) -> Value {
    let look = app.progress.last();
    let status = app.engine.status();
    let lags = look.lags.iter().map(|lag| {
        json!({
            "group": lag.group,
            "topic": &*lag.partition.topic,
            "partition": lag.partition.partition,
            "position": lag.position,
            "lag": lag.entries,
        })
    });
    json!({
        "name": app.name,
        "tables": app.tables,
        "not_ready": match &look.verdict {
            Verdict::Ready => None,
            Verdict::NotReady(reason) => Some(reason),
        },
        "nodes": nodes(&status),
        "tasks": tasks(&status),
        "global_tables": global_tables(&status),
        "sinks": status.sinks.iter().map(|(name, status)| sink(name, status)).collect::<Vec<_>>(),
        "lags": lags.collect::<Vec<_>>(),
        "commits": status.commits,
        "commit_ms": status.commit_ms,
        "resets": status.resets,
        "lost_records": status.lost,
        "restores": restores(&status),
    })
}

/// Each node, and each group that runs it too where it has dropped something.
fn nodes(status: &EngineStatus) -> Vec<Value> {
    let mut seen = HashSet::new();
    let shown = status.nodes.iter().filter(|(at, counts)| {
        let is_first = seen.insert(at.node.as_str());
        is_first || **counts != NodeCounts::default()
    });
    shown.map(|(at, counts)| node(at, counts)).collect()
}

fn node(at: &NodeInGroup, counts: &NodeCounts) -> Value {
    let drops = DropReason::ALL
        .into_iter()
        .map(|reason| (reason, counts.drops_of(reason)));
    let drops = drops.filter(|(_, count)| *count > 0);
    let drops: Map<String, Value> = drops
        .map(|(reason, count)| (reason.name().to_owned(), count.into()))
        .collect();
    json!({
        "name": at.node,
        "group": at.group,
        "input": counts.input,
        "output": counts.output,
        "filtered": counts.filtered,
        "drops": drops,
    })
}

fn tasks(status: &EngineStatus) -> Vec<Value> {
    let task = |id: &crate::topology::plan::TaskId| {
        let known = status.tasks.get(id);
        let stream_time = known.map(|task| task.stream_time);
        let stream_time = stream_time.filter(|time| *time != Timestamp::MIN);
        json!({ "id": id.to_string(), "stream_time": stream_time.map(|time| time.to_string()) })
    };
    status.assigned.iter().map(task).collect()
}

/// The tasks whose state is being restored, and how far that has come.
fn restores(status: &EngineStatus) -> Vec<Value> {
    let restore = |(task, restore): (&crate::topology::plan::TaskId, &RestoreStatus)| {
        json!({
            "task": task.to_string(),
            "records": restore.records,
            "bytes": restore.bytes,
            "total": restore.total,
            "left": restore.left,
            "records_per_s": restore.records_per_s(),
            "left_s": restore.left_s(),
        })
    };
    status.restores.iter().map(restore).collect()
}

/// The global tables, and how far those have come that tasks wait for.
fn global_tables(status: &EngineStatus) -> Vec<Value> {
    let table = |(name, table): (&String, &GlobalTableStatus)| {
        json!({
            "name": name,
            "is_whole": table.is_whole,
            "records": table.records,
            "bytes": table.bytes,
            "left": table.left,
            "rebuilds": table.rebuilds,
            "last_error": table.last_error,
        })
    };
    status.global_tables.iter().map(table).collect()
}

fn sink(name: &str, status: &SinkStatus) -> Value {
    json!({
        "name": name,
        "rows": status.rows,
        "writes": status.writes,
        "write_ms": status.write_ms,
        "failures": status.failures,
        "last_error": status.last_error,
    })
}

fn ingest(metrics: &IngestMetrics) -> Value {
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "events": get(&metrics.events),
        "bytes": get(&metrics.bytes),
        "repeats": get(&metrics.repeats),
        "gaps": get(&metrics.gaps),
        "missing": get(&metrics.missing),
        "dead_letters": metrics.all_dead_letters(),
        "last_event": metrics.last_event_time().map(|time| time.to_string()),
    })
}
