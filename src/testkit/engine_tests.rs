//! The engine over the in-memory log: each scenario has one answer, however often it crashes.

use super::{DriverOptions, TopologyTestDriver};
use crate::broker::memory::Operation;
use crate::broker::{BrokerError, Isolation, TopicPartition};
use crate::expr::Expression;
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::graph::{
    Aggregate, Aggregation, AppId, Emit, Filter, Format, Function, Guarantee, KafkaSink, Map, Node,
    NodeKind, NodeName, NullValues, OnError, OnLate, SinkHeaders, Source, Topology, Window,
    WindowKind,
};
use crate::value::FieldPath;

fn name(name: &str) -> NodeName {
    NodeName(name.into())
}

fn call(text: &str, function: Function, argument: Option<&str>) -> (FieldPath, Aggregation) {
    let arguments = argument.into_iter().map(Expression::parse).collect();
    (
        FieldPath::new(text),
        Aggregation {
            text: text.to_owned(),
            function,
            arguments,
        },
    )
}

/// Sales per shop and 10 s (grace 5 s) with a filter and a map in front; `key` says whether the
/// topic is known to be keyed by shop.
fn topology(key: Option<&str>, guarantee: Guarantee, emit: Emit) -> Topology {
    let node = |node: &str, kind| Node {
        name: name(node),
        kind,
    };
    let source = Source {
        topics: vec!["orders".to_owned()],
        format: Format::Json,
        timestamp: Some(FieldPath::new("at")),
        key: key.map(FieldPath::new),
        id: None,
        fields: vec![],
        null_values: NullValues::Refuse,
        max_ahead_ms: Some(Source::MAX_AHEAD_MS),
        on_error: OnError::DeadLetter,
    };
    let filter = Filter {
        from: name("orders"),
        condition: Expression::parse("kind == 'sale'"),
        passes_when: true,
        on_error: OnError::DeadLetter,
    };
    let map = Map {
        from: name("sales"),
        set: vec![(FieldPath::new("total"), Expression::parse("price * count"))],
        tombstone_if: None,
        on_error: OnError::DeadLetter,
    };
    let aggregate = Aggregate {
        from: name("priced"),
        by: vec![FieldPath::new("shop")],
        window: Some(Window {
            kind: WindowKind::Tumbling { size_ms: 10_000 },
            grace_ms: 5_000,
            idle_close_ms: None,
            retention_ms: None,
        }),
        emit,
        on_late: OnLate::DeadLetter,
        set: vec![
            call("sales", Function::Count, None),
            call("revenue", Function::Sum, Some("total")),
        ],
        delete_if: None,
        on_error: OnError::DeadLetter,
    };
    let sink = KafkaSink {
        from: name("per_shop"),
        topic: "out".to_owned(),
        key: Some(Expression::parse("shop")),
        fields: vec![],
        format: None,
        headers: SinkHeaders::default(),
        on_error: OnError::DeadLetter,
    };
    Topology {
        app: AppId("shop".into()),
        guarantee,
        nodes: vec![
            node("orders", NodeKind::Source(source)),
            node("sales", NodeKind::Filter(filter)),
            node("priced", NodeKind::Map(map)),
            node("per_shop", NodeKind::Aggregate(aggregate)),
            node("out", NodeKind::Kafka(sink)),
        ],
    }
}

fn sale(shop: &str, at_s: i64, price: i64) -> String {
    let at = Timestamp(at_s * 1_000);
    format!(r#"{{"kind":"sale","shop":"{shop}","price":{price},"count":2,"at":"{at}"}}"#)
}

fn driver(topology: &Topology, partitions: u32) -> TopologyTestDriver {
    let options = DriverOptions {
        partitions,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(topology, options).unwrap()
}

/// The results so far: shop, window start in seconds, sales, revenue; the last of each.
fn results(driver: &mut TopologyTestDriver) -> Vec<(String, i64, i64, i64)> {
    let mut last = std::collections::BTreeMap::new();
    for value in driver.read_json("out") {
        let shop = value["shop"].as_str().unwrap().to_owned();
        let start = Timestamp::parse_rfc3339(value["window_start"].as_str().unwrap()).unwrap();
        let numbers = (
            value["sales"].as_i64().unwrap(),
            value["revenue"].as_i64().unwrap(),
        );
        last.insert((shop, start.0 / 1_000), numbers);
    }
    last.into_iter()
        .map(|((shop, start), (n, sum))| (shop, start, n, sum))
        .collect()
}

//  orders of shop a:    3       7   12         |16 closes [0, 10)   late: 8
//  windows:          |--- [0,10) ---|--- [10,20) ---|
fn feed(driver: &mut TopologyTestDriver, crash_after: Option<usize>) {
    let steps = [
        ("a", 3, 1),
        ("b", 4, 5),
        ("a", 7, 2),
        ("a", 12, 3),
        ("a", 16, 4),
        ("a", 8, 99),
        ("b", 16, 1),
    ];
    for (at, (shop, time, price)) in steps.into_iter().enumerate() {
        driver.pipe("orders", Some(shop), &sale(shop, time, price));
        if crash_after == Some(at) {
            driver.restart().unwrap();
        }
    }
}

#[test]
fn sales_are_summed_per_window_and_late_ones_are_dropped_with_their_reason() {
    let topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Updates);
    let mut driver = driver(&topology, 1);
    feed(&mut driver, None);
    assert_eq!(
        results(&mut driver),
        [
            ("a".to_owned(), 0, 2, 6),
            ("a".to_owned(), 10, 2, 14),
            ("b".to_owned(), 0, 1, 10),
            ("b".to_owned(), 10, 1, 2),
        ]
    );
    assert_eq!(driver.drops("per_shop", DropReason::Late), 1);
    let letters = driver.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        letters[0].value.as_deref(),
        Some(sale("a", 8, 99).as_bytes())
    );
    let header = |name: &str| {
        let found = letters[0].headers.iter().find(|(known, _)| known == name);
        String::from_utf8(found.unwrap().1.clone()).unwrap()
    };
    assert_eq!(header("tidemill.reason"), "late");
    assert_eq!(header("tidemill.node"), "per_shop");
    assert_eq!(header("tidemill.offset"), "5");
    let store = driver.store("per_shop");
    assert_eq!(store.len(), 4);
    assert_eq!(store[0].key, ["a"]);
    assert_eq!(store[0].results["revenue"], 6);
    assert_eq!(store[0].timestamp, Timestamp(7_000));
}

#[test]
fn a_crash_after_any_record_changes_nothing_with_or_without_the_local_state() {
    for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce] {
        for key in [Some("shop"), None] {
            let topology = topology(key, guarantee, Emit::Updates);
            let mut straight = driver(&topology, 1);
            feed(&mut straight, None);
            let expected = results(&mut straight);
            assert_eq!(expected.len(), 4, "{guarantee:?} {key:?}");
            for crash_after in 0..7 {
                let mut crashed = driver(&topology, 1);
                feed(&mut crashed, Some(crash_after));
                assert_eq!(
                    results(&mut crashed),
                    expected,
                    "{guarantee:?} {key:?} {crash_after}"
                );
                crashed.lose_state();
                crashed.restart().unwrap();
                assert_eq!(crashed.store("per_shop"), straight.store("per_shop"));
            }
        }
    }
}

#[test]
fn with_emit_close_each_window_leaves_once_when_it_is_closed() {
    let topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Close);
    for crash_after in [None, Some(3), Some(4), Some(5)] {
        let mut driver = driver(&topology, 1);
        feed(&mut driver, crash_after);
        let out = driver.read_json("out");
        let seen: Vec<_> = out
            .iter()
            .map(|v| (v["shop"].as_str().unwrap(), v["sales"].as_i64().unwrap()))
            .collect();
        assert_eq!(seen, [("a", 2), ("b", 1)], "{crash_after:?}");
        driver.pipe("orders", Some("a"), &sale("a", 40, 1));
        let out = driver.read_json("out");
        assert_eq!(out.len(), 2, "{crash_after:?}: {out:?}");
    }
}

#[test]
fn behind_a_repartition_the_sums_are_the_same_with_any_number_of_partitions() {
    for partitions in [1, 3, 5] {
        let topology = topology(None, Guarantee::ExactlyOnce, Emit::Updates);
        let mut driver = driver(&topology, partitions);
        for n in 0..60i64 {
            let shop = ["a", "b", "c", "d"][n as usize % 4];
            // Keyed by something else, so one shop's orders are spread over partitions.
            let key = format!("order-{n}");
            driver.pipe("orders", Some(&key), &sale(shop, n / 4, 1));
        }
        let results = results(&mut driver);
        let expected: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .flat_map(|shop| [(shop.to_owned(), 0, 10, 20), (shop.to_owned(), 10, 5, 10)])
            .collect();
        assert_eq!(results, expected, "{partitions}");
    }
}

//  a:  1 2 3 ………………… 20,000      one input is far ahead of the other, and longer than
//  b:  1                20,001     what is taken in at once
#[test]
fn a_source_of_two_topics_gets_through_a_backlog_that_is_all_in_one_of_them() {
    let mut topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Updates);
    let NodeKind::Source(source) = &mut topology.nodes[0].kind else {
        unreachable!("the first node is the source")
    };
    source.topics = vec!["a".to_owned(), "b".to_owned()];
    let mut driver = driver(&topology, 1);
    driver.crash();
    let mut pipe = |topic, ms: i64| {
        let order = sale("s", 0, 1);
        let (key, value) = (Some(&b"s"[..]), Some(order.as_bytes()));
        driver.try_pipe(topic, key, value, Timestamp(ms)).unwrap();
    };
    for ms in 1..=20_000 {
        pipe("a", ms);
    }
    pipe("b", 1);
    pipe("b", 20_001);
    driver.restart().unwrap();
    assert_eq!(results(&mut driver), [("s".to_owned(), 0, 20_002, 40_004)]);
}

#[test]
fn what_was_processed_and_not_committed_is_done_again_after_a_crash() {
    for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce] {
        for key in [Some("shop"), None] {
            let topology = topology(key, guarantee, Emit::Updates);
            let options = DriverOptions {
                commit_each: false,
                ..DriverOptions::default()
            };
            let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
            driver.pipe("orders", Some("a"), &sale("a", 3, 1));
            assert_eq!(
                driver.store("per_shop"),
                [],
                "nothing leaves without a commit"
            );
            driver.commit().unwrap();
            driver.pipe("orders", Some("a"), &sale("a", 4, 1));
            driver.restart().unwrap();
            driver.pipe("orders", Some("a"), &sale("a", 5, 1));
            driver.commit().unwrap();
            driver.commit().unwrap();
            assert_eq!(
                results(&mut driver),
                [("a".to_owned(), 0, 3, 6)],
                "{guarantee:?} {key:?}"
            );
        }
    }
}

/// Sales are sent to partitions by a key that is no shop, so the aggregate is behind a repartition.
fn silent_driver(idle_close_ms: Option<i64>) -> TopologyTestDriver {
    let mut topology = topology(None, Guarantee::ExactlyOnce, Emit::Close);
    for node in &mut topology.nodes {
        if let NodeKind::Aggregate(aggregate) = &mut node.kind {
            aggregate.window = Some(Window {
                kind: WindowKind::Tumbling { size_ms: 10_000 },
                grace_ms: 5_000,
                idle_close_ms,
                retention_ms: None,
            });
        }
    }
    driver(&topology, 3)
}

fn starts(driver: &mut TopologyTestDriver) -> Vec<i64> {
    results(driver)
        .iter()
        .map(|(_, start, ..)| *start)
        .collect()
}

//  partition 0:   3    7        26 closes [0, 10)
//  partition 1:   (never a record)       silent after 5 s of the clock, and after 10 s still
//  partition 2:   4                      holds [0, 10) open until it is silent for as long
#[test]
fn behind_a_repartition_a_silent_partition_does_not_hold_windows_open() {
    for crash in [false, true] {
        let mut driver = silent_driver(None);
        let pipe = |driver: &mut TopologyTestDriver, partition: i32, at_s| {
            let order = sale("a", at_s, 1);
            driver.pipe_to("orders", partition, &order);
        };
        pipe(&mut driver, 0, 3);
        pipe(&mut driver, 2, 4);
        pipe(&mut driver, 0, 26);
        assert_eq!(
            starts(&mut driver),
            [0; 0],
            "two partitions may still bring sales"
        );
        driver.advance_wall_clock(4_000).unwrap();
        pipe(&mut driver, 0, 27);
        assert_eq!(
            starts(&mut driver),
            [0; 0],
            "they are not silent for long enough"
        );
        driver.advance_wall_clock(1_500).unwrap();
        assert_eq!(starts(&mut driver), [0; 0], "they vouch for nothing yet");
        if crash {
            driver.lose_state();
            driver.restart().unwrap();
            driver.advance_wall_clock(5_500).unwrap();
        }
        driver.advance_wall_clock(5_500).unwrap();
        pipe(&mut driver, 0, 28);
        assert_eq!(results(&mut driver), [("a".to_owned(), 0, 2, 4)], "{crash}");
        // One that speaks again counts again, by its own time.
        pipe(&mut driver, 2, 21);
        pipe(&mut driver, 0, 60);
        assert_eq!(
            starts(&mut driver),
            [0; 0],
            "partition 2 may still bring sales of [20, 30)"
        );
        pipe(&mut driver, 2, 61);
        assert_eq!(starts(&mut driver), [0; 0], "so may partition 1");
        driver.advance_wall_clock(5_500).unwrap();
        driver.advance_wall_clock(5_500).unwrap();
        assert_eq!(results(&mut driver), [("a".to_owned(), 20, 4, 8)]);
    }
}

//  partition 0:   3  (silent)              an hour later
//  partition 1:   4  (silent)  its process stands still: 5 s, of the time when both were silent
#[test]
fn a_partition_that_was_silent_is_not_overrun_by_the_others() {
    for windows in [
        WindowKind::Tumbling { size_ms: 10_000 },
        WindowKind::Session { gap_ms: 10_000 },
    ] {
        let mut topology = topology(None, Guarantee::ExactlyOnce, Emit::Updates);
        for node in &mut topology.nodes {
            if let NodeKind::Aggregate(aggregate) = &mut node.kind {
                let window = aggregate.window.as_mut().expect("it has windows");
                (window.kind, window.grace_ms) = (windows, 5_000);
            }
        }
        let mut driver = driver(&topology, 2);
        driver.pipe_to("orders", 0, &sale("a", 3, 1));
        driver.pipe_to("orders", 1, &sale("a", 4, 1));
        for _ in 0..3 {
            driver.advance_wall_clock(60_000).unwrap();
        }
        driver.pipe_to("orders", 0, &sale("b", 3_600, 1));
        driver.pipe_to("orders", 1, &sale("a", 5, 1));
        let counts: Vec<i64> = driver
            .store("per_shop")
            .iter()
            .map(|entry| entry.results["sales"].as_i64().unwrap())
            .collect();
        assert_eq!(driver.drops("per_shop", DropReason::Late), 0, "{windows}");
        assert_eq!(driver.counts("per_shop").input, 4, "on the near side only");
        assert_eq!(counts.iter().sum::<i64>(), 4, "{windows}");
        // Once it has said again and again that it is silent, what is old is let go.
        for _ in 0..4 {
            driver.advance_wall_clock(60_000).unwrap();
        }
        assert_eq!(driver.store("per_shop").len(), 1, "{windows}");
    }
}

#[test]
fn an_idle_close_closes_the_last_window_when_all_partitions_are_silent() {
    for key in [Some("shop"), None] {
        let mut driver = silent_driver(Some(8_000));
        if key.is_some() {
            let mut topology = topology(key, Guarantee::ExactlyOnce, Emit::Close);
            let NodeKind::Aggregate(aggregate) = &mut topology.nodes[3].kind else {
                unreachable!("the fourth node is the aggregate")
            };
            let window = aggregate.window.as_mut().expect("it has windows");
            window.idle_close_ms = Some(8_000);
            driver = self::driver(&topology, 3);
        }
        driver.pipe("orders", Some("a"), &sale("a", 3, 1));
        driver.advance_wall_clock(7_000).unwrap();
        assert_eq!(starts(&mut driver), [0; 0], "{key:?}");
        // Stream time counts on from 3 s; the window closes at 15 s. Behind a repartition the
        // silence is known 5 s later.
        driver.advance_wall_clock(12_500).unwrap();
        assert_eq!(starts(&mut driver), [0], "{key:?}");
        driver.advance_wall_clock(100_000).unwrap();
        assert_eq!(starts(&mut driver), [0; 0], "{key:?}: once");
    }
}

#[test]
fn records_that_are_gone_before_they_were_read_are_counted_and_the_rest_goes_on() {
    let topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Updates);
    let mut driver = driver(&topology, 1);
    driver.pipe("orders", Some("a"), &sale("a", 1, 1));
    driver.crash();
    for at_s in 2..=5 {
        driver.pipe("orders", Some("a"), &sale("a", at_s, 1));
    }
    let orders = TopicPartition::new("orders", 0);
    driver.broker().delete_records(&orders, 3);
    driver.restart().unwrap();
    assert_eq!(driver.lost(), 2);
    assert_eq!(results(&mut driver), [("a".to_owned(), 0, 3, 6)]);
}

#[test]
fn a_task_that_cannot_be_opened_is_opened_later_and_resets_nothing() {
    let topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Updates);
    let mut driver = driver(&topology, 2);
    driver.pipe("orders", Some("a"), &sale("a", 1, 1));
    driver.lose_state();
    for _ in 0..2 {
        let (action, reason) = ("poll".to_owned(), "the test wants it".to_owned());
        let away = BrokerError::Retry { action, reason };
        driver.broker().fail_next(Operation::ReaderPoll, away);
    }
    driver.restart().unwrap();
    driver.advance_wall_clock(1_000).unwrap();
    driver.pipe("orders", Some("a"), &sale("a", 2, 1));
    assert_eq!(driver.broker().pending_faults(), 0);
    assert_eq!(results(&mut driver), [("a".to_owned(), 0, 2, 4)]);
    assert_eq!(driver.metrics.status().resets, 0);
}

/// The group is asked before the state is restored, and a process can stand still in between.
#[test]
fn a_group_and_a_state_that_differ_are_asked_again_before_a_human_is_needed() {
    let topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Updates);
    let mut driver = driver(&topology, 1);
    driver.pipe("orders", Some("a"), &sale("a", 1, 1));
    driver.pipe("orders", Some("a"), &sale("a", 2, 1));
    let partition = TopicPartition::new("orders", 0);
    let broker = driver.broker().clone();
    let group = |at| broker.set_committed("shop", &partition, at);
    group(1);
    driver.restart().unwrap();
    driver.advance_wall_clock(1_000).unwrap();
    driver.pipe("orders", Some("a"), &sale("a", 3, 1));
    assert_eq!(results(&mut driver), [("a".to_owned(), 0, 2, 4)]);
    group(2);
    driver.advance_wall_clock(1_000).unwrap();
    assert_eq!(results(&mut driver), [("a".to_owned(), 0, 3, 6)]);

    group(1);
    driver.restart().unwrap();
    let error = driver.advance_wall_clock(60_000).expect_err("for too long");
    let error = error.to_string();
    assert!(error.contains("Set the group's offset to 3"), "{error}");
}

#[test]
fn a_topic_or_changelog_that_was_replaced_stops_the_task() {
    for (topic, part) in [
        ("orders", "topic ends at 0"),
        ("shop-per_shop-changelog", "changelog"),
    ] {
        let topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Updates);
        let mut driver = driver(&topology, 1);
        driver.pipe("orders", Some("a"), &sale("a", 1, 1));
        driver.crash();
        driver.broker().recreate_topic(topic);
        let error = driver.restart().expect_err("it needs a human").to_string();
        assert!(
            error.contains(part) && error.contains("egin anew"),
            "{error}"
        );
    }
}

#[test]
fn bad_input_is_counted_and_dead_lettered_and_nothing_stops() {
    let topology = topology(Some("shop"), Guarantee::ExactlyOnce, Emit::Updates);
    let mut driver = driver(&topology, 1);
    let cases: [(Option<&str>, &str, DropReason); 8] = [
        (Some("not json"), "orders", DropReason::Unreadable),
        (Some(""), "orders", DropReason::NoValue),
        (None, "orders", DropReason::NoValue),
        (
            Some(r#"{"kind":"sale"}"#),
            "orders",
            DropReason::NoTimestamp,
        ),
        (
            Some(r#"{"kind":"sale","at":"soon"}"#),
            "orders",
            DropReason::NoTimestamp,
        ),
        (
            Some(r#"{"at":"1970-01-01T00:00:01Z"}"#),
            "sales",
            DropReason::Expression,
        ),
        (
            Some(r#"{"kind":"sale","price":"x","count":1,"at":1000,"shop":"a"}"#),
            "priced",
            DropReason::Expression,
        ),
        (
            Some(r#"{"kind":"sale","price":1,"count":1,"at":1000,"shop":"b"}"#),
            "per_shop",
            DropReason::KeyMismatch,
        ),
    ];
    for (value, node, reason) in cases {
        let before = driver.drops(node, reason);
        let value = value.map(str::as_bytes);
        driver
            .try_pipe("orders", Some(b"a"), value, Timestamp(0))
            .unwrap();
        assert_eq!(driver.drops(node, reason), before + 1, "{value:?}");
        let letters = driver.dead_letters();
        assert_eq!(letters.len(), 1, "{value:?}");
        assert_eq!(letters[0].value.as_deref(), value);
    }
    driver
        .try_pipe(
            "orders",
            None,
            Some(br#"{"kind":"sale","price":1,"count":1,"at":1000}"#),
            Timestamp(0),
        )
        .unwrap();
    assert_eq!(driver.drops("per_shop", DropReason::NullKey), 1);
    driver.pipe("orders", Some("a"), &sale("a", 3, 1));
    assert_eq!(results(&mut driver), [("a".to_owned(), 0, 1, 2)]);
}

/// A result that does not pass any more takes back what it has left behind: the deletion has the
/// same key.
#[test]
fn a_result_that_fails_a_filter_takes_the_earlier_one_back() {
    let file = "
app: shop
nodes:
  orders:   { source: { topic: orders, key: shop, timestamp: at } }
  per_shop: { aggregate: { from: orders, by: [shop], window: none, set: { mean: avg(price) } } }
  dear:     { filter: { from: per_shop, where: mean > 5 } }
  out:      { kafka: { from: dear, topic: out } }
";
    let mut driver = driver(&crate::config::parse(file, "shop.yaml").unwrap(), 2);
    let mut after = |price| {
        driver.pipe("orders", Some("a"), &sale("a", 1, price));
        let shown = |value: &serde_json::Value| value["mean"].as_f64();
        driver
            .read_json("out")
            .iter()
            .map(shown)
            .collect::<Vec<_>>()
    };
    assert_eq!(after(10), [Some(10.0)]);
    assert_eq!(after(8), [Some(9.0)]);
    assert_eq!(after(-9), [None]);
    assert_eq!(after(27), [Some(9.0)]);
    driver.crash();
    driver.restart().unwrap();
    driver.pipe("orders", Some("b"), &sale("b", 1, 6));
    assert_eq!(driver.read_json("out")[0]["shop"], "b");
}

/// Raw events go to a topic and to a table, so two groups read them and run the filter.
#[test]
fn a_node_that_runs_twice_counts_once() {
    let file = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at } }
  sales:  { filter: { from: orders, where: kind == 'sale' } }
  out:    { kafka: { from: sales, topic: out } }
  table:  { sql: { from: sales, table: sales, key: [shop], columns: { shop: shop } } }
";
    let topology = crate::config::parse(file, "shop.yaml").unwrap();
    let plan = crate::topology::plan::plan(&topology).unwrap();
    assert!(plan.processing[0].copies.is_empty());
    let copies: Vec<_> = plan.sinks[0].copies.iter().map(NodeName::as_str).collect();
    assert_eq!(copies, ["orders", "sales"]);
}

/// Between two commits a new session joins an older one, whose result has left already:
///
/// ```text
///   first commit:    |-- A --|
///   second commit:                      x        a session of its own
///                                 y              reaches A and x: one session, begun by A
/// ```
///
/// What is taken back is A's old result; the joined one stands, though both begin with A.
#[test]
fn a_session_that_is_joined_within_a_commit_is_told_after_what_it_replaces() {
    let file = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at } }
  visits:
    aggregate:
      from: orders
      by: [shop]
      window: { session: 10s, grace: 1m }
      set: { sales: count() }
  out:    { kafka: { from: visits, topic: out, key: \"string(window_start)\" } }
";
    let options = DriverOptions {
        commit_each: false,
        ..DriverOptions::default()
    };
    let topology = crate::config::parse(file, "shop.yaml").unwrap();
    let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
    driver.pipe("orders", Some("a"), &sale("a", 0, 1));
    driver.commit().unwrap();
    assert_eq!(driver.read_json("out")[0]["sales"], 1);
    for at_s in [20, 10] {
        driver.pipe("orders", Some("a"), &sale("a", at_s, 1));
    }
    driver.commit().unwrap();
    let told: Vec<_> = driver.read_json("out");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].is_null());
    assert_eq!(told[1]["sales"], 3);
}

/// A session that grows with every record has another key in the store each time; only the last one
/// between two commits is written.
#[test]
fn a_session_that_grows_many_times_within_a_commit_is_written_once() {
    let file = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at } }
  visits:
    aggregate:
      from: orders
      by: [shop]
      window: { session: 10s }
      set: { sales: count() }
  out:    { kafka: { from: visits, topic: out } }
";
    let options = DriverOptions {
        commit_each: false,
        ..DriverOptions::default()
    };
    let topology = crate::config::parse(file, "shop.yaml").unwrap();
    let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
    let written = |driver: &mut TopologyTestDriver| {
        driver.commit().unwrap();
        let records = driver.read("shop-visits-changelog");
        let entries = records
            .iter()
            .filter(|record| record.key.as_deref() != Some(crate::processor::MARKER_KEY));
        let (puts, deletes): (Vec<_>, Vec<_>) = entries.partition(|record| record.value.is_some());
        (puts.len(), deletes.len(), driver.read_json("out").len())
    };
    for at_s in 0..50 {
        driver.pipe("orders", Some("a"), &sale("a", at_s, 1));
    }
    assert_eq!(written(&mut driver), (1, 0, 1));
    for at_s in 50..100 {
        driver.pipe("orders", Some("a"), &sale("a", at_s, 1));
    }
    assert_eq!(written(&mut driver), (1, 1, 2));
    driver.crash();
    driver.restart().unwrap();
    assert_eq!(driver.store("visits")[0].results["sales"], 100);
}

/// What has not been acknowledged must not be behind the state: the results of a commit that breaks
/// down are sent again.
#[test]
fn at_least_once_nothing_of_the_state_is_written_before_its_results() {
    let topology = topology(Some("shop"), Guarantee::AtLeastOnce, Emit::Updates);
    let options = DriverOptions {
        commit_each: false,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
    driver.pipe("orders", Some("a"), &sale("a", 1, 3));
    let written = |driver: &TopologyTestDriver, topic: &str| {
        let broker = driver.broker();
        broker.records(topic, 0, Isolation::ReadUncommitted).len()
    };
    let changelog = "shop-per_shop-changelog";
    let lost = BrokerError::fenced("write all records", "the connection is lost");
    driver.broker().fail_next(Operation::Flush, lost);
    assert!(driver.commit().is_err());
    assert_eq!(driver.broker().pending_faults(), 0);
    assert_eq!(written(&driver, "out"), 1);
    assert_eq!(written(&driver, changelog), 0);
    driver.crash();
    driver.restart().unwrap();
    driver.commit().unwrap();
    assert_eq!(written(&driver, "out"), 2);
    assert_eq!(driver.store("per_shop")[0].results["revenue"], 6);
}
