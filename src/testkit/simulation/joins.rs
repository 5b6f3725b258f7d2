//! Joins of streams and of tables, and results that are held back until their windows close.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::topologies::{Given, Subject};
use super::world::{PARTITIONS, START};
use crate::time::Timestamp;

/// So long after an order it can be paid for.
const PAYABLE_MS: i64 = 5_000;

/// Of the counts of orders.
const WINDOW_MS: i64 = 1_000;

/// Between two records.
const BETWEEN_MS: i64 = 60;

/// Streams that are joined, with what has no match; a stream that is moved and joined with a table; tables joined
/// by a foreign key; and windows that are told of when they close.
pub(super) const JOINS: Subject = Subject {
    name: "joins",
    at_least_once: false,
    topology: "
app: joins
nodes:
  orders: { source: { topic: orders, key: id, timestamp: at, fields: { id: string, shop: string } } }
  payments: { source: { topic: payments, key: order, timestamp: at, fields: { order: string, cents: int } } }
  paid: { join: { from: orders, with: payments, as: payment, type: left, before: 0s, after: 5s, grace: 10s } }
  to_paid: { kafka: { from: paid, topic: paid, fields: { id: id, cents: payment.cents } } }
  shops: { source: { topic: shops, key: shop, null_values: pass, fields: { shop: string, town: string } } }
  shop_table: { table: { from: shops } }
  towns: { source: { topic: towns, key: town, null_values: pass, fields: { town: string, people: int } } }
  town_table: { table: { from: towns } }
  placed: { join: { from: shop_table, with: town_table, as: place, on: town, type: left } }
  to_placed: { sql: { from: placed, table: placed, columns: { shop: record_key(), town: town, people: place.people }, key: shop } }
  by_shop: { select_key: { from: orders, key: shop } }
  colours: { source: { topic: colours, fields: { colour: string } } }
  colour_table: { table: { from: colours } }
  coloured: { join: { from: by_shop, with: colour_table, as: its, type: left } }
  to_coloured: { kafka: { from: coloured, topic: coloured, fields: { id: id, colour: its.colour } } }
  per_shop: { aggregate: { from: orders, by: shop, window: { tumbling: 1s, grace: 300ms }, set: { n: count() } } }
  final: { suppress: { from: per_shop, until: close } }
  to_final: { kafka: { from: final, topic: final, fields: { shop: shop, at: window_start, n: n } } }
",
    next: |number, rng| {
        use rand::RngExt as _;
        let time = START.plus_millis(number as i64 * BETWEEN_MS);
        let late = |rng: &mut rand::rngs::StdRng| time.plus_millis(-rng.random_range(0..250));
        if number < SHOPS {
            // Before everything else, so that all that is joined with them finds them.
            let shop = format!("s{number}");
            let colour = json!({ "colour": format!("c{number}") });
            return given("colours", shop, Some(colour), START.plus_millis(-1));
        }
        match rng.random_range(0..10) {
            0..4 => {
                let shop = rng.random_range(0..=SHOPS);
                order(format!("o{number}"), &format!("s{shop}"), late(rng))
            }
            4..7 => {
                let order = format!("o{}", rng.random_range(SHOPS..=number));
                payment(order, rng.random_range(1..100), late(rng))
            }
            7..9 => {
                let shop = format!("s{}", rng.random_range(0..12));
                let town = format!("t{}", rng.random_range(0..5));
                let row = json!({ "shop": shop, "town": town });
                given("shops", shop, rng.random_bool(0.8).then_some(row), time)
            }
            _ => {
                let town = format!("t{}", rng.random_range(0..5));
                let row = json!({ "town": town, "people": rng.random_range(1..1_000) });
                given("towns", town, rng.random_bool(0.8).then_some(row), time)
            }
        }
    },
    last: |number| {
        let end = START.plus_millis(number as i64 * BETWEEN_MS + 60_000);
        // Results are held back until there is a later one in their partition.
        let shops = (0..CLOSING_SHOPS).map(|shop| format!("closing{shop}"));
        let orders = shops.map(|shop| order("closing".to_owned(), &shop, end));
        let payments = [payment("closed".to_owned(), 0, end)];
        let records: Vec<Given> = orders.chain(payments).collect();
        let closing = |partition| {
            records.iter().map(move |given| Given {
                partition: Some(partition),
                ..given.clone()
            })
        };
        (0..PARTITIONS as i32).flat_map(closing).collect()
    },
    topics: |given| {
        let orders = || of(given, "orders");
        let mut payments: BTreeMap<&str, Vec<(&Json, Timestamp)>> = BTreeMap::new();
        for (payment, at) in of(given, "payments") {
            payments.entry(text(payment, "order")).or_default().push((payment, at));
        }
        let mut paid = Vec::new();
        let mut windows: BTreeMap<(&str, i64), u64> = BTreeMap::new();
        for (order, at) in orders() {
            let payable = at.0..=at.0 + PAYABLE_MS;
            let all = payments.get(text(order, "id")).into_iter().flatten();
            let in_time = all.filter(|(_, at)| payable.contains(&at.0));
            let cents: Vec<&Json> = in_time.map(|(payment, _)| &payment["cents"]).collect();
            for cents in if cents.is_empty() { vec![&Json::Null] } else { cents } {
                paid.push(json!({ "id": order["id"], "cents": cents }).to_string());
            }
            let window = at.0.div_euclid(WINDOW_MS) * WINDOW_MS;
            *windows.entry((text(order, "shop"), window)).or_default() += 1;
        }
        let coloured = orders().map(|(order, _)| {
            let number: usize = text(order, "shop")[1..].parse().expect("a number");
            let colour = (number < SHOPS).then(|| format!("c{number}"));
            json!({ "id": order["id"], "colour": colour }).to_string()
        });
        // Those that close windows wait themselves, but not for a colour.
        let closing = json!({ "id": "closing", "colour": null }).to_string();
        let coloured = coloured.chain(std::iter::repeat_n(closing, CLOSING_SHOPS * PARTITIONS as usize));
        let windows = windows.into_iter().map(|((shop, start), n)| {
            json!({ "shop": shop, "at": Timestamp(start).to_string(), "n": n }).to_string()
        });
        vec![
            ("paid", paid),
            ("coloured", coloured.collect()),
            ("final", windows.collect()),
        ]
    },
    tables: |given| {
        let rows = |topic: &str| {
            let of_topic = given.iter().filter(|given| given.topic == topic);
            let mut rows: BTreeMap<String, &Json> = BTreeMap::new();
            for given in of_topic {
                match &given.value {
                    Some(row) => drop(rows.insert(given.key.clone(), row)),
                    None => drop(rows.remove(&given.key)),
                }
            }
            rows
        };
        let (shops, towns) = (rows("shops"), rows("towns"));
        let placed = shops.into_iter().map(|(shop, row)| {
            let town = towns.get(text(row, "town"));
            let people = town.map(|town| town["people"].clone());
            json!({ "shop": shop, "town": row["town"], "people": people })
        });
        vec![("placed", placed.collect())]
    },
};

/// So many shops, that each partition has one.
const CLOSING_SHOPS: usize = 9;

/// Shops that have a colour.
const SHOPS: usize = 6;

fn given(topic: &'static str, key: String, value: Option<Json>, time: Timestamp) -> Given {
    Given {
        topic,
        key,
        partition: None,
        value,
        time,
    }
}

fn order(id: String, shop: &str, at: Timestamp) -> Given {
    let value = json!({ "id": id, "shop": shop, "at": at.to_string() });
    given("orders", id, Some(value), at)
}

fn payment(order: String, cents: i64, at: Timestamp) -> Given {
    let value = json!({ "order": order, "cents": cents, "at": at.to_string() });
    given("payments", order, Some(value), at)
}

/// The records of a topic, and when they happened.
fn of<'g>(given: &'g [Given], topic: &'g str) -> impl Iterator<Item = (&'g Json, Timestamp)> {
    let given = given.iter().filter(move |given| given.topic == topic);
    given.map(|given| (given.value.as_ref().expect("no tombstone"), given.time))
}

fn text<'v>(value: &'v Json, field: &str) -> &'v str {
    value[field].as_str().expect("a text")
}
