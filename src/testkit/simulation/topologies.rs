//! The topologies that are simulated, what comes into them, and what has to come out.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value as Json, json};

use super::world::START;
use crate::time::Timestamp;

/// A record of the input.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub topic: &'static str,
    pub key: String,
    /// None: that of the key.
    pub partition: Option<i32>,
    /// None: a tombstone.
    pub value: Option<Json>,
    pub time: Timestamp,
}

/// What is expected of topics or tables, by name.
type Expected<T> = Vec<(&'static str, Vec<T>)>;

/// A topology and a plain account of what it does.
pub(super) struct Subject {
    pub name: &'static str,
    /// What is written may be there again then, and numbers may be larger; nothing is missing.
    pub at_least_once: bool,
    pub topology: &'static str,
    /// The record that comes behind so many others.
    pub next: fn(usize, &mut StdRng) -> Given,
    /// What comes when everything has healed, for windows to be closed.
    pub last: fn(usize) -> Vec<Given>,
    /// The values of the topics of Kafka sinks, in any order.
    pub topics: fn(&[Given]) -> Expected<String>,
    /// The rows of tables, in any order.
    pub tables: fn(&[Given]) -> Expected<Json>,
}

/// Filter, two aggregates of which one is behind a repartition, a Kafka sink and three SQL sinks.
pub(super) const ROLLUPS: Subject = Subject {
    name: "rollups",
    at_least_once: false,
    topology: "
app: rollups
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at, fields: { id: int, shop: string, user: string, amount: int } } }
  paid: { filter: { from: orders, where: amount > 0 } }
  copies: { kafka: { from: paid, topic: copies } }
  raw: { sql: { from: paid, table: raw_orders, columns: { id: id, user: user, amount: amount }, key: id } }
  per_shop: { aggregate: { from: paid, by: shop, window: { tumbling: 10s, grace: 1d }, set: { n: count(), amount: sum(amount) } } }
  per_user: { aggregate: { from: paid, by: user, window: none, set: { n: count(), amount: sum(amount) } } }
  shops: { sql: { from: per_shop, table: shops } }
  users: { sql: { from: per_user, table: users } }
",
    next: |number, rng| {
        let shop = format!("s{}", rng.random_range(0..7));
        let late_ms = rng.random_range(0..5_000);
        let at = START.plus_millis(number as i64 * 40 - late_ms);
        let value = json!({
            "id": number,
            "shop": shop,
            "user": format!("u{}", rng.random_range(0..20)),
            "amount": rng.random_range(-3..20),
            "at": at.to_string(),
        });
        Given {
            topic: "orders",
            key: shop,
            partition: None,
            value: Some(value),
            time: at,
        }
    },
    last: |_| Vec::new(),
    topics: |given| {
        let copies = paid(given).map(|(order, _)| order.to_string());
        vec![("copies", copies.collect())]
    },
    tables: |given| {
        const WINDOW_MS: i64 = 10_000;
        let mut shops: BTreeMap<(&str, i64), (i64, i64)> = BTreeMap::new();
        let mut users: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        let mut raw = Vec::new();
        for (order, at) in paid(given) {
            let text = |name: &str| order[name].as_str().expect("a text");
            let amount = order["amount"].as_i64().expect("a number");
            let window = at.0.div_euclid(WINDOW_MS) * WINDOW_MS;
            for sums in [
                shops.entry((text("shop"), window)).or_default(),
                users.entry(text("user")).or_default(),
            ] {
                sums.0 += 1;
                sums.1 += amount;
            }
            raw.push(json!({ "id": order["id"], "user": order["user"], "amount": amount }));
        }
        let shops = shops.into_iter().map(|((shop, window), (n, amount))| {
            let window_start = Timestamp(window).to_string();
            json!({ "shop": shop, "window_start": window_start, "n": n, "amount": amount })
        });
        let users = users
            .into_iter()
            .map(|(user, (n, amount))| json!({ "user": user, "n": n, "amount": amount }));
        vec![
            ("raw_orders", raw),
            ("shops", shops.collect()),
            ("users", users.collect()),
        ]
    },
};

/// The same with the weaker guarantee.
pub(super) const ROLLUPS_AT_LEAST_ONCE: Subject = Subject {
    name: "rollups, at least once",
    at_least_once: true,
    ..ROLLUPS
};

fn paid(given: &[Given]) -> impl Iterator<Item = (&Json, Timestamp)> {
    let orders = given
        .iter()
        .map(|given| (given.value.as_ref().expect("an order"), given.time));
    orders.filter(|(order, _)| order["amount"].as_i64() > Some(0))
}

/// A table whose rows change and go, an aggregate that takes back what they have added, and records that come
/// twice.
pub(super) const ROWS: Subject = Subject {
    name: "rows",
    at_least_once: false,
    topology: "
app: rows
nodes:
  players: { source: { topic: players, key: id, null_values: pass, fields: { id: string, team: string, goals: int } } }
  table: { table: { from: players } }
  per_team: { aggregate: { from: table, by: team, window: none, set: { n: count(), goals: sum(goals) } } }
  teams: { sql: { from: per_team, table: teams } }
  rows: { sql: { from: table, table: player_rows, columns: { id: id, team: team, goals: goals }, key: id } }
  clicks: { source: { topic: clicks } }
  once: { deduplicate: { from: clicks, within: 1h } }
  clean: { kafka: { from: once, topic: clean } }
",
    next: |number, rng| {
        let time = START.plus_millis(number as i64 * 40);
        if rng.random_bool(0.5) {
            let id = rng.random_range(0..=number / 2);
            return Given {
                topic: "clicks",
                key: format!("c{id}"),
                partition: None,
                value: Some(json!({ "id": id })),
                time,
            };
        }
        let id = format!("p{}", rng.random_range(0..30));
        let player = json!({
            "id": id,
            "team": format!("t{}", rng.random_range(0..5)),
            "goals": rng.random_range(0..9),
        });
        Given {
            topic: "players",
            key: id,
            partition: None,
            value: rng.random_bool(0.8).then_some(player),
            time,
        }
    },
    last: |_| Vec::new(),
    topics: |given| {
        let clicks = given.iter().filter(|given| given.topic == "clicks");
        let clicks = clicks.filter_map(|given| given.value.as_ref());
        let distinct: BTreeSet<String> = clicks.map(Json::to_string).collect();
        vec![("clean", distinct.into_iter().collect())]
    },
    tables: |given| {
        let mut players: BTreeMap<&str, &Json> = BTreeMap::new();
        let mut teams: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for given in given.iter().filter(|given| given.topic == "players") {
            match &given.value {
                Some(player) => {
                    players.insert(&given.key, player);
                    // One that nobody is in any more stays, with its zeros.
                    teams.entry(player["team"].as_str().expect("a text")).or_default();
                }
                None => drop(players.remove(given.key.as_str())),
            }
        }
        for player in players.values() {
            let team = player["team"].as_str().expect("a text");
            let sums = teams.entry(team).or_default();
            sums.0 += 1;
            sums.1 += player["goals"].as_i64().expect("a number");
        }
        let teams = teams
            .into_iter()
            .map(|(team, (n, goals))| json!({ "team": team, "n": n, "goals": goals }));
        vec![
            ("teams", teams.collect()),
            ("player_rows", players.into_values().cloned().collect()),
        ]
    },
};

/// Windows that close and are let go, each told of once.
pub(super) const WINDOWS: Subject = Subject {
    name: "windows",
    at_least_once: false,
    topology: "
app: windows
nodes:
  clicks: { source: { topic: clicks, key: user, timestamp: at, fields: { user: string, page: string } } }
  seconds: { aggregate: { from: clicks, by: user, window: { tumbling: 1s, grace: 300ms }, emit: close, set: { n: count() } } }
  to_seconds: { kafka: { from: seconds, topic: seconds, fields: { user: user, at: window_start, n: n } } }
  hops: { aggregate: { from: clicks, by: user, window: { hopping: 2s, advance: 500ms, grace: 300ms }, emit: close, set: { n: count() } } }
  to_hops: { kafka: { from: hops, topic: hops, fields: { user: user, at: window_start, n: n } } }
  pages: { aggregate: { from: clicks, by: page, window: { tumbling: 1s, grace: 300ms }, emit: close, set: { n: count() } } }
  to_pages: { kafka: { from: pages, topic: pages, fields: { page: page, at: window_start, n: n } } }
  visits: { aggregate: { from: clicks, by: user, window: { session: 400ms, grace: 300ms }, emit: close, set: { n: count() } } }
  to_visits: { sql: { from: visits, table: visits } }
",
    next: |number, rng| {
        let late_ms = rng.random_range(0..250);
        let at = START.plus_millis(number as i64 * 60 - late_ms);
        click(
            format!("u{}", rng.random_range(0..6)),
            &format!("p{}", rng.random_range(0..4)),
            at,
        )
    },
    last: |number| {
        let end = START.plus_millis(number as i64 * 60 + 60_000);
        let closing = |partition| Given {
            partition: Some(partition),
            ..click("closing".to_owned(), "closing", end)
        };
        (0..3).map(closing).collect()
    },
    topics: |given| {
        let seconds = in_windows(given, "user", 1_000, 1_000);
        let hops = in_windows(given, "user", 2_000, 500);
        let pages = in_windows(given, "page", 1_000, 1_000);
        vec![("seconds", seconds), ("hops", hops), ("pages", pages)]
    },
    tables: |given| {
        const GAP_MS: i64 = 400;
        let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for given in given {
            let user = given.value.as_ref().expect("a click")["user"].as_str();
            times.entry(user.expect("a text")).or_default().push(given.time.0);
        }
        let mut visits = Vec::new();
        for (user, mut times) in times {
            times.sort_unstable();
            for visit in times.chunk_by(|one, next| next - one <= GAP_MS) {
                let (first, last) = (visit[0], visit[visit.len() - 1]);
                visits.push(json!({
                    "user": user,
                    "window_start": Timestamp(first).to_string(),
                    "window_end": Timestamp(last).to_string(),
                    "n": visit.len(),
                }));
            }
        }
        vec![("visits", visits)]
    },
};

fn click(user: String, page: &str, at: Timestamp) -> Given {
    Given {
        topic: "clicks",
        partition: None,
        value: Some(json!({ "user": user, "page": page, "at": at.to_string() })),
        key: user,
        time: at,
    }
}

/// What windows of a grid count of each value of a field.
fn in_windows(given: &[Given], field: &str, size_ms: i64, advance_ms: i64) -> Vec<String> {
    let mut counts: BTreeMap<(&str, i64), u64> = BTreeMap::new();
    for given in given {
        let click = given.value.as_ref().expect("a click");
        let key = click[field].as_str().expect("a text");
        let mut start = given.time.0.div_euclid(advance_ms) * advance_ms;
        while start > given.time.0 - size_ms {
            *counts.entry((key, start)).or_default() += 1;
            start -= advance_ms;
        }
    }
    let results = counts.into_iter().map(|((key, start), n)| {
        json!({ field: key, "at": Timestamp(start).to_string(), "n": n }).to_string()
    });
    results.collect()
}
