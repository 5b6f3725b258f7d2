//! The main job on real events: replayed into a real Kafka, run by one process and by three, into a
//! real database: every table equals what an independent count of the same events gives, to the
//! last row and digit.
//!
//! Every pair `NAME.ndjson[.gz]` and `oracle/NAME.*.tsv` of the data folder is run.

use crate::harness::{Pair, Run, Tidemill, assert_tables, stage, wait_for_tables};

/// How a pair is run.
#[derive(Clone, Copy)]
struct Way {
    partitions: u32,
    processes: usize,
    exactly_once: bool,
}

/// Runs a pair and holds the tables against the oracle.
fn check(pair: &Pair, bootstrap: &str, server: (&str, &str), way: Way) {
    let Way {
        partitions,
        processes,
        exactly_once,
    } = way;
    let context = format!(
        "{} on {}, {partitions} partitions, {processes} processes, exactly once: {exactly_once}",
        pair.name, server.0
    );
    let run = Run::new(pair, bootstrap, server.1);
    let run = if exactly_once {
        run
    } else {
        run.at_least_once()
    };
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
    let Some(stage) = stage("oracle") else {
        return;
    };
    for pair in &stage.pairs {
        for server in 0..stage.servers.len() {
            for (partitions, processes) in [(4, 1), (4, 3), (6, 1), (6, 3)] {
                let way = Way {
                    partitions,
                    processes,
                    exactly_once: true,
                };
                check(pair, &stage.bootstrap, stage.server(server), way);
            }
        }
    }
}

/// Without a crash the weaker guarantee gives the same.
#[test]
fn at_least_once_gives_the_same_tables() {
    let Some(stage) = stage("oracle at least once") else {
        return;
    };
    for (at, pair) in stage.pairs.iter().enumerate() {
        let way = Way {
            partitions: 6,
            processes: 2,
            exactly_once: false,
        };
        check(pair, &stage.bootstrap, stage.server(at), way);
    }
}
