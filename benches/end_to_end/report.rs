//! What was measured: one line per run as it comes, medians and ratios at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use crate::job::Job;
use crate::streams::StreamsJob;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// A bare librdkafka poll loop that counts bytes.
    Consume,
    /// Tidemill with this job.
    Run(Job),
    /// Kafka Streams with the same.
    Streams(StreamsJob),
    /// The state of this job, from its changelogs into an empty directory.
    Restore(Job),
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Input records between the first and the last look.
    pub records: u64,
    /// Seconds between the two.
    pub seconds: f64,
    /// Seconds of CPU that the process used between the two.
    pub cpu_seconds: f64,
    /// The process's peak of resident memory, in MB.
    pub rss_mb: f64,
    /// From starting the process to its first progress, in seconds.
    pub start_seconds: f64,
}

/// All runs.
pub struct Report {
    file: Option<File>,
    runs: BTreeMap<Case, Vec<Figures>>,
}

const HEADER: &str =
    "round\tcase\trecords\tseconds\trecords_per_s\tcpu_s_per_million\tpeak_rss_mb\tstart_s";

impl Case {
    fn name(self) -> String {
        match self {
            Case::Consume => "bare consumer".to_owned(),
            Case::Run(job) => job.name(),
            Case::Streams(job) => job.name(),
            Case::Restore(job) => format!("restore of {}", job.name()),
        }
    }
}

impl Figures {
    fn rate(self) -> f64 {
        self.records as f64 / self.seconds
    }

    fn cpu_per_million(self) -> f64 {
        self.cpu_seconds / self.records as f64 * 1e6
    }
}

impl Report {
    /// A report that also writes every run into a file.
    pub fn new(path: Option<PathBuf>) -> Report {
        let file = path.map(|path| {
            let mut file =
                File::create(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            writeln!(file, "{HEADER}").expect("a writable file");
            file
        });
        eprintln!("{HEADER}");
        Report {
            file,
            runs: BTreeMap::new(),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, round: u32, case: Case, run: Figures) {
        let line = format!(
            "{round}\t{}\t{}\t{:.2}\t{:.0}\t{:.2}\t{:.0}\t{:.2}",
            case.name(),
            run.records,
            run.seconds,
            run.rate(),
            run.cpu_per_million(),
            run.rss_mb,
            run.start_seconds
        );
        eprintln!("{line}");
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").expect("a writable file");
        }
        self.runs.entry(case).or_default().push(run);
    }

    /// Medians, and their ratios to the bare consumer's and to those of the fastest run of Kafka Streams.
    pub fn show(&self) {
        let of = |case: Case, what: fn(Figures) -> f64| {
            median(self.runs[&case].iter().map(|run| what(*run)).collect())
        };
        let limit = of(Case::Consume, Figures::rate);
        let limit_cpu = of(Case::Consume, Figures::cpu_per_million);
        let streams = self.runs.keys().copied();
        let streams = streams.filter(|case| matches!(case, Case::Streams(_)));
        let fastest = streams.max_by(|a, b| {
            let rate = |case: &Case| of(*case, Figures::rate);
            rate(a).total_cmp(&rate(b))
        });
        let beside = fastest.map_or("", |_| " of the fastest Kafka Streams | its CPU |");
        println!(
            "\n| case | records/s | of the bare consumer | CPU s per million | times the bare consumer's | peak RSS MB |{beside}"
        );
        let beside = fastest.map_or("", |_| " ---: | ---: |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: |{beside}");
        for case in self.runs.keys().copied() {
            let (rate, cpu) = (of(case, Figures::rate), of(case, Figures::cpu_per_million));
            let beside = fastest.map_or(String::new(), |fastest| {
                let times = rate / of(fastest, Figures::rate);
                let part = of(fastest, Figures::cpu_per_million) / cpu;
                format!(" {times:.1} × | 1/{part:.1} |")
            });
            println!(
                "| {} | {rate:.0} | {:.0} % | {cpu:.2} | {:.1} | {:.0} |{beside}",
                case.name(),
                100.0 * rate / limit,
                cpu / limit_cpu,
                of(case, |run| run.rss_mb)
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
