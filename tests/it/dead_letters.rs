//! Dead letters, from the failure to the replay: rows that a table has no room for are put aside, looked at,
//! and written when the table has been mended; whoever has counted them does not count them again.

use std::time::Duration;

use crate::harness::{Raw, Run, Tidemill, Topics, stage, wait_until};

const TOPOLOGY: &str = "
app: NAME
nodes:
  orders: { source: { topic: NAME, key: shop, fields: { id: int, shop: string, title: string } } }
  raw: { sql: { from: orders, table: orders, key: id, columns: { id: id, title: title } } }
  per_shop: { aggregate: { from: orders, by: shop, window: none, set: { n: count() } } }
  shops: { sql: { from: per_shop, table: shops } }
";

const TABLES: [&str; 2] = [
    "CREATE TABLE orders (id BIGINT PRIMARY KEY, title VARBINARY(5))",
    "CREATE TABLE shops (shop VARBINARY(20) PRIMARY KEY, n BIGINT)",
];

/// Of these every tenth has a title that is too long at first.
const ORDERS: i64 = 300;
const TOO_LONG: i64 = 30;

const PATIENCE: Duration = Duration::from_secs(60);

fn order(id: i64) -> Raw {
    let shop = format!("shop{}", id % 3);
    let title = if id % 10 == 0 {
        "much too long"
    } else {
        "short"
    };
    let value = format!(r#"{{"id":{id},"shop":"{shop}","title":"{title}"}}"#);
    Raw {
        partition: None,
        key: Some(shop.into_bytes()),
        value: Some(value.into_bytes()),
    }
}

#[test]
fn letters_are_listed_shown_and_replayed_once() {
    let Some(stage) = stage("dead_letters") else {
        return;
    };
    let run = Run::of(TOPOLOGY, &stage.bootstrap, stage.server(0).1);
    TABLES.iter().for_each(|table| run.database.run(table));
    let topics = Topics::connect(&stage.bootstrap);
    topics.create(&run.name, 3, 1 << 20);
    topics.write(&run.name, &(0..ORDERS).map(order).collect::<Vec<_>>());
    let number = |query: &str| run.database.number(query);
    let counted = "SELECT SUM(n) FROM shops";
    let written = "SELECT COUNT(*) FROM orders";
    let mut member = run.member("member");
    wait_until("all orders but the long ones", PATIENCE, || {
        number(counted) == Some(ORDERS) && number(written) == Some(ORDERS - TOO_LONG)
    });

    let list = run.command(&["dlq", "list", "FILE", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect(&list);
    assert_eq!(list[0]["node"], "raw");
    assert_eq!(list[0]["reason"], "refused");
    assert_eq!(list[0]["letters"], TOO_LONG);
    assert_eq!(list[0]["replayed"], 0);
    let example = list[0]["example"].as_str().expect("a letter");
    let shown = run.command(&["dlq", "show", "FILE", "--letter", example]);
    assert!(shown.starts_with(example), "{shown}");
    assert!(shown.contains("much too long"), "{shown}");
    assert!(shown.contains("title"), "{shown}");
    let by_topic = format!("{}-dead-letters", run.name);
    let one = [
        "dlq", "show", "--topic", &by_topic, "--limit", "1", "--json",
    ];
    let one = run.command(&one);
    assert!(one.contains("there are more"), "{one}");

    run.database
        .run("ALTER TABLE orders MODIFY title VARBINARY(50)");
    let replay = |more: &[&str]| run.command(&[&["dlq", "replay", "FILE"], more].concat());
    let expected = format!("{TOO_LONG} for raw, into {}\n", run.name);
    assert_eq!(replay(&["--dry-run"]), expected);
    assert_eq!(replay(&["--node", "shops"]), "0 replayed, 0 left\n");
    assert_eq!(replay(&[]), format!("{TOO_LONG} replayed, 0 left\n"));
    wait_until("the long ones", PATIENCE, || {
        number(written) == Some(ORDERS)
    });
    let again = replay(&[]);
    assert!(
        again.starts_with(&format!("0 replayed, {TOO_LONG} left\n")),
        "{again}"
    );

    // Something that comes later has been counted, and so everything before it.
    topics.write(
        &run.name,
        &(ORDERS..ORDERS + 3).map(order).collect::<Vec<_>>(),
    );
    wait_until("three more", PATIENCE, || {
        number(written) == Some(ORDERS + 3)
    });
    wait_until("three more in the sums", PATIENCE, || {
        number(counted).is_some_and(|sum| sum >= ORDERS + 3)
    });
    assert_eq!(number(counted), Some(ORDERS + 3));
    let long = "SELECT COUNT(*) FROM orders WHERE title = 'much too long'";
    assert_eq!(number(long), Some(TOO_LONG + 1));
    assert!(!member.has_ended(), "{}", member.log());
    Tidemill::stop(&mut member);
}
