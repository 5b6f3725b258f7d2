//! Aggregate functions over the real engine: on one side of a repartition and on both, in windows,
//! and after crashes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use datasketches::frequencies::FrequentItemsSketch;
use datasketches::hll::HllSketch;
use datasketches::tdigest::TDigestMut;
use serde_json::{Value, json};

use crate::processor::DropReason;
use crate::testkit::{DriverOptions, TopologyTestDriver};
use crate::topology::builder::{FlatMap, KafkaSink, Rollup, Source, SqlSink};
use crate::topology::graph::{Emit, Topology};

/// An aggregate over the topic `in` with its event times in the field `at`, in seconds; where the
/// topic is not `keyed` by `k`, it is folded on both sides of a repartition.
fn topology(rollup: Rollup, keyed: bool) -> Topology {
    let source = Source::json("in").timestamp("at");
    let source = match keyed {
        true => source.key("k"),
        false => source,
    };
    Topology::builder("app")
        .source("events", source)
        .aggregate("agg", "events", rollup)
        .kafka("out", "agg", KafkaSink::topic("out"))
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"))
}

fn driver(topology: &Topology) -> TopologyTestDriver {
    let options = DriverOptions {
        partitions: 2,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(topology, options).unwrap()
}

/// Pipes records `{"k", "at", "x"}`, with a crash behind each second one of the first hundred.
fn feed(driver: &mut TopologyTestDriver, records: &[(i64, Value)]) {
    for (number, (at_s, x)) in records.iter().enumerate() {
        let record = json!({"k": "a", "at": at_s * 1_000, "x": x});
        driver.pipe("in", Some("a"), &record.to_string());
        if number % 2 == 1 && number < 100 {
            driver.crash();
            driver.restart().unwrap();
        }
    }
}

/// The last result, without what says of which key and window it is.
fn last(driver: &mut TopologyTestDriver) -> Value {
    let mut result = driver.read_json("out").pop().expect("a result");
    let fields = result.as_object_mut().expect("an object");
    for name in ["k", "window_start", "window_end"] {
        fields.remove(name);
    }
    result
}

/// ```text
///   arrival          b       a       d       c
///   event time    0 |    2       1       9       3
///                    first                   last
///                            earliest latest
/// ```
#[test]
fn first_and_last_are_of_arrival_earliest_and_latest_of_event_time() {
    for keyed in [true, false] {
        let mut rollup = Rollup::by(["k"]).tumbling(Duration::from_secs(60));
        for function in ["first", "last", "earliest", "latest"] {
            rollup = rollup.set(function, &format!("{function}(x)"));
        }
        let mut driver = driver(&topology(rollup, keyed));
        let records = [(2, "b"), (1, "a"), (9, "d"), (3, "c")];
        feed(&mut driver, &records.map(|(at, x)| (at, json!(x))));
        assert_eq!(
            last(&mut driver),
            json!({"first": "b", "last": "c", "earliest": "a", "latest": "d"}),
            "keyed {keyed}"
        );
    }
}

/// ```text
///   panes of 10 s       [0 ── x at 2 ──)[10 ──────)[20 ── y at 21 ──)     y came before x
///   windows of 30 s     [───────────────────────────────────────────)
/// ```
/// The panes of a window count in the order of their time, whichever was there first.
#[test]
fn the_panes_of_hopping_windows_count_in_the_order_of_their_time() {
    for keyed in [true, false] {
        let seconds = Duration::from_secs;
        let rollup = Rollup::by(["k"])
            .hopping(seconds(30), seconds(10))
            .grace(seconds(60))
            .set("first", "first(x)")
            .set("last", "last(x)")
            .set("all", "collect_list(x, 5)");
        let mut driver = driver(&topology(rollup, keyed));
        feed(&mut driver, &[(21, json!("y")), (2, json!("x"))]);
        let results = driver.read_json("out");
        let whole = results
            .iter()
            .rfind(|each| each["window_start"] == "1970-01-01T00:00:00.000Z");
        let whole = whole.expect("the window from 0 on");
        let found = [&whole["first"], &whole["last"], &whole["all"]];
        assert_eq!(
            found,
            [&json!("x"), &json!("y"), &json!(["x", "y"])],
            "keyed {keyed}"
        );
    }
}

/// ```text
///   x           3, 1, 2, null, 2, 10         six records, a crash behind each second one
/// ```
#[test]
fn lists_and_objects_are_results_as_numbers_are() {
    for keyed in [true, false] {
        let rollup = Rollup::by(["k"])
            .unbounded()
            .set("median", "median(x)")
            .set("ends", "quantiles(x, [0, 1])")
            .set("below_3", "histogram(x, [3])")
            .set("top", "top_k(x, 2)")
            .set("heaviest", "top_k(x, 1, x)")
            .set("set", "collect_set(x, 3)")
            .set("list", "collect_list(x, 3)");
        let mut driver = driver(&topology(rollup, keyed));
        let values = [
            json!(3),
            json!(1),
            json!(2),
            Value::Null,
            json!(2),
            json!(10),
        ];
        let records: Vec<_> = (0..).zip(values).collect();
        feed(&mut driver, &records);
        let count = |value: i64, count: i64| json!({"value": value, "count": count});
        assert_eq!(
            last(&mut driver),
            json!({
                "median": 2,
                "ends": [1, 10],
                "below_3": [3, 2],
                "top": [count(2, 2), count(1, 1)],
                "heaviest": [count(10, 10)],
                "set": [1, 2, 3],
                "list": [3, 1, 2],
            }),
            "keyed {keyed}"
        );
    }
}

/// ```text
///   {"n": 2000} ─→ x 0 … 1999 ─┬→ distinct ≈ 2000, and the sketch that says so, in base64
///                              └→ quantile 0.9, and its sketch
/// ```
#[test]
fn a_sketch_stands_beside_the_value_that_is_read_from_it() {
    let rollup = Rollup::by(["k"])
        .unbounded()
        .set("values", "distinct(x)")
        .set("values_sketch", "distinct_sketch(x)")
        .set("p90", "quantile(x, 0.9)")
        .set("sketch", "quantile_sketch(x)")
        .set("top", "top_k(x % 50, 3)")
        .set("top_sketch", "top_k_sketch(x % 50)")
        .set("all_sketch", "top_k_sketch(x)");
    let topology = Topology::builder("app")
        .source("events", Source::json("in").key("k"))
        .flat_map("each", "events", FlatMap::new("range(n)", "x"))
        .aggregate("agg", "each", rollup)
        .kafka("out", "agg", KafkaSink::topic("out"))
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    let mut driver = driver(&topology);
    // Once while everything is exact, and once beyond that; in between it comes from the changelog.
    for n in [900, 2_000] {
        driver.pipe("in", Some("a"), &json!({"k": "a", "n": n}).to_string());
        driver.lose_state();
        driver.restart().unwrap();
        let result = last(&mut driver);
        let bytes = |name: &str| {
            let text = result[name].as_str().expect("a text");
            BASE64.decode(text).expect("base64")
        };
        let values = HllSketch::deserialize(&bytes("values_sketch")).expect("a sketch");
        let error = values.estimate() / f64::from(n) - 1.0;
        assert!(error.abs() < 0.02, "{error} of {n}");
        let read = result["values"].as_f64().expect("a number");
        assert!(
            (read / values.estimate() - 1.0).abs() < 0.02,
            "{read} of {n}"
        );
        let mut digest = TDigestMut::deserialize(&bytes("sketch")).expect("a digest");
        let p90 = digest.quantile(0.9).unwrap().expect("a value");
        let read = result["p90"].as_f64().expect("a number");
        assert!((p90 / read - 1.0).abs() < 0.01, "{p90} and {read} of {n}");
        let top = FrequentItemsSketch::<String>::deserialize(&bytes("top_sketch"));
        let top = top.expect("a sketch");
        for entry in result["top"].as_array().expect("a list") {
            let value = entry["value"].to_string();
            assert_eq!(Some(top.estimate(&value)), entry["count"].as_u64(), "{n}");
            assert_eq!(top.lower_bound(&value), top.upper_bound(&value));
        }
        // Of too many values: what each may have lost is known. Each comes once per time.
        let all = FrequentItemsSketch::<String>::deserialize(&bytes("all_sketch"));
        let all = all.expect("a sketch");
        assert_eq!(all.maximum_error() > 0, n > 1_024, "{n}");
        for value in 0..n {
            let (value, times) = (value.to_string(), 1 + u64::from(n > 900 && value < 900));
            let bounds = all.lower_bound(&value)..=all.upper_bound(&value);
            assert!(bounds.contains(&times), "{value} of {n}: {bounds:?}");
        }
    }
}

/// A key, and the result that it has then; null for none.
fn written(driver: &mut TopologyTestDriver) -> Vec<(String, Value)> {
    let records = driver.read("out").into_iter();
    let value = |bytes: Option<Vec<u8>>| {
        bytes.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
    };
    records
        .map(|record| {
            let key = String::from_utf8(record.key.unwrap()).unwrap();
            (key, value(record.value))
        })
        .collect()
}

/// Balances of accounts; one that comes to 0 is no more.
fn balances(rollup: Rollup, keyed: bool) -> TopologyTestDriver {
    let rollup = rollup
        .set("balance", "sum(x)")
        .set("moves", "count()")
        .delete_if("balance == 0");
    let source = Source::json("in").timestamp("at");
    let source = match keyed {
        true => source.key("k"),
        false => source,
    };
    let fields = [("balance", "balance"), ("moves", "moves")];
    let sink = fields
        .into_iter()
        .fold(KafkaSink::topic("out").key("k"), |sink, (name, field)| {
            sink.field(name, field)
        });
    let topology = Topology::builder("app")
        .source("events", source)
        .flat_map("each", "events", FlatMap::new("xs", "x"))
        .aggregate("agg", "each", rollup)
        .kafka("out", "agg", sink)
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    driver(&topology)
}

fn pipe(driver: &mut TopologyTestDriver, at_s: i64, xs: &[i64]) {
    let record = json!({"k": "a", "at": at_s * 1_000, "xs": xs});
    driver.pipe("in", Some("a"), &record.to_string());
}

fn balance(balance: i64, moves: i64) -> (String, Value) {
    ("a".to_owned(), json!({"balance": balance, "moves": moves}))
}

fn none() -> (String, Value) {
    ("a".to_owned(), Value::Null)
}

/// ```text
///   moves      +5   −5       +3   −3 +4       −4 +4 −4
///   result      5   none      3       4           none      after each commit
/// ```
/// What is deleted within a commit begins anew within it, on both sides of a repartition: of the
/// moves since then there are as many whenever results leave.
/// What Kafka Streams calls `cogroup`: records of two shapes, each with its own part of one result.
///
/// ```text
/// orders ── map ──┐
///                 merge ── agg by user ── out
/// clicks ── map ──┘
/// ```
#[test]
fn streams_of_two_shapes_are_folded_into_one_result() {
    let source = |topic| Source::json(topic).timestamp("at").key("user");
    let rollup = Rollup::by(["user"])
        .tumbling(Duration::from_secs(60))
        .set("orders", "count_if(kind == 'order')")
        .set("spent", "sum(price)")
        .set("last_page", "latest(page)");
    let topology = Topology::builder("app")
        .source("orders", source("orders"))
        .source("clicks", source("clicks"))
        .map("of_orders", "orders", [("kind", "'order'")])
        .map("of_clicks", "clicks", [("kind", "'click'")])
        .merge("both", ["of_orders", "of_clicks"])
        .aggregate("agg", "both", rollup)
        .kafka("out", "agg", KafkaSink::topic("out"))
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    let mut driver = driver(&topology);
    let order = json!({"user": "ann", "at": 1_000, "price": 5});
    let click = json!({"user": "ann", "at": 2_000, "page": "start"});
    driver.pipe("clicks", Some("ann"), &click.to_string());
    driver.pipe("orders", Some("ann"), &order.to_string());
    driver.crash();
    driver.restart().unwrap();
    driver.pipe("orders", Some("ann"), &order.to_string());
    assert_eq!(
        last(&mut driver),
        json!({"user": "ann", "orders": 2, "spent": 10, "last_page": "start"})
    );
}

#[test]
fn a_result_that_is_deleted_begins_anew_with_the_next_record() {
    let seconds = Duration::from_secs;
    let windows: [fn(Rollup, std::time::Duration) -> Rollup; 3] = [
        |rollup, _| rollup.unbounded(),
        |rollup, length| rollup.tumbling(length),
        |rollup, length| rollup.session(length),
    ];
    for (number, windowed) in windows.into_iter().enumerate() {
        for keyed in [true, false] {
            let rollup = windowed(Rollup::by(["k"]), seconds(60));
            let mut driver = balances(rollup, keyed);
            let steps: [(&[i64], _); 5] = [
                (&[5], balance(5, 1)),
                (&[-5], none()),
                (&[3], balance(3, 1)),
                (&[-3, 4], balance(4, 1)),
                (&[-4, 4, -4], none()),
            ];
            for (at, (xs, expected)) in (10..).zip(steps) {
                pipe(&mut driver, at, xs);
                let found = written(&mut driver);
                let found = found.last().expect("each commit changes it");
                assert_eq!(*found, expected, "{xs:?}, windows {number}, keyed {keyed}");
                driver.crash();
                driver.restart().unwrap();
            }
            assert_eq!(driver.store("agg"), []);
        }
    }
}

/// ```text
///   records       +5 at 10 s   −5 at 12 s       (10 s long, both ends in)
///   [0, 10]       5            5
///   [2, 12]                    none
///   [11, 21]                   −5
/// ```
#[test]
fn of_sliding_windows_those_are_deleted_for_which_it_is_due() {
    for keyed in [true, false] {
        let rollup = Rollup::by(["k"])
            .sliding(Duration::from_secs(10))
            .grace(Duration::from_secs(60));
        let mut driver = balances(rollup, keyed);
        pipe(&mut driver, 10, &[5]);
        assert_eq!(written(&mut driver), [balance(5, 1)]);
        pipe(&mut driver, 12, &[-5]);
        assert_eq!(
            written(&mut driver),
            [balance(-5, 1), none()],
            "keyed {keyed}"
        );
        driver.lose_state();
        driver.restart().unwrap();
        let starts = driver.store("agg").into_iter();
        let starts: Vec<i64> = starts.map(|entry| entry.window_start.millis()).collect();
        assert_eq!(starts, [0, 10_001], "keyed {keyed}");
    }
}

/// ```text
///   windows of 10 s      [0: +5 −5)[10: +5 −5 +1)[20: …
///   emit: close           nothing   1
/// ```
#[test]
fn a_window_whose_result_was_deleted_closes_without_one() {
    for keyed in [true, false] {
        let rollup = Rollup::by(["k"])
            .tumbling(Duration::from_secs(10))
            .emit(Emit::Close);
        let mut driver = balances(rollup, keyed);
        for (at, xs) in [
            (1, &[5][..]),
            (2, &[-5]),
            (11, &[5, -5]),
            (12, &[1]),
            (35, &[1]),
        ] {
            pipe(&mut driver, at, xs);
        }
        // The other partition says nothing: what closes a window behind a repartition is all of them.
        driver.advance_wall_clock(20_000).unwrap();
        driver.advance_wall_clock(20_000).unwrap();
        assert_eq!(written(&mut driver), [balance(1, 1)], "keyed {keyed}");
    }
}

/// ```text
///   low < 0       null < 0 cannot be told      the record counts, and is put aside
/// ```
#[test]
fn a_condition_that_cannot_be_told_deletes_nothing_and_is_told_of() {
    for keyed in [true, false] {
        let rollup = Rollup::by(["k"])
            .unbounded()
            .set("n", "count()")
            .set("low", "min(x)")
            .delete_if("low < 0");
        let mut driver = driver(&topology(rollup, keyed));
        feed(
            &mut driver,
            &[(1, Value::Null), (2, json!(3)), (3, Value::Null)],
        );
        assert_eq!(
            last(&mut driver),
            json!({"n": 3, "low": 3}),
            "keyed {keyed}"
        );
        assert_eq!(driver.drops("agg", DropReason::Expression), 1);
        let letters = driver.dead_letters();
        let message = letters[0]
            .headers
            .iter()
            .find(|(name, _)| name.contains("message"));
        let (_, message) = message.expect("a message");
        let message = String::from_utf8_lossy(message);
        assert!(
            message.contains("delete_if: `<` does not take"),
            "{message}"
        );
    }
}

/// A SQL sink may be away for longer than a deletion stays in a changelog: it reads the results, of
/// which a deletion is one, from a topic of their own.
#[test]
fn a_sql_sink_is_told_of_deletions_by_a_topic_of_results() {
    let rollup = Rollup::by(["k"])
        .unbounded()
        .set("balance", "sum(x)")
        .delete_if("balance == 0");
    let topology = Topology::builder("app")
        .source("events", Source::json("in").timestamp("at").key("k"))
        .aggregate("agg", "events", rollup)
        .sql("rows", "agg", SqlSink::table("balances"))
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    let mut driver = driver(&topology);
    feed(&mut driver, &[(1, json!(5)), (2, json!(-5)), (3, json!(1))]);
    assert_eq!(driver.read("app-agg-results").len(), 3);
}
