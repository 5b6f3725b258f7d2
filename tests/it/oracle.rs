//! The main job on real events: replayed into a real Kafka, run by one process and by three, into a
//! real database: every table equals what an independent count of the same events gives, to the
//! last row and digit.
//!
//! Every pair `NAME.ndjson[.gz]` and `oracle/NAME.*.tsv` of the data folder is run.

use crate::harness::{Pair, wait_for_tables};
use crate::harness::{Run, Tidemill, assert_tables, data_folder, databases, kafka, pairs, skip};

/// Runs a pair and holds the tables against the oracle.
fn check(pair: &Pair, bootstrap: &str, server: (&str, &str), partitions: u32, processes: usize) {
    let context = format!(
        "{} on {}, {partitions} partitions, {processes} processes",
        pair.name, server.0
    );
    let run = Run::new(pair, bootstrap, server.1);
    run.replay(&pair.events, partitions);
    let mut members: Vec<_> = (0..processes)
        .map(|n| run.member(&format!("member-{n}")))
        .collect();
    wait_for_tables(&run, pair, &mut members);
    assert_tables(&run, pair, &context);
    members.iter_mut().for_each(Tidemill::stop);
    eprintln!("equal: {context}");
}

#[test]
fn every_table_equals_the_independent_count() {
    let Some(folder) = data_folder() else {
        return skip("oracle", "no data folder");
    };
    let Some(bootstrap) = kafka() else {
        return skip("oracle", "no Kafka");
    };
    let servers = databases();
    if servers.is_empty() {
        return skip("oracle", "no database");
    }
    let pairs = pairs(&folder);
    assert!(!pairs.is_empty(), "no pairs in {}", folder.display());
    for pair in &pairs {
        for (at, (name, url)) in servers.iter().enumerate() {
            // Each server sees one process and three, and both partition counts.
            let (partitions, processes) = if at % 2 == 0 { (4, 3) } else { (6, 1) };
            check(
                pair,
                &bootstrap,
                (*name, url.as_str()),
                partitions,
                processes,
            );
            check(
                pair,
                &bootstrap,
                (*name, url.as_str()),
                10 - partitions,
                4 - processes,
            );
        }
    }
}
