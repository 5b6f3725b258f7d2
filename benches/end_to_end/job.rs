//! The comparison job as a topology, and one run of it: two windowed aggregates, by wiki and by
//! wiki and user, state in RocksDB, changelogs on, results to Kafka.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::log::{self, Committed, PARTITIONS, Topic};
use crate::process;
use crate::report::Figures;

/// When state and results are committed.
const COMMIT_INTERVAL: &str = "100ms";

/// A member that has lost its state directory waits for so long for its former self.
const SESSION_TIMEOUT: &str = "6s";

/// How often the broker is asked how far the group has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Each run is an application of its own: the groups of earlier ones remember how far they came.
static RUN: AtomicU32 = AtomicU32::new(0);

/// A run that has not ended by then is stuck.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}

/// Whether the topology says that the topic is keyed by wiki. If not, both aggregates are behind
/// repartition topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyed {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    pub guarantee: Guarantee,
    pub keyed: Keyed,
    pub threads: u32,
}

impl Guarantee {
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::ExactlyOnce => "exactly_once",
            Guarantee::AtLeastOnce => "at_least_once",
        }
    }
}

impl Job {
    pub fn name(self) -> String {
        let repartitioned = match self.keyed {
            Keyed::Yes => "",
            Keyed::No => ", repartitioned",
        };
        format!(
            "{}, threads: {}{repartitioned}",
            self.guarantee.name(),
            self.threads
        )
    }

    /// `retention` is that of both aggregates; none: as long as windows are open.
    fn topology(self, app: &str, topic: &str, retention: Option<&str>) -> String {
        let key = match self.keyed {
            Keyed::Yes => "key: wiki, ",
            Keyed::No => "",
        };
        let guarantee = self.guarantee.name();
        let kept = retention.map_or(String::new(), |time| format!(", retention: {time}"));
        let set = "{ edits: count(), bot_edits: count_if(bot), bytes_added: 'sum(greatest(delta, 0))', \
                   bytes_removed: 'sum(greatest(-delta, 0))' }";
        format!(
            "\
app: {app}
guarantee: {guarantee}
nodes:
  changes: {{ source: {{ topic: {topic}, {key}timestamp: meta.dt }} }}
  edits: {{ filter: {{ from: changes, where: \"meta.domain != 'canary' && type in ['edit', 'new']\" }} }}
  sized: {{ map: {{ from: edits, set: {{ delta: 'coalesce(length.new, 0) - coalesce(length.old, 0)' }} }} }}
  by_wiki:
    aggregate: {{ from: sized, by: [wiki], window: {{ tumbling: 1m, grace: 10s{kept} }}, set: {set} }}
  by_user:
    aggregate: {{ from: sized, by: [wiki, user], window: {{ tumbling: 5m, grace: 10s{kept} }}, set: {set} }}
  out_wiki: {{ kafka: {{ from: by_wiki, topic: {app}-out-wiki }} }}
  out_user: {{ kafka: {{ from: by_user, topic: {app}-out-user }} }}
"
        )
    }

    /// Runs the job over the whole topic and checks its results.
    pub fn measure(self, topic: &Topic, expected: u64) -> Figures {
        let stage = Stage::new(self, topic, None);
        let mut run = stage.start();
        let figures = run.watch(topic, &stage.app);
        run.stop();
        check_results(topic, &stage.app, expected);
        stage.clear();
        figures
    }

    /// Runs the job once, keeping its windows, and then restores its state into an empty directory so
    /// many times.
    pub fn restore(self, topic: &Topic, rounds: u32) -> Vec<Figures> {
        let stage = Stage::new(self, topic, Some("2h"));
        let mut run = stage.start();
        run.watch(topic, &stage.app);
        run.stop();
        let restore = |_| {
            fs::remove_dir_all(stage.state()).expect("the state of the last run");
            let mut run = stage.start();
            let figures = run.watch_restore(&stage.log());
            run.stop();
            figures
        };
        let figures = (0..rounds).map(restore).collect();
        stage.clear();
        figures
    }
}

/// An application with a directory of its own.
struct Stage<'t> {
    job: Job,
    topic: &'t Topic,
    app: String,
    folder: TempDir,
}

impl<'t> Stage<'t> {
    fn new(job: Job, topic: &'t Topic, retention: Option<&str>) -> Stage<'t> {
        let folder = tempfile::tempdir().expect("a temp directory");
        let app = format!(
            "bench-app-{}-{}",
            std::process::id(),
            RUN.fetch_add(1, Ordering::Relaxed)
        );
        let topology = job.topology(&app, &topic.name, retention);
        fs::write(folder.path().join("job.yaml"), topology).expect("a writable folder");
        Stage {
            job,
            topic,
            app,
            folder,
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn start(&self) -> Running {
        let output = fs::File::create(self.log()).expect("a writable folder");
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .arg("run")
            .arg(self.folder.path().join("job.yaml"))
            .args(["--brokers", &self.topic.bootstrap, "--http", "off"])
            .args(["--commit-interval", COMMIT_INTERVAL])
            .args(["--threads", &self.job.threads.to_string()])
            .args(["--session-timeout", SESSION_TIMEOUT])
            .args(["--log-format", "json"])
            .arg("--state-dir")
            .arg(self.state())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the built program");
        Running {
            child,
            began,
            guarantee: self.job.guarantee,
        }
    }

    fn clear(self) {
        let bootstrap = &self.topic.bootstrap;
        log::delete(bootstrap, &log::topics_of(bootstrap, &self.app));
    }
}

/// What a process says of a task whose state it has restored.
#[derive(Deserialize)]
struct Restored {
    message: String,
    #[serde(default)]
    records: u64,
    #[serde(default)]
    ms: f64,
}

struct Running {
    child: Child,
    began: Instant,
    guarantee: Guarantee,
}

impl Running {
    /// From the first committed progress to the commit that reaches the end of the input, and of
    /// the repartition topics if there are any.
    fn watch(&mut self, topic: &Topic, app: &str) -> Figures {
        let pid = self.child.id();
        let committed = Committed::of(&topic.bootstrap, app);
        let total: i64 = topic.ends().iter().sum();
        let mut first = None;
        let mut reached = None;
        let end = loop {
            let done: i64 = committed.offsets(&topic.name).iter().sum();
            let look = (Instant::now(), done, process::cpu_seconds(pid));
            if done > 0 && first.is_none() {
                first = Some(look);
            }
            // Seen twice: what a transaction has written can be there before its marker is.
            match (
                done >= total && self.is_through(topic, app, &committed),
                reached,
            ) {
                (true, Some(end)) => break end,
                (true, None) => reached = Some(look),
                (false, _) => reached = None,
            }
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                panic!("tidemill ended by itself: {status}");
            }
            assert!(
                self.began.elapsed() < PATIENCE,
                "{done} of {total} after {PATIENCE:?}"
            );
            thread::sleep(LOOK_EVERY);
        };
        let (since, before, cpu) = first.expect("progress was seen");
        let (until, _, cpu_until) = end;
        Figures {
            records: (total - before) as u64,
            seconds: (until - since).as_secs_f64(),
            cpu_seconds: cpu_until - cpu,
            rss_mb: process::peak_rss_mb(pid),
            start_seconds: (since - self.began).as_secs_f64(),
        }
    }

    /// Until the states of all tasks are restored. The clock starts when the first changelog is asked for,
    /// as Kafka Streams reports it; the CPU time is that of the process from its start.
    fn watch_restore(&mut self, log: &Path) -> Figures {
        let pid = self.child.id();
        let restored = loop {
            let text = fs::read_to_string(log).expect("the log of the process");
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let restored: Vec<Restored> = lines
                .filter(|line: &Restored| line.message == "state restored")
                .collect();
            if restored.len() == PARTITIONS as usize {
                break restored;
            }
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                panic!("tidemill ended by itself: {status}");
            }
            assert!(self.began.elapsed() < PATIENCE, "no end after {PATIENCE:?}");
            thread::sleep(LOOK_EVERY);
        };
        Figures {
            records: restored.iter().map(|task| task.records).sum(),
            seconds: restored.iter().map(|task| task.ms).fold(0.0, f64::max) / 1_000.0,
            cpu_seconds: process::cpu_seconds(pid),
            rss_mb: process::peak_rss_mb(pid),
            start_seconds: self.began.elapsed().as_secs_f64(),
        }
    }

    /// Whether all repartition topics are read to their ends. With transactions the last entry of a
    /// partition is the marker of the one that wrote it, which no position gets behind.
    fn is_through(&self, topic: &Topic, app: &str, committed: &Committed) -> bool {
        let markers = i64::from(self.guarantee == Guarantee::ExactlyOnce);
        let names = log::topics_of(&topic.bootstrap, app);
        let internal = names.iter().filter(|name| name.ends_with("-repartition"));
        internal.into_iter().all(|name| {
            let internal = Topic {
                bootstrap: topic.bootstrap.clone(),
                name: name.clone(),
                bytes: 0,
            };
            let pairs = committed.offsets(name).into_iter().zip(internal.ends());
            pairs.into_iter().all(|(at, end)| at + markers >= end)
        })
    }

    fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(
            sent.expect("kill").success(),
            "tidemill could not be told to end"
        );
        let status = self.child.wait().expect("a child of this process");
        assert!(status.success(), "tidemill ended with {status}");
    }
}

/// The last result of each key and window, added up, must account for every accepted event: in
/// either of the two aggregates.
fn check_results(topic: &Topic, app: &str, expected: u64) {
    for name in ["wiki", "user"] {
        let mut last: HashMap<(Vec<u8>, String), u64> = HashMap::new();
        log::read_all(
            &topic.bootstrap,
            &format!("{app}-out-{name}"),
            &mut |key, value| {
                let row: serde_json::Value = serde_json::from_slice(value).expect("a result");
                let start = row["window_start"].as_str().expect("a window").to_owned();
                last.insert(
                    (key.to_vec(), start),
                    row["edits"].as_u64().expect("a count"),
                );
            },
        );
        let found: u64 = last.values().sum();
        assert_eq!(found, expected, "edits in the results by {name}");
    }
}
