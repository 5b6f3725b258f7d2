//! Joins on a real Kafka: edits find the team of their user, users have their number of edits and the
//! name of their team, teams their number of users, and edits are paired with their reviews; records
//! of all of these are moved, users change their teams and teams their names, a member is killed, and
//! the tables of the database have every row once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::harness::{Raw, Run, Tidemill, Topics, stage, wait_until};

const TOPOLOGY: &str = "
app: NAME
nodes:
  profiles: { source: { topic: NAME.users, timestamp: at, null_values: pass, fields: { team: string } } }
  users: { table: { from: profiles } }
  edits:
    source: { topic: NAME.edits, timestamp: at, fields: { id: int, author: string, page: int } }
  by_author: { select_key: { from: edits, key: author } }
  enriched: { join: { from: by_author, with: users, as: user } }
  enriched_table:
    sql: { from: enriched, table: enriched, key: id, columns: { id: id, author: author, team: user.team } }

  per_author: { aggregate: { from: edits, by: author, window: none, set: { edits: count() } } }
  stats: { join: { from: users, with: per_author, as: stats, type: left } }
  stats_table:
    sql: { from: stats, table: stats, key: author, columns: { author: record_key(), team: team, edits: stats.edits } }

  reviews: { source: { topic: NAME.reviews, timestamp: at, fields: { edit: int, mark: int } } }
  team_rows: { source: { topic: NAME.teams, timestamp: at, null_values: pass, fields: { name: string } } }
  teams: { table: { from: team_rows } }
  named: { join: { from: users, with: teams, as: its, on: team } }
  named_table:
    sql: { from: named, table: named, key: author, columns: { author: record_key(), name: its.name } }
  per_team: { aggregate: { from: users, by: team, window: none, set: { users: count() } } }
  per_team_table:
    sql: { from: per_team, table: per_team, columns: { team: team, users: users } }

  by_page: { select_key: { from: edits, key: string(page) } }
  reviews_by_page: { select_key: { from: reviews, key: string(page) } }
  reviewed: { join: { from: by_page, with: reviews_by_page, as: review, within: 5s, grace: 1h, type: left } }
  reviewed_table:
    sql: { from: reviewed, table: reviewed, key: [id, mark], columns: { id: id, mark: 'has(review.mark) ? review.mark : -1' } }
";

const TABLES: [&str; 5] = [
    "CREATE TABLE enriched (id BIGINT PRIMARY KEY, author VARBINARY(20), team VARBINARY(20))",
    "CREATE TABLE stats (author VARBINARY(20) PRIMARY KEY, team VARBINARY(20), edits BIGINT)",
    "CREATE TABLE reviewed (id BIGINT, mark BIGINT, PRIMARY KEY (id, mark))",
    "CREATE TABLE named (author VARBINARY(20) PRIMARY KEY, name VARBINARY(20))",
    "CREATE TABLE per_team (team VARBINARY(20) PRIMARY KEY, users BIGINT)",
];

const USERS: usize = 50;
const TEAMS: usize = 7;
const EDITS: usize = 3_000;
/// So many users change their team in the end.
const MOVED: usize = 10;
/// Later than all edits and reviews.
const LATER: usize = 9_000_000_000;
const PATIENCE: Duration = Duration::from_secs(120);

fn user(number: usize) -> String {
    format!("user{number}")
}

fn raw(key: String, value: String) -> Raw {
    Raw {
        partition: None,
        key: Some(key.into_bytes()),
        value: Some(value.into_bytes()),
    }
}

/// The number of the team that a user is in, first and in the end.
fn team(user: usize) -> (usize, usize) {
    let first = user % TEAMS;
    match user < MOVED {
        true => (first, (first + 1) % TEAMS),
        false => (first, first),
    }
}

fn user_row(number: usize, team: usize, at: usize) -> Raw {
    raw(
        user(number),
        format!(r#"{{"team":"team{team}","at":{at}}}"#),
    )
}

/// Users in their first teams.
fn users() -> Vec<Raw> {
    let first = |number| user_row(number, team(number).0, 0);
    (0..USERS).map(first).collect()
}

/// Users that have changed their team, when there are no edits any more.
fn moved_users() -> Vec<Raw> {
    let moved = |number| user_row(number, team(number).1, LATER);
    (0..MOVED).map(moved).collect()
}

/// Teams with their names.
fn teams(suffix: &str) -> Vec<Raw> {
    let one = |number| {
        let name = format!("Team {number}{suffix}");
        raw(
            format!("team{number}"),
            format!(r#"{{"name":"{name}","at":0}}"#),
        )
    };
    (0..TEAMS).map(one).collect()
}

/// When an edit happened, in milliseconds.
fn at(id: usize) -> usize {
    1_000 * (id + 1)
}

/// Edits, one a second from a time on, each of a page of its own; every third one has a review within
/// five seconds, every fifth one that comes too late.
fn edit(id: usize) -> Raw {
    let (at, author) = (at(id), user(id % USERS));
    raw(
        format!("e{id}"),
        format!(r#"{{"id":{id},"author":"{author}","page":{id},"at":{at}}}"#),
    )
}

fn review(id: usize) -> Option<Raw> {
    let late = match (id % 3, id % 5) {
        (0, _) => 5_000,
        (_, 0) => 5_001,
        _ => return None,
    };
    let at = at(id) + late;
    let value = format!(
        r#"{{"edit":{id},"page":{id},"mark":{},"at":{at}}}"#,
        id % 10
    );
    Some(raw(format!("r{id}"), value))
}

type Rows = BTreeSet<Vec<String>>;

/// What the tables hold in the end; of the reviewed ones, those whose time is up for sure.
fn expected() -> [Rows; 5] {
    let enriched = (0..EDITS).map(|id| {
        let number = id % USERS;
        vec![
            id.to_string(),
            user(number),
            format!("team{}", team(number).0),
        ]
    });
    let stats = (0..USERS).map(|number| {
        let edits = (0..EDITS).filter(|id| id % USERS == number).count();
        vec![
            user(number),
            format!("team{}", team(number).1),
            edits.to_string(),
        ]
    });
    let reviewed = (0..EDITS).map(|id| {
        let mark = match id % 3 {
            0 => (id % 10).to_string(),
            _ => "-1".to_owned(),
        };
        vec![id.to_string(), mark]
    });
    let named = (0..USERS).map(|number| vec![user(number), format!("Team {}!", team(number).1)]);
    let per_team = (0..TEAMS).map(|number| {
        let users = (0..USERS).filter(|user| team(*user).1 == number).count();
        vec![format!("team{number}"), users.to_string()]
    });
    [
        enriched.collect(),
        stats.collect(),
        reviewed.collect(),
        named.collect(),
        per_team.collect(),
    ]
}

/// What they hold, without the record that only moves time on.
fn found(run: &Run) -> [Rows; 5] {
    [
        "id, author, team FROM enriched".to_owned(),
        "author, team, edits FROM stats".to_owned(),
        format!("id, mark FROM reviewed WHERE id < {EDITS}"),
        "author, name FROM named".to_owned(),
        "team, users FROM per_team".to_owned(),
    ]
    .map(|query| {
        let rows = run.database.rows(&format!("SELECT {query}"));
        rows.unwrap_or_default().into_iter().collect()
    })
}

#[test]
fn joins_over_repartitions_are_exact_while_members_die() {
    let Some(stage) = stage("join") else {
        return;
    };
    let run = Run::of(TOPOLOGY, &stage.bootstrap, stage.server(0).1);
    for table in TABLES {
        run.database.run(table);
    }
    let topics = Topics::connect(&stage.bootstrap);
    let topic = |name: &str| format!("{}.{name}", run.name);
    for name in ["users", "edits", "reviews"] {
        topics.create(&topic(name), 4, 1 << 20);
    }
    topics.create(&topic("teams"), 3, 1 << 20);
    topics.write(&topic("users"), &users());
    topics.write(&topic("teams"), &teams(""));
    let more = ["--session-timeout", "6s", "--http", "off"];
    let mut members: Vec<Tidemill> = (0..2)
        .map(|n| run.member_with(&format!("member-{n}"), &more, &[]))
        .collect();
    // Edits find the users that are there: which of the topics is read first is not said.
    wait_until("the users", PATIENCE, || found(&run)[3].len() == USERS);
    let half: Vec<Raw> = (0..EDITS / 2).map(edit).collect();
    topics.write(&topic("edits"), &half);
    wait_until("the first rows", PATIENCE, || !found(&run)[0].is_empty());
    members[0].kill();
    let rest: Vec<Raw> = (EDITS / 2..EDITS).map(edit).collect();
    topics.write(&topic("edits"), &rest);
    let reviews: Vec<Raw> = (0..EDITS).filter_map(review).collect();
    topics.write(&topic("reviews"), &reviews);
    topics.write(&topic("teams"), &teams("!"));
    members[0] = run.member_with("after", &more, &[]);
    // Time goes on in every partition, so that what has no review leaves.
    let later = |partition: i32| Raw {
        partition: Some(partition),
        key: Some(b"later".to_vec()),
        value: Some(
            format!(r#"{{"id":{EDITS},"author":"nobody","page":-1,"at":10000000000}}"#)
                .into_bytes(),
        ),
    };
    for name in ["edits", "reviews"] {
        let marks: Vec<Raw> = (0..4).map(later).collect();
        topics.write(&topic(name), &marks);
    }
    let expected = expected();
    // Edits meet the teams of their time: they are not all sent on yet.
    wait_until("the edits", PATIENCE, || found(&run)[0] == expected[0]);
    topics.write(&topic("users"), &moved_users());
    let began = Instant::now();
    while found(&run) != expected {
        assert!(
            !members.iter_mut().any(Tidemill::has_ended),
            "{}",
            members[1].log()
        );
        if began.elapsed() > PATIENCE {
            for (found, expected) in found(&run).iter().zip(&expected) {
                let missing: Vec<_> = expected.difference(found).take(5).collect();
                let surplus: Vec<_> = found.difference(expected).take(5).collect();
                assert!(
                    found == expected,
                    "missing {missing:?}, surplus {surplus:?}"
                );
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    members.iter_mut().for_each(Tidemill::stop);
}
