//! Aggregates behind a repartition, and windows whose results leave when they close, on a real
//! Kafka: each window gives one result, and it is right, also when processes are killed.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::time::Timestamp;

use crate::harness::{Pair, Run, Tidemill, lines, stage, wait_until};

/// Neither aggregate contains the key of the source. A grace of a second is little: it must not
/// matter how far the partitions of the source are from each other.
const TOPOLOGY: &str = "
app: NAME
guarantee: exactly_once
nodes:
  changes:
    source:
      topic: NAME
      key: wiki
      id: meta.id
      timestamp: meta.dt
      fields: { user: string, type: string, bot: bool, id: int }
  real: { filter: { from: changes, where: \"meta.domain != 'canary'\" } }
  users:
    aggregate:
      from: real
      by: [user]
      window: { tumbling: 1m, grace: 1s }
      set: { events: count(), wikis: distinct(wiki), last_wiki: last(wiki) }
  user_table: { sql: { from: users, table: users } }
  types:
    aggregate:
      from: real
      by: [type, bot]
      window: { tumbling: 5s, grace: 1s, idle_close: 3s }
      emit: close
      set: { events: count(), highest: max(id), lowest: min(id) }
  type_table: { sql: { from: types, table: types } }
  type_topic: { kafka: { from: types, topic: NAME.types } }
  # Windows that hold, take back and overlap.
  visits:
    aggregate:
      from: real
      by: [user]
      window: { session: 10s, grace: 1s }
      set: { events: count() }
  visit_table: { sql: { from: visits, table: visits } }
  rolling:
    aggregate:
      from: real
      by: [wiki]
      window: { hopping: 20s, advance: 5s, grace: 1s }
      set: { events: count() }
  rolling_table: { sql: { from: rolling, table: rolling } }
";

const TABLES: [&str; 4] = [
    "CREATE TABLE visits (
       user VARBINARY(255) NOT NULL, window_start DATETIME(3) NOT NULL, window_end DATETIME(3),
       events BIGINT, PRIMARY KEY (user, window_start))",
    "CREATE TABLE rolling (
       wiki VARBINARY(255) NOT NULL, window_start DATETIME(3) NOT NULL, window_end DATETIME(3),
       events BIGINT, PRIMARY KEY (wiki, window_start))",
    "CREATE TABLE users (
       user VARBINARY(255) NOT NULL, window_start DATETIME(3) NOT NULL, window_end DATETIME(3),
       events BIGINT, wikis BIGINT, last_wiki VARCHAR(64), PRIMARY KEY (user, window_start))",
    "CREATE TABLE types (
       type VARBINARY(32) NOT NULL, bot TINYINT NOT NULL, window_start DATETIME(3) NOT NULL,
       window_end DATETIME(3), events BIGINT, highest BIGINT, lowest BIGINT,
       PRIMARY KEY (type, bot, window_start))",
];

const FEED: Duration = Duration::from_secs(8);

/// Nothing here takes so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(90);

/// So much longer is waited for what should not come.
const SETTLING: Duration = Duration::from_secs(8);

type Rows = BTreeMap<Vec<String>, Vec<String>>;

/// The tables, counted without the program: users with events and wikis, types with events and
/// the highest and lowest id.
fn expected(pair: &Pair) -> (Rows, Rows) {
    let mut users: BTreeMap<Vec<String>, (u64, BTreeMap<String, ()>)> = BTreeMap::new();
    let mut types: BTreeMap<Vec<String>, (u64, Option<i64>, Option<i64>)> = BTreeMap::new();
    for line in lines(&pair.events) {
        let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
        if event["meta"]["domain"] == "canary" {
            continue;
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let time = Timestamp::parse_rfc3339(&text(&event["meta"]["dt"])).unwrap();
        let window = |size: i64| (time.millis().div_euclid(size) * size).to_string();
        let user = users
            .entry(vec![text(&event["user"]), window(60_000)])
            .or_default();
        user.0 += 1;
        user.1.insert(text(&event["wiki"]), ());
        let bot = i32::from(event["bot"].as_bool().unwrap()).to_string();
        let of_type = types
            .entry(vec![text(&event["type"]), bot, window(5_000)])
            .or_default();
        let id = event["id"].as_i64();
        of_type.0 += 1;
        of_type.1 = of_type.1.max(id);
        of_type.2 = match (of_type.2, id) {
            (Some(lowest), Some(id)) => Some(lowest.min(id)),
            (lowest, id) => lowest.or(id),
        };
    }
    let id = |id: Option<i64>| id.map_or("NULL".to_owned(), |id| id.to_string());
    let users = users.into_iter().map(|(key, (events, wikis))| {
        let row = vec![events.to_string(), wikis.len().to_string()];
        (key, row)
    });
    let types = types.into_iter().map(|(key, (events, highest, lowest))| {
        let row = vec![events.to_string(), id(highest), id(lowest)];
        (key, row)
    });
    (users.collect(), types.collect())
}

/// The sessions of each user, and how many events each wiki has in each hopping window, counted
/// without the program.
fn expected_windows(pair: &Pair) -> (Rows, Rows) {
    let mut times: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut rolling: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for line in lines(&pair.events) {
        let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
        if event["meta"]["domain"] == "canary" {
            continue;
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let time = Timestamp::parse_rfc3339(&text(&event["meta"]["dt"])).unwrap();
        times
            .entry(text(&event["user"]))
            .or_default()
            .push(time.millis());
        let newest = time.millis().div_euclid(5_000) * 5_000;
        for start in (0..4).map(|n| newest - n * 5_000) {
            let key = vec![text(&event["wiki"]), start.to_string()];
            *rolling.entry(key).or_default() += 1;
        }
    }
    let mut visits = Rows::new();
    for (user, mut times) in times {
        times.sort_unstable();
        for visit in times.chunk_by(|earlier, later| later - earlier <= 10_000) {
            let key = vec![user.clone(), visit[0].to_string()];
            let end = visit[visit.len() - 1].to_string();
            visits.insert(key, vec![end, visit.len().to_string()]);
        }
    }
    let rolling = rolling
        .into_iter()
        .map(|(key, n)| (key, vec![n.to_string()]));
    (visits, rolling.collect())
}

/// The rows of a query whose first columns are the key; none while the table is not there.
fn rows(run: &Run, query: &str, key: usize) -> Rows {
    let rows = run.database.rows(query).unwrap_or_default().into_iter();
    let split = |mut row: Vec<String>| {
        let values = row.split_off(key);
        (row, values)
    };
    rows.map(split).collect()
}

const MILLIS: &str = "CAST(ROUND(UNIX_TIMESTAMP(window_start) * 1000) AS SIGNED)";

fn check(pair: &Pair, bootstrap: &str, server: (&str, &str), killed: bool) {
    let context = format!("{} on {}, killed: {killed}", pair.name, server.0);
    let run = Run::of(TOPOLOGY, bootstrap, server.1);
    TABLES.iter().for_each(|table| run.database.run(table));
    let (users, types) = expected(pair);
    let mut feed = run.replay_within(pair, 6, FEED);
    let more = ["--session-timeout", "3s", "--http", "off"];
    let mut members: Vec<_> = (0..2)
        .map(|n| run.member_with(&format!("member-{n}"), &more, &[]))
        .collect();
    if killed {
        let table = || run.database.number("SELECT COUNT(*) FROM users");
        wait_until("the first rows", PATIENCE, || table() > Some(0));
        for (kill, member) in members.iter_mut().enumerate() {
            std::thread::sleep(Duration::from_millis(1_500));
            member.kill();
            *member = run.member_with(&format!("after-{kill}"), &more, &[]);
        }
    }
    feed.succeed();
    // `last_wiki` is not compared: two events of a user may have one time.
    let users_query = format!("SELECT user, {MILLIS}, events, wikis FROM users");
    let end = MILLIS.replace("start", "end");
    let visits_query = format!("SELECT user, {MILLIS}, {end}, events FROM visits");
    let rolling_query = format!("SELECT wiki, {MILLIS}, events FROM rolling");
    let (visits, rolling) = expected_windows(pair);
    let types_query = format!("SELECT type, bot, {MILLIS}, events, highest, lowest FROM types");
    let began = std::time::Instant::now();
    loop {
        members.iter_mut().for_each(|member| {
            assert!(!member.has_ended(), "{}", member.log());
        });
        let found = (rows(&run, &users_query, 2), rows(&run, &types_query, 3));
        let windows = (rows(&run, &visits_query, 2), rows(&run, &rolling_query, 2));
        if found == (users.clone(), types.clone()) && windows == (visits.clone(), rolling.clone()) {
            break;
        }
        if began.elapsed() > PATIENCE {
            assert_rows(&windows.0, &visits, &context);
            assert_rows(&windows.1, &rolling, &context);
            assert_rows(&found.0, &users, &context);
            assert_rows(&found.1, &types, &context);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // What would be too much comes later still. A partition that ends with an aborted transaction
    // never looks read to its end, so this waits, but asks for nothing.
    let groups = run.groups();
    let settled = std::time::Instant::now();
    while !groups.behind().is_empty() && settled.elapsed() < SETTLING {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_rows(&rows(&run, &users_query, 2), &users, &context);
    assert_rows(&rows(&run, &visits_query, 2), &visits, &context);
    assert_rows(&rows(&run, &rolling_query, 2), &rolling, &context);
    // Each window left once, for the table and for the topic.
    let results = run.committed(&format!("{}.types", run.name));
    let mut seen = Rows::new();
    for result in &results {
        let result: serde_json::Value = serde_json::from_slice(result).unwrap();
        let text = |name: &str| result[name].to_string().trim_matches('"').to_owned();
        let bot = i32::from(result["bot"].as_bool().unwrap()).to_string();
        let window = Timestamp::parse_rfc3339(&text("window_start")).unwrap();
        let key = vec![text("type"), bot, window.millis().to_string()];
        let values = ["events", "highest", "lowest"].map(|name| match &result[name] {
            serde_json::Value::Null => "NULL".to_owned(),
            value => value.to_string(),
        });
        let before = seen.insert(key, values.to_vec());
        assert!(before.is_none(), "{context}: a window left twice: {result}");
    }
    assert_rows(&seen, &types, &context);
    members.iter_mut().for_each(Tidemill::stop);
    let letters = run.committed(&format!("{}-dead-letters", run.name));
    assert!(
        letters.is_empty(),
        "{context}: {} dead letters",
        letters.len()
    );
    eprintln!("equal: {context}");
}

#[track_caller]
fn assert_rows(found: &Rows, expected: &Rows, context: &str) {
    let missing = expected
        .iter()
        .filter(|(key, row)| found.get(*key) != Some(row));
    let missing: Vec<_> = missing
        .map(|(key, row)| (key, row, found.get(key)))
        .take(5)
        .collect();
    let extra: Vec<_> = found
        .keys()
        .filter(|key| !expected.contains_key(*key))
        .take(5)
        .collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{context}: {} rows expected, {} found\nmissing or wrong: {missing:#?}\nextra: {extra:#?}",
        expected.len(),
        found.len()
    );
}

#[test]
fn windows_behind_a_repartition_close_once_and_hold_everything() {
    let Some(stage) = stage("repartition") else {
        return;
    };
    for (at, pair) in stage.recent_changes().into_iter().enumerate() {
        check(pair, &stage.bootstrap, stage.server(at), false);
    }
}

#[test]
fn windows_behind_a_repartition_close_once_when_processes_are_killed() {
    let Some(stage) = stage("repartition under fire") else {
        return;
    };
    for (at, pair) in stage.recent_changes().into_iter().enumerate() {
        check(pair, &stage.bootstrap, stage.server(at + 1), true);
    }
}
