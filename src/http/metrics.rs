//! `/metrics`: the numbers of a process as OpenMetrics text.
//!
//! The names are part of what users rely on; `docs/OPERATIONS.md` lists them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::facts::Facts;
use super::progress::{Look, Verdict};
use crate::ingest::metrics::{DeadReason, IngestMetrics, ReconnectReason};
use crate::processor::{DropReason, NodeCounts};
use crate::runtime::{EngineStatus, GlobalTableStatus, RestoreStatus};
use crate::time::Timestamp;

/// All numbers as they are now.
pub(super) fn render(facts: &Facts) -> String {
    let apps = facts.apps.iter().map(|app| Snapshot {
        name: app.name.clone(),
        status: app.engine.status(),
        look: app.progress.last(),
    });
    let started = facts.started.millis() as f64 / 1000.0;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Numbers {
        apps: apps.collect(),
        ingest: facts.ingest.as_deref().map(IngestNumbers::of),
        started,
    }));
    let mut text = String::new();
    // The encoder fails only when the writer does, and a String does not.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Numbers {
    apps: Vec<Snapshot>,
    ingest: Option<IngestNumbers>,
    started: f64,
}

#[derive(Debug)]
struct Snapshot {
    name: String,
    status: EngineStatus,
    look: Look,
}

/// A number and its labels.
type Sample<N> = (Vec<(&'static str, String)>, N);

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
        let encoder = &mut encoder;
        gauge(
            encoder,
            "tidemill_build_info",
            "Always 1; the label is the version",
            vec![(vec![version], 1.0)],
        )?;
        gauge(
            encoder,
            "tidemill_start_time_seconds",
            "When the process began",
            vec![(vec![], self.started)],
        )?;
        self.nodes(encoder)?;
        self.tasks(encoder)?;
        self.commits(encoder)?;
        self.global_tables(encoder)?;
        self.sinks(encoder)?;
        match &self.ingest {
            Some(ingest) => ingest.encode(encoder),
            None => Ok(()),
        }
    }
}

impl Numbers {
    fn nodes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of = |number: fn(&NodeCounts) -> u64| {
            self.samples(move |app| {
                let mut nodes = BTreeMap::<_, u64>::new();
                for (at, counts) in &app.status.nodes {
                    *nodes.entry(at.node.clone()).or_default() += number(counts);
                }
                let sample = |(node, number)| (vec![("node", node)], number);
                nodes.into_iter().map(sample).collect()
            })
        };
        counter(
            encoder,
            "tidemill_node_input_rows",
            "Rows that reached a node",
            of(|c| c.input),
        )?;
        counter(
            encoder,
            "tidemill_node_output_rows",
            "Rows that left a node",
            of(|c| c.output),
        )?;
        counter(
            encoder,
            "tidemill_node_filtered_rows",
            "Rows that a filter held back",
            of(|c| c.filtered),
        )?;
        let drops = self.samples(|app| {
            let nodes = app.status.nodes.iter();
            let all = nodes.flat_map(|(at, counts)| {
                DropReason::ALL.into_iter().map(move |reason| {
                    let labels = vec![
                        ("node", at.node.clone()),
                        ("group", at.group.clone()),
                        ("reason", reason.name().to_owned()),
                    ];
                    (labels, counts.drops_of(reason))
                })
            });
            all.collect()
        });
        counter(
            encoder,
            "tidemill_dropped_rows",
            "Rows that a node dropped",
            drops,
        )
    }

    fn tasks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let assigned = self.samples(|app| vec![(vec![], app.status.assigned.len() as f64)]);
        gauge(
            encoder,
            "tidemill_tasks",
            "Tasks that run in this process",
            assigned,
        )?;
        let ready = self.samples(|app| {
            let ready = app.look.verdict == Verdict::Ready;
            vec![(vec![], f64::from(u8::from(ready)))]
        });
        gauge(encoder, "tidemill_ready", "1 while /readyz says yes", ready)?;
        let times = self.samples(|app| {
            let tasks = app.status.tasks.iter();
            let known = tasks.filter(|(_, task)| task.stream_time != Timestamp::MIN);
            let seconds = |time: Timestamp| time.millis() as f64 / 1000.0;
            known
                .map(|(id, task)| (vec![("task", id.to_string())], seconds(task.stream_time)))
                .collect()
        });
        let about = "The highest event time that a task has seen";
        gauge(encoder, "tidemill_task_stream_time_seconds", about, times)?;
        let positions = |number: fn(&super::progress::Lag) -> i64| {
            self.samples(move |app| {
                let labels = |lag: &super::progress::Lag| {
                    vec![
                        ("group", lag.group.clone()),
                        ("topic", lag.partition.topic.to_string()),
                        ("partition", lag.partition.partition.to_string()),
                    ]
                };
                app.look
                    .lags
                    .iter()
                    .map(|lag| (labels(lag), number(lag) as f64))
                    .collect()
            })
        };
        let about = "The offset of the next record to be read";
        gauge(
            encoder,
            "tidemill_position",
            about,
            positions(|lag| lag.position),
        )?;
        let about = "Entries up to the end of the partition";
        gauge(encoder, "tidemill_lag", about, positions(|lag| lag.entries))
    }

    fn commits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let commits = self.samples(|app| vec![(vec![], app.status.commits)]);
        counter(
            encoder,
            "tidemill_commits",
            "Commits of state, results and positions",
            commits,
        )?;
        let seconds = self.samples(|app| vec![(vec![], app.status.commit_ms as f64 / 1000.0)]);
        counter(
            encoder,
            "tidemill_commit_seconds",
            "Time spent in commits",
            seconds,
        )?;
        let resets = self.samples(|app| vec![(vec![], app.status.resets)]);
        counter(
            encoder,
            "tidemill_resets",
            "How often a thread began anew from the last commit",
            resets,
        )?;
        let lost = self.samples(|app| vec![(vec![], app.status.lost)]);
        counter(
            encoder,
            "tidemill_lost_records",
            "Records that the log deleted before they were read",
            lost,
        )?;
        self.restores(encoder)
    }

    fn restores(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let restored = self.samples(|app| vec![(vec![], app.status.restored)]);
        counter(
            encoder,
            "tidemill_restored_records",
            "Changelog records read to restore state",
            restored,
        )?;
        let each = |number: fn(&RestoreStatus) -> f64| {
            self.samples(move |app| {
                let tasks = app.status.restores.iter();
                tasks
                    .map(|(task, restore)| (vec![("task", task.to_string())], number(restore)))
                    .collect()
            })
        };
        gauge(
            encoder,
            "tidemill_restore_left",
            "Changelog entries that a task has yet to read before it starts",
            each(|restore| restore.left as f64),
        )?;
        gauge(
            encoder,
            "tidemill_restore_bytes",
            "Bytes of keys and values that a task has read before it starts",
            each(|restore| restore.bytes as f64),
        )?;
        gauge(
            encoder,
            "tidemill_restore_records_per_second",
            "Changelog records that a task has read per second before it starts",
            each(RestoreStatus::records_per_s),
        )?;
        let left_s = self.samples(|app| {
            let tasks = app.status.restores.iter();
            tasks
                .filter_map(|(task, restore)| {
                    Some((vec![("task", task.to_string())], restore.left_s()?))
                })
                .collect()
        });
        gauge(
            encoder,
            "tidemill_restore_left_seconds",
            "In how many seconds a task will start, at the pace so far",
            left_s,
        )
    }

    fn global_tables(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let label = |table: &String| vec![("table", table.clone())];
        let counts = |number: fn(&GlobalTableStatus) -> u64| {
            self.samples(move |app| {
                let tables = app.status.global_tables.iter();
                tables
                    .map(|(name, table)| (label(name), number(table)))
                    .collect()
            })
        };
        counter(
            encoder,
            "tidemill_global_table_records",
            "Records read into a global table",
            counts(|table| table.records),
        )?;
        counter(
            encoder,
            "tidemill_global_table_rebuilds",
            "How often a global table was read anew",
            counts(|table| table.rebuilds),
        )?;
        let left = self.samples(|app| {
            let tables = app.status.global_tables.iter();
            tables
                .map(|(name, table)| (label(name), table.left as f64))
                .collect()
        });
        gauge(
            encoder,
            "tidemill_global_table_left",
            "Entries of a global table that have yet to be read before tasks begin",
            left,
        )
    }

    fn sinks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of = |number: fn(&crate::runtime::SinkStatus) -> f64| {
            self.samples(move |app| {
                let sinks = app.status.sinks.iter();
                sinks
                    .map(|(sink, status)| (vec![("sink", sink.clone())], number(status)))
                    .collect()
            })
        };
        counter(
            encoder,
            "tidemill_sink_rows",
            "Rows that a SQL sink has written",
            of(|s| s.rows as f64),
        )?;
        counter(
            encoder,
            "tidemill_sink_writes",
            "Transactions of a SQL sink",
            of(|s| s.writes as f64),
        )?;
        counter(
            encoder,
            "tidemill_sink_write_seconds",
            "Time spent in them",
            of(|s| s.write_ms as f64 / 1000.0),
        )?;
        counter(
            encoder,
            "tidemill_sink_failures",
            "Attempts that failed",
            of(|s| s.failures as f64),
        )?;
        let failing = of(|s| f64::from(u8::from(s.last_error.is_some())));
        gauge(
            encoder,
            "tidemill_sink_failing",
            "1 when the last attempt has failed",
            failing,
        )
    }

    /// What each application gives, with its name as a label.
    fn samples<N>(&self, of: impl Fn(&Snapshot) -> Vec<Sample<N>>) -> Vec<Sample<N>> {
        let labelled = |app: &Snapshot| {
            let mut samples = of(app);
            for (labels, _) in &mut samples {
                labels.insert(0, ("app", app.name.clone()));
            }
            samples
        };
        self.apps.iter().flat_map(labelled).collect()
    }
}

#[derive(Debug)]
struct IngestNumbers {
    counters: Vec<(&'static str, &'static str, u64)>,
    dead_letters: Vec<Sample<u64>>,
    reconnects: Vec<Sample<u64>>,
    times: Vec<(&'static str, &'static str, f64)>,
}

impl IngestNumbers {
    fn of(metrics: &IngestMetrics) -> IngestNumbers {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let label = |label: &str| vec![("reason", label.to_owned())];
        let time = |name, about, time: Option<Timestamp>| {
            Some((name, about, time?.millis() as f64 / 1000.0))
        };
        let times = [
            time(
                "tidemill_ingest_last_event_seconds",
                "The highest event time so far",
                metrics.last_event_time(),
            ),
            time(
                "tidemill_ingest_last_canary_seconds",
                "The last canary event",
                metrics.last_canary_time(),
            ),
        ];
        IngestNumbers {
            counters: vec![
                (
                    "tidemill_ingest_events",
                    "Events written to the topic",
                    get(&metrics.events),
                ),
                (
                    "tidemill_ingest_bytes",
                    "Bytes of those events",
                    get(&metrics.bytes),
                ),
                (
                    "tidemill_ingest_repeats",
                    "Events that came again and were dropped",
                    get(&metrics.repeats),
                ),
                (
                    "tidemill_ingest_gaps",
                    "Times at which offsets were missing in the source",
                    get(&metrics.gaps),
                ),
                (
                    "tidemill_ingest_missing",
                    "Offsets that were missing in all gaps together",
                    get(&metrics.missing),
                ),
                (
                    "tidemill_ingest_jumps",
                    "Times at which the source's offsets jumped",
                    get(&metrics.jumps),
                ),
                (
                    "tidemill_ingest_commits",
                    "Transactions or flushes that succeeded",
                    get(&metrics.commits),
                ),
            ],
            dead_letters: DeadReason::ALL
                .map(|reason| (label(reason.label()), metrics.dead_letters(reason)))
                .to_vec(),
            reconnects: ReconnectReason::ALL
                .map(|reason| (label(reason.label()), metrics.reconnects(reason)))
                .to_vec(),
            times: times.into_iter().flatten().collect(),
        }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, about, number) in &self.counters {
            counter(encoder, name, about, vec![(vec![], *number)])?;
        }
        let about = "Events that could not be read";
        counter(
            encoder,
            "tidemill_ingest_dead_letters",
            about,
            self.dead_letters.clone(),
        )?;
        let about = "Connections to the source that ended";
        counter(
            encoder,
            "tidemill_ingest_reconnects",
            about,
            self.reconnects.clone(),
        )?;
        for (name, about, number) in &self.times {
            gauge(encoder, name, about, vec![(vec![], *number)])?;
        }
        Ok(())
    }
}

fn counter<N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    about: &str,
    samples: Vec<Sample<N>>,
) -> fmt::Result
where
    ConstCounter<N>: EncodeMetric,
{
    let samples = samples
        .into_iter()
        .map(|(labels, number)| (labels, ConstCounter::new(number)));
    family(
        encoder,
        name,
        about,
        MetricType::Counter,
        &samples.collect::<Vec<_>>(),
    )
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    about: &str,
    samples: Vec<Sample<f64>>,
) -> fmt::Result {
    let samples = samples
        .into_iter()
        .map(|(labels, number)| (labels, ConstGauge::new(number)));
    family(
        encoder,
        name,
        about,
        MetricType::Gauge,
        &samples.collect::<Vec<_>>(),
    )
}

fn family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    about: &str,
    kind: MetricType,
    samples: &[Sample<M>],
) -> fmt::Result
where
    Vec<(&'static str, String)>: EncodeLabelSet,
{
    if samples.is_empty() {
        return Ok(());
    }
    let mut encoder = encoder.encode_descriptor(name, about, None, kind)?;
    if let [(labels, metric)] = samples
        && labels.is_empty()
    {
        // An empty label set would be written as `{}`.
        return metric.encode(encoder);
    }
    for (labels, metric) in samples {
        metric.encode(encoder.encode_family(labels)?)?;
    }
    Ok(())
}
