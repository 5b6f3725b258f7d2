//! What the real Kafka Streams has done with given inputs, done here: the cases were recorded there,
//! and the test driver plays them, straight and with a crash after every second record.
//!
//! The cases are read from `TIDEMILL_CONFORMANCE_DIR`, by default `../shared/conformance`.

mod case;
mod compare;
mod deviations;
mod play;
mod translate;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use case::Case;
use compare::compare;
use deviations::Deviation;
use play::{Way, play};

use crate::harness::skip;

/// Where the cases are.
///
/// # Panics
/// When the environment names a folder that is not there.
fn folder() -> Option<PathBuf> {
    match std::env::var_os("TIDEMILL_CONFORMANCE_DIR") {
        Some(named) => {
            let folder = PathBuf::from(named);
            assert!(folder.is_dir(), "no such folder: {}", folder.display());
            Some(folder)
        }
        None => {
            let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance");
            Some(PathBuf::from(usual)).filter(|folder| folder.is_dir())
        }
    }
}

fn cases(folder: &Path) -> Vec<Case> {
    let files = std::fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        for line in text.lines().filter(|line| !line.is_empty()) {
            let case = serde_json::from_str(line);
            cases.push(case.unwrap_or_else(|error| panic!("{}: {error}\n{line}", path.display())));
        }
    }
    cases
}

#[derive(Default)]
struct Tally {
    equal: usize,
    deviating: BTreeMap<&'static str, usize>,
}

#[test]
fn every_recorded_case_gives_what_kafka_streams_gave() {
    let Some(folder) = folder() else {
        return skip("conformance", "no recorded cases");
    };
    let only = std::env::var("TIDEMILL_CONFORMANCE_ONLY").unwrap_or_default();
    let mut families: BTreeMap<String, Tally> = BTreeMap::new();
    let mut failures: Vec<(&str, String)> = Vec::new();
    let cases = cases(&folder);
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        let tally = families.entry(case.family.clone()).or_default();
        let Some(topology) = translate::topology(&case.operator) else {
            let operator = &case.operator.raw;
            let reason = format!("there is no such operator: {operator}");
            failures.push((&case.name, reason));
            continue;
        };
        let deviation = Deviation::of(case);
        let mut differences = Vec::new();
        let mut is_explained = true;
        for way in [Way::Straight, Way::Crashing] {
            let found = play(case, &topology, way);
            if let Err(difference) = compare(case, &found) {
                differences.push(format!("{way:?}: {difference}"));
                let explains = |deviation: &Deviation| deviation.explains(case, &found);
                is_explained &= deviation.as_ref().is_some_and(explains);
            }
        }
        match (differences.is_empty(), deviation) {
            (true, _) => tally.equal += 1,
            (false, Some(deviation)) if is_explained => {
                *tally.deviating.entry(deviation.reason).or_default() += 1;
            }
            (false, _) => {
                let operator = serde_json::to_string(&case.operator.raw).unwrap_or_default();
                let tags = &case.tags;
                let differences = differences.join("\n  ");
                failures.push((
                    &case.name,
                    format!("{tags:?}\n  {operator}\n  {differences}"),
                ));
            }
        }
    }
    let mut counts = String::new();
    for (family, Tally { equal, deviating }) in &families {
        counts += &format!("conformance: {family:20} {equal} equal, {deviating:?} deviating\n");
    }
    // Also when the test passes, whose output is kept back otherwise.
    let _ = std::io::stderr().write_all(counts.as_bytes());
    assert!(!families.is_empty(), "no cases in {}", folder.display());
    let names: Vec<&str> = failures.iter().map(|(name, _)| *name).collect();
    let shown = failures.iter().take(8);
    let shown: Vec<String> = shown.map(|(name, why)| format!("{name} {why}")).collect();
    assert!(
        failures.is_empty(),
        "{} cases differ: {}\n\n{}",
        failures.len(),
        names.join(" "),
        shown.join("\n\n")
    );
}
