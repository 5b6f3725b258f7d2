//! Processes of the cluster are killed, die by their own hand, and stand still.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Check, FEED, Job, PATIENCE, SESSION, in_time};
use crate::harness::{
    Pair, Run, Tidemill, assert_tables, assert_tables_at_least, is_long, stage, wait_for_tables,
    wait_until,
};

/// Where a commit, or the write of a SQL sink, can be interrupted.
const PLACES: [&str; 9] = [
    "after-outputs",
    "after-flush",
    "before-commit",
    "after-commit",
    "after-store",
    "before-settle",
    "after-settle",
    "sink-before-commit",
    "sink-after-commit",
];

/// Kills a random member at a random moment, several times, while the events come in. Some come
/// back at once, and get their own tasks; the last one of every other seed stays away, and others
/// take over what it had. `run` makes what it plays in.
fn kill_at_random(run: impl Fn() -> Run, pair: &Pair, server: &str, seed: u64, check: Check) {
    let context = format!("{} on {server}, seed {seed}", pair.name);
    let kills = if is_long() { 10 } else { 3 };
    in_time(&context, FEED * kills / 3, |feed| {
        let job = Job {
            run: run(),
            pair,
            context: &context,
            feed,
        };
        job.under(job.members(3, &SESSION), check, |members| {
            kill_members(&job, members, seed, kills)
        })
    });
    eprintln!("as it should be: {context}");
}

fn kill_members(job: &Job<'_>, members: &mut Vec<Tidemill>, seed: u64, kills: u32) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(random.random_range(100..1_800)));
        if job.is_done() {
            return kill as usize;
        }
        let victim = random.random_range(0..members.len());
        members[victim].kill();
        if kill + 1 == kills && seed % 2 == 1 {
            drop(members.remove(victim));
        } else {
            let name = format!("member-{victim}-after-{kill}");
            members[victim] = job.run.member_with(&name, &SESSION, &[]);
        }
        if kill + 1 == kills {
            job.recovers();
        }
    }
    kills as usize
}

#[test]
fn killed_processes_lose_nothing_and_count_nothing_twice() {
    let Some(stage) = stage("chaos") else {
        return;
    };
    let pairs = stage.recent_changes();
    for seed in 0..if is_long() { 20 } else { 10 } {
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

/// A process that stands still for longer than its session has lost its tasks to others when it goes on, and
/// finds that what it had under way is refused.
#[test]
fn a_process_that_stands_still_is_replaced_and_comes_back() {
    let Some(stage) = stage("a process stands still") else {
        return;
    };
    let pair = stage.recent_changes()[0];
    for seed in 0..if is_long() { 10 } else { 2 } {
        let (server, url) = stage.server(seed);
        let context = format!("{} on {server}, frozen, seed {seed}", pair.name);
        in_time(&context, 2 * FEED, |feed| {
            let job = Job {
                run: Run::new(pair, &stage.bootstrap, url),
                pair,
                context: &context,
                feed,
            };
            job.under(job.members(2, &SESSION), assert_tables, |members| {
                freeze_members(&job, members, seed as u64)
            })
        });
    }
}

fn freeze_members(job: &Job<'_>, members: &mut [Tidemill], seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    for (freeze, member) in members.iter_mut().enumerate() {
        std::thread::sleep(Duration::from_millis(random.random_range(100..900)));
        if job.is_done() {
            return freeze;
        }
        member.pause();
        // The other one takes over, unless this one holds locks in the database.
        std::thread::sleep(Duration::from_secs(6));
        member.resume();
        job.recovers();
    }
    members.len()
}

/// A process stands still in the middle of a commit, with a transaction that is not ended. Others take over what
/// it had once the log has aborted that, and what it sends when it goes on is refused.
#[test]
fn a_process_that_stands_still_in_a_commit_has_committed_nothing() {
    let Some(stage) = stage("a process stands still in a commit") else {
        return;
    };
    let pair = stage.recent_changes()[0];
    let places = ["before-commit", "after-flush", "after-commit"];
    for (at, place) in places
        .into_iter()
        .take(if is_long() { 3 } else { 1 })
        .enumerate()
    {
        let (server, url) = stage.server(at);
        let context = format!("{} on {server}, frozen {place}", pair.name);
        in_time(&context, 3 * FEED, |feed| {
            let job = Job {
                run: Run::new(pair, &stage.bootstrap, url),
                pair,
                context: &context,
                feed,
            };
            // Late enough for rows to be there.
            let failpoint = format!("{place}:30:stop");
            let variables = [("TIDEMILL_FAILPOINT", failpoint.as_str())];
            let mut members = job.members(1, &SESSION);
            members.push(job.run.member_with("frozen", &SESSION, &variables));
            job.under(members, assert_tables, |members| {
                wait_until("the failpoint", PATIENCE, || {
                    members[1].log().contains("failpoint reached")
                });
                let is_in_time = !job.is_done();
                // It may hold locks in the database, for which the others wait.
                std::thread::sleep(Duration::from_secs(14));
                members[1].resume();
                job.recovers();
                usize::from(is_in_time)
            })
        });
    }
}

/// One process after the other is stopped and comes back, as in a rolling upgrade, with a topology file that
/// writes one table more: then all of what it aggregates is in that table too.
#[test]
fn processes_are_replaced_one_by_one_by_those_of_a_new_topology() {
    let Some(stage) = stage("a rolling upgrade") else {
        return;
    };
    let pair = stage.recent_changes()[0];
    let (server, url) = stage.server(1);
    let context = format!("{} on {server}, upgraded", pair.name);
    in_time(&context, FEED, |feed| {
        let job = Job {
            run: Run::new(pair, &stage.bootstrap, url),
            pair,
            context: &context,
            feed,
        };
        job.under(job.members(3, &SESSION), check_upgraded, |members| {
            upgrade(&job, members)
        })
    });
}

fn upgrade(job: &Job<'_>, members: &mut [Tidemill]) -> usize {
    let copy = "CREATE TABLE edits_copy LIKE edits_per_wiki_minute";
    job.run.database.run(copy);
    job.run.rewrite(with_a_copy);
    for (at, member) in members.iter_mut().enumerate() {
        if job.is_done() {
            return at;
        }
        member.stop();
        let name = format!("upgraded-{at}");
        *member = job.run.member_with(&name, &SESSION, &[]);
        job.recovers();
    }
    members.len()
}

/// The topology with the table of wikis a second time.
fn with_a_copy(text: &str) -> String {
    let table = "  wiki_table: { sql: { from: per_wiki, table: edits_per_wiki_minute } }\n";
    assert!(text.contains(table), "another topology");
    let copy = "  copied_table: { sql: { from: per_wiki, table: edits_copy } }\n";
    text.replace(table, &format!("{table}{copy}"))
}

fn check_upgraded(run: &Run, pair: &Pair, context: &str) {
    assert_tables(run, pair, context);
    let rows = |table| {
        run.database
            .rows(&format!("SELECT * FROM {table} ORDER BY 1, 2"))
    };
    let (wanted, mut found) = (rows("edits_per_wiki_minute").expect("rows"), Vec::new());
    wait_until("the copy", PATIENCE, || {
        found = rows("edits_copy").expect("rows");
        found == wanted
    });
}
