//! The same job under fire: processes are killed and the database is restarted in the middle of it,
//! and the tables are still exact.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{
    OwnServer, Pair, Run, Tidemill, assert_tables, assert_tables_at_least, skip, stage,
    wait_for_tables, wait_until,
};

/// How long the events come in.
const FEED: Duration = Duration::from_secs(8);

/// Short, so that others take over soon what a dead process had.
const SESSION: [&str; 4] = ["--session-timeout", "3s", "--http", "off"];

/// Nothing here takes so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a commit can be interrupted.
const PLACES: [&str; 4] = [
    "after-flush",
    "before-commit",
    "after-commit",
    "after-store",
];

/// Kills a random member at a random moment, several times, while the events come in. Some come
/// back at once, and get their own tasks; the last one of every other seed stays away, and others
/// take over what it had. At the end the tables are held against `check`. `run` makes what it plays
/// in.
fn kill_at_random(
    run: impl Fn() -> Run,
    pair: &Pair,
    server: &str,
    seed: u64,
    check: fn(&Run, &Pair, &str),
) {
    let context = format!("{} on {server}, seed {seed}", pair.name);
    in_time(&context, |feed| {
        kill_while(&run(), pair, &context, seed, feed, check)
    });
    eprintln!("as it should be: {context}");
}

/// Plays something while the events come in for so long, which tells whether it came before all was done.
/// On a loaded machine it may not, and is played again more slowly.
fn in_time(context: &str, played: impl FnMut(Duration) -> bool) {
    let is_in_time = [FEED, 4 * FEED].into_iter().any(played);
    assert!(
        is_in_time,
        "{context}: all was done before anything happened"
    );
}

/// The same, while the events come in for so long; tells whether any member was killed.
fn kill_while(
    run: &Run,
    pair: &Pair,
    context: &str,
    seed: u64,
    feed: Duration,
    check: fn(&Run, &Pair, &str),
) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let mut feed = run.replay_within(pair, 6, feed);
    let mut kills = 0;
    let member = |name: String| run.member_with(&name, &SESSION, &[]);
    let mut members: Vec<_> = (0..3).map(|n| member(format!("member-{n}"))).collect();
    wait_until("the first rows", PATIENCE, || run.raw_rows() > Some(0));
    for kill in 0..3 {
        std::thread::sleep(Duration::from_millis(random.random_range(100..1_800)));
        let victim = random.random_range(0..members.len());
        let rows = run.raw_rows().expect("a database");
        if rows == pair.events() {
            // A loaded machine is slow to kill, and the feed does not wait.
            eprintln!("{context}: all was done after {kill} kills");
            break;
        }
        members[victim].kill();
        kills += 1;
        match kill == 2 && seed % 2 == 1 {
            true => drop(members.remove(victim)),
            false => members[victim] = member(format!("member-{victim}-after-{kill}")),
        }
    }
    feed.succeed();
    wait_for_tables(run, pair, &mut members);
    check(run, pair, context);
    members.iter_mut().for_each(Tidemill::stop);
    kills > 0
}

#[test]
fn killed_processes_lose_nothing_and_count_nothing_twice() {
    let Some(stage) = stage("chaos") else {
        return;
    };
    let pairs = stage.recent_changes();
    for seed in 0..10 {
        // Each pair meets each server, with and without a process that stays away.
        let pair = pairs[seed / 2 % pairs.len()];
        let (server, url) = stage.server(seed / 4);
        let run = || Run::new(pair, &stage.bootstrap, url);
        kill_at_random(run, pair, server, seed as u64, assert_tables);
    }
}

#[test]
fn killed_processes_lose_nothing_at_least_once_either() {
    let Some(stage) = stage("chaos at least once") else {
        return;
    };
    let pairs = stage.recent_changes();
    for seed in 100..102 {
        let pair = pairs[seed % pairs.len()];
        let (server, url) = stage.server(seed);
        let run = || Run::new(pair, &stage.bootstrap, url).at_least_once();
        kill_at_random(run, pair, server, seed as u64, assert_tables_at_least);
    }
}

/// A process dies by its own hand at each step of a commit; the next one goes on.
#[test]
fn a_process_that_dies_at_any_step_of_a_commit_leaves_exact_tables() {
    let Some(stage) = stage("failpoints") else {
        return;
    };
    let pair = stage.recent_changes()[0];
    for (at, place) in PLACES.into_iter().enumerate() {
        let (name, url) = stage.server(at);
        let run = Run::new(pair, &stage.bootstrap, url);
        // Three processes have to start, one after the other, and the last commits three times.
        let mut feed = run.replay_within(pair, 4, 3 * FEED);
        for commit in [1, 2, 3] {
            let failpoint = format!("{place}:{commit}");
            let variables = [("TIDEMILL_FAILPOINT", failpoint.as_str())];
            let mut dying = run.member_with(&failpoint, &SESSION, &variables);
            dying.wait_for_its_end();
            assert!(dying.log().contains("failpoint reached"), "{}", dying.log());
        }
        feed.succeed();
        let mut members = [run.member_with("survivor", &SESSION, &[])];
        wait_for_tables(&run, pair, &mut members);
        assert_tables(&run, pair, &format!("{} on {name}, {place}", pair.name));
        members.iter_mut().for_each(Tidemill::stop);
    }
}

#[test]
fn a_database_that_is_killed_and_comes_back_has_every_row_once() {
    let Some(stage) = stage("database restart") else {
        return;
    };
    let pairs = stage.recent_changes();
    for (at, (name, _)) in stage.servers.iter().enumerate() {
        let Some(server) = OwnServer::start(name) else {
            return skip("database restart", "the servers are not ours to restart");
        };
        let pair = pairs[at % pairs.len()];
        let context = format!("{} on {name}, restarted", pair.name);
        in_time(&context, |feed| {
            restart_database(&server, &stage.bootstrap, pair, &context, feed)
        });
    }
}

fn restart_database(
    server: &OwnServer,
    bootstrap: &str,
    pair: &Pair,
    context: &str,
    feed: Duration,
) -> bool {
    let run = Run::new(pair, bootstrap, &server.address());
    let mut feed = run.replay_within(pair, 6, feed);
    let mut members: Vec<_> = (0..2).map(|n| run.member(&format!("member-{n}"))).collect();
    wait_until("the first rows", PATIENCE, || run.raw_rows() > Some(0));
    let mut outages = 0;
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(600));
        if run.raw_rows().expect("a database") == pair.events() {
            eprintln!("{context}: all was done after {outages} outages");
            break;
        }
        server.kill();
        std::thread::sleep(Duration::from_millis(500));
        server.restart();
        outages += 1;
    }
    feed.succeed();
    wait_for_tables(&run, pair, &mut members);
    assert_tables(&run, pair, context);
    members.iter_mut().for_each(Tidemill::stop);
    outages > 0
}

/// The requests to join of a standing Kafka are sent again by the client library, and the second one
/// fences the member that sent the first.
#[test]
fn a_kafka_that_stands_still_for_longer_than_sessions_last_costs_no_process_and_no_row() {
    let Some(stage) = stage("Kafka pause") else {
        return;
    };
    let Some(kafka) = OwnServer::start("kafka") else {
        return skip("Kafka pause", "Kafka is not ours to pause");
    };
    let pair = stage.recent_changes()[0];
    let (name, url) = stage.server(0);
    let context = format!("{} on {name}, paused", pair.name);
    in_time(&context, |feed| {
        pause_kafka(&kafka, url, pair, &context, feed)
    });
}

fn pause_kafka(kafka: &OwnServer, url: &str, pair: &Pair, context: &str, feed: Duration) -> bool {
    let run = Run::new(pair, &kafka.address(), url);
    let mut feed = run.replay_within(pair, 6, feed);
    let session = ["--session-timeout", "6s", "--http", "off"];
    let member = |n| run.member_with(&format!("member-{n}"), &session, &[]);
    let mut members: Vec<_> = (0..2).map(member).collect();
    wait_until("the first rows", PATIENCE, || run.raw_rows() > Some(0));
    let is_in_time = run.raw_rows().expect("a database") < pair.events();
    if is_in_time {
        kafka.pause();
        std::thread::sleep(Duration::from_secs(14));
        kafka.resume();
    }
    feed.succeed();
    wait_for_tables(&run, pair, &mut members);
    assert_tables(&run, pair, context);
    members.iter_mut().for_each(Tidemill::stop);
    is_in_time
}
