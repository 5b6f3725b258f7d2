//! An application that begins anew: nothing of what it has kept is left, and what it makes of its topics is
//! the same once more.

use std::time::Duration;

use crate::harness::{Raw, Run, Tidemill, Topics, stage, wait_until};

const TOPOLOGY: &str = "
app: NAME
nodes:
  orders: { source: { topic: NAME, key: shop, fields: { id: int, shop: string } } }
  raw: { sql: { from: orders, table: orders, key: id, columns: { id: id, shop: shop } } }
  per_shop: { aggregate: { from: orders, by: shop, window: none, set: { n: count() } } }
  shops: { sql: { from: per_shop, table: shops } }
  large: { filter: { from: per_shop, where: n > 10 } }
  out: { kafka: { from: large, topic: NAME-large } }
";

const TABLES: [&str; 2] = [
    "CREATE TABLE orders (id BIGINT PRIMARY KEY, shop VARBINARY(20))",
    "CREATE TABLE shops (shop VARBINARY(20) PRIMARY KEY, n BIGINT)",
];

const ORDERS: i64 = 300;

const PATIENCE: Duration = Duration::from_secs(60);

/// Short, as a killed member is in its group for that long.
const SESSION: [&str; 4] = ["--session-timeout", "6s", "--http", "off"];

fn orders(ids: std::ops::Range<i64>) -> Vec<Raw> {
    let order = |id: i64| {
        let shop = format!("shop{}", id % 3);
        Raw {
            partition: None,
            value: Some(format!(r#"{{"id":{id},"shop":"{shop}"}}"#).into_bytes()),
            key: Some(shop.into_bytes()),
        }
    };
    ids.map(order).collect()
}

/// How many orders there are in both tables, if there are as many.
fn counted(run: &Run) -> Option<i64> {
    let counted = run.database.number("SELECT COALESCE(SUM(n), 0) FROM shops");
    counted.filter(|_| run.database.number("SELECT COUNT(*) FROM orders") == counted)
}

fn run_until(run: &Run, name: &str, count: i64) -> Tidemill {
    let member = run.member_with(name, &SESSION, &[]);
    wait_until("all orders in both tables", PATIENCE, || {
        counted(run) >= Some(count)
    });
    assert_eq!(counted(run), Some(count));
    member
}

#[test]
fn an_application_and_a_sink_of_it_begin_anew() {
    let Some(stage) = stage("reset") else {
        return;
    };
    let run = Run::of(TOPOLOGY, &stage.bootstrap, stage.server(0).1);
    TABLES.iter().for_each(|table| run.database.run(table));
    let topics = Topics::connect(&stage.bootstrap);
    topics.create(&run.name, 3, 1 << 20);
    topics.write(&run.name, &orders(0..ORDERS));
    let reset = |more: &[&str]| run.reset(&[&["--session-timeout", "6s"], more].concat());
    let own = || topics.existing(&[format!("{}-per_shop-changelog", run.name)]);
    let mut member = run_until(&run, "first", ORDERS);
    assert!(!own().is_empty());

    // What would be done is said, also while it runs; it is not done.
    let mut dry = reset(&[]);
    dry.succeed();
    for said in [
        format!("groups    {0}, {0}-raw, {0}-shops: forget", run.name),
        "tables    orders, shops: are emptied".to_owned(),
        format!("reads     {}: from the beginning", run.name),
        format!("writes    {}-large: once more", run.name),
        "is at work in".to_owned(),
        "Nothing was changed".to_owned(),
    ] {
        assert!(dry.log().contains(&said), "{said}\n{}", dry.log());
    }
    let refused = reset(&["--execute"]).fails();
    assert!(
        refused.contains("a process is running with the state in"),
        "{refused}"
    );
    let refused = reset(&["--node", "per_shop", "--execute"]).fails();
    assert!(
        refused.contains(
            "reset the whole application. By themselves SQL sinks can be reset: raw, shops"
        ),
        "{refused}"
    );
    assert_eq!(counted(&run), Some(ORDERS));

    // A member that was killed is waited for.
    member.kill();
    let mut done = reset(&["--execute"]);
    done.succeed();
    assert!(done.log().contains("waiting up to"), "{}", done.log());
    assert_eq!(counted(&run), Some(0));
    assert_eq!(own(), [] as [String; 0]);
    assert!(!run.state().join(&run.name).exists());
    // Once more does no harm.
    reset(&["--execute"]).succeed();

    let mut member = run_until(&run, "second", ORDERS);
    topics.write(&run.name, &orders(ORDERS..ORDERS + 7));
    wait_until("seven more", PATIENCE, || counted(&run) >= Some(ORDERS + 7));
    member.stop();

    // One sink alone; what others have counted is not counted again.
    run.database.run("UPDATE orders SET shop = 'wrong'");
    reset(&["--node", "raw", "--execute"]).succeed();
    assert_eq!(run.database.number("SELECT COUNT(*) FROM orders"), Some(0));
    let mut member = run_until(&run, "third", ORDERS + 7);
    let wrong = "SELECT COUNT(*) FROM orders WHERE shop = 'wrong'";
    assert_eq!(run.database.number(wrong), Some(0));
    member.stop();

    // Rows that are kept are overwritten.
    run.database.run("UPDATE orders SET shop = 'wrong'");
    reset(&["--keep-tables", "--execute"]).succeed();
    assert_eq!(counted(&run), Some(ORDERS + 7));
    let mut member = run.member_with("fourth", &SESSION, &[]);
    wait_until("all rows anew", PATIENCE, || {
        run.database.number(wrong) == Some(0)
    });
    member.stop();
    assert_eq!(counted(&run), Some(ORDERS + 7));
}
