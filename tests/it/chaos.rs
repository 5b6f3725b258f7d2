//! The same job under fire: processes are killed and the database is restarted in the middle of it,
//! and the tables are still exact.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{
    OwnServer, Pair, Run, Tidemill, assert_tables, data_folder, databases, kafka, pairs, skip,
    wait_for_tables,
};

/// The pair with the most wikis, which spreads over all partitions.
fn pair(folder: &Path) -> Option<Pair> {
    pairs(folder)
        .into_iter()
        .find(|pair| pair.name.contains("full"))
}

/// Kills a random member at a random moment, several times, and starts another one in its place.
fn kill_at_random(pair: &Pair, bootstrap: &str, server: (&str, &str), seed: u64) {
    let context = format!("{} on {}, seed {seed}", pair.name, server.0);
    let mut random = StdRng::seed_from_u64(seed);
    let run = Run::new(pair, bootstrap, server.1);
    run.replay(&pair.events, 6);
    let mut members: Vec<_> = (0..3).map(|n| run.member(&format!("member-{n}"))).collect();
    for kill in 0..3 {
        std::thread::sleep(Duration::from_millis(random.random_range(300..2_500)));
        let victim = random.random_range(0..members.len());
        members[victim].kill();
        members[victim] = run.member(&format!("member-{victim}-after-{kill}"));
    }
    wait_for_tables(&run, pair, &mut members);
    assert_tables(&run, pair, &context);
    members.iter_mut().for_each(Tidemill::stop);
    eprintln!("equal: {context}");
}

#[test]
fn killed_processes_lose_nothing_and_count_nothing_twice() {
    if std::env::var_os("TIDEMILL_LONG_TESTS").is_none() {
        return skip("chaos", "takes minutes; set TIDEMILL_LONG_TESTS=1");
    }
    let Some(folder) = data_folder() else {
        return skip("chaos", "no data folder");
    };
    let (Some(pair), Some(bootstrap)) = (pair(&folder), kafka()) else {
        return skip("chaos", "no Kafka, or no events");
    };
    let servers = databases();
    if servers.is_empty() {
        return skip("chaos", "no database");
    }
    for seed in 0..10 {
        let (name, url) = &servers[seed as usize % servers.len()];
        kill_at_random(&pair, &bootstrap, (*name, url.as_str()), seed);
    }
}

#[test]
fn a_database_that_is_killed_and_comes_back_has_every_row_once() {
    let Some(folder) = data_folder() else {
        return skip("chaos", "no data folder");
    };
    let (Some(pair), Some(bootstrap)) = (pair(&folder), kafka()) else {
        return skip("chaos", "no Kafka, or no events");
    };
    for (name, _) in databases() {
        let Some(server) = OwnServer::start(name) else {
            return skip("chaos", "the databases are not ours to restart");
        };
        let run = Run::new(&pair, &bootstrap, &server.url());
        run.replay(&pair.events, 6);
        let mut members: Vec<_> = (0..2).map(|n| run.member(&format!("member-{n}"))).collect();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(1_200));
            server.kill();
            std::thread::sleep(Duration::from_millis(500));
            server.restart();
        }
        wait_for_tables(&run, &pair, &mut members);
        assert_tables(&run, &pair, &format!("{} on {name}, restarted", pair.name));
        members.iter_mut().for_each(Tidemill::stop);
    }
}
