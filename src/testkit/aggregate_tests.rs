//! Aggregate functions over the real engine: on one side of a repartition and on both, in windows,
//! and after crashes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use datasketches::hll::HllSketch;
use datasketches::tdigest::TDigestMut;
use serde_json::{Value, json};

use crate::testkit::{DriverOptions, TopologyTestDriver};
use crate::topology::builder::{FlatMap, KafkaSink, Rollup, Source};
use crate::topology::graph::Topology;

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
        let mut rollup = Rollup::by(["k"]).tumbling(std::time::Duration::from_secs(60));
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
        let seconds = std::time::Duration::from_secs;
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
        .set("sketch", "quantile_sketch(x)");
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
    }
}
