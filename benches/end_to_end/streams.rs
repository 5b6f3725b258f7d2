//! The same job in Kafka Streams, by a rig that lies outside of this project.
//!
//! `TIDEMILL_BENCH_PEERS` is its folder: `ks.sh app` there runs the job once and prints what it measured as
//! a line of JSON. What it says of the filter is checked against what was counted here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use tempfile::TempDir;

use crate::job::Guarantee;
use crate::log::Topic;
use crate::report::Figures;

/// How the job is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// By hand, with processors and stores, without a repartition: the fastest.
    Processors,
    /// As its users write it; the aggregate by user is behind a repartition.
    Dsl,
}

/// A run of the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamsJob {
    pub variant: Variant,
    pub guarantee: Guarantee,
    pub threads: u32,
}

/// Where the rig is.
pub struct Rig(PathBuf);

/// What it prints.
#[derive(Deserialize)]
struct Line {
    n: u64,
    accepted: u64,
    startup_s: f64,
    seconds: f64,
    cpu_s_per_m: f64,
    rss_peak_mb: f64,
}

impl Rig {
    /// The rig that the environment names, if it names one.
    ///
    /// # Panics
    /// When there is none.
    pub fn of_environment() -> Option<Rig> {
        let folder = PathBuf::from(std::env::var_os("TIDEMILL_BENCH_PEERS")?);
        let script = folder.join("ks.sh");
        assert!(
            script.is_file(),
            "TIDEMILL_BENCH_PEERS: no {}",
            script.display()
        );
        Some(Rig(folder))
    }
}

impl StreamsJob {
    pub fn name(self) -> String {
        let variant = match self.variant {
            Variant::Processors => "processors",
            Variant::Dsl => "DSL",
        };
        let (guarantee, threads) = (self.guarantee.name(), self.threads);
        format!("Kafka Streams, {variant}, {guarantee}, threads: {threads}")
    }

    /// Runs the job over the whole topic.
    pub fn measure(self, rig: &Rig, topic: &Topic, expected: u64) -> Figures {
        let folder = tempfile::tempdir().expect("a temp directory");
        let output = self.command(rig, topic, &folder).output().expect("ks.sh");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {text}", self.name());
        let line = text.lines().rfind(|line| line.starts_with('{'));
        let line: Line = serde_json::from_str(line.expect("a line of JSON")).expect("figures");
        assert_eq!(line.accepted, expected, "{}: accepted", self.name());
        Figures {
            records: line.n,
            seconds: line.seconds,
            cpu_seconds: line.cpu_s_per_m * line.n as f64 / 1e6,
            rss_mb: line.rss_peak_mb,
            start_seconds: line.startup_s,
        }
    }

    fn command(self, rig: &Rig, topic: &Topic, folder: &TempDir) -> Command {
        let (_, port) = topic.bootstrap.rsplit_once(':').expect("host and port");
        let (variant, grace) = match self.variant {
            Variant::Processors => ("papi", "10"),
            // Behind a repartition its stream time runs ahead: with less it drops most records.
            Variant::Dsl => ("dsl", "3600"),
        };
        let guarantee = match self.guarantee {
            Guarantee::ExactlyOnce => "exactly_once_v2",
            Guarantee::AtLeastOnce => "at_least_once",
        };
        let mut command = Command::new(rig.0.join("ks.sh"));
        command
            .args(["app", "--topic", &topic.name])
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .args(["--variant", variant, "--guarantee", guarantee])
            .args(["--threads", &self.threads.to_string()])
            .args([
                "--commit-ms",
                "1000",
                "--cache-mb",
                "10",
                "--emit",
                "update",
            ])
            .args(["--grace-s", "10", "--user-grace-s", grace])
            .args(["--retention-min", "0"])
            .env("KAFKA_PORT", port)
            .env("RIG_DATA", folder.path())
            .env("RIG_CACHE", cache())
            .stderr(Stdio::inherit());
        command
    }
}

/// Where what is built and fetched stays.
fn cache() -> PathBuf {
    let named = std::env::var_os("TIDEMILL_CACHE").map(PathBuf::from);
    let usual = || Path::new(&std::env::var_os("HOME").expect("HOME")).join(".cache/tidemill");
    named.unwrap_or_else(usual).join("peers")
}
