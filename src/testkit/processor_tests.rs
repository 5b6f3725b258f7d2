//! Processors of users: when they are called, what they keep and send on, also across crashes.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value as Json, json};

use super::{DriverError, DriverOptions, TestRecord, TopologyTestDriver};
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::builder::{Builder, KafkaSink, Rollup, Source, SqlSink};
use crate::topology::graph::{OnError, Topology};
use crate::topology::plan::plan;
use crate::topology::process::{
    Context, Failure, Output, Process, Processor, Punctuation, PunctuationType, Record,
};
use crate::value::{Value, ValueType};

use PunctuationType::{StreamTime, WallClockTime};

/// Adds up `n` by key in the store `sums`. Sends on the sum with each record, and all sums with each
/// punctuation.
struct Sums {
    schedules: Vec<PunctuationType>,
    events: Arc<Mutex<Vec<String>>>,
}

const EVERY: Duration = Duration::from_secs(10);

impl Processor for Sums {
    fn init(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        self.events
            .lock()
            .unwrap()
            .push(format!("init {}", context.task_id()));
        for by in &self.schedules {
            context.schedule(EVERY, *by)?;
        }
        Ok(())
    }

    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
        let key = record.key().ok_or("no key")?;
        let Value::Int(n) = record.field("n") else {
            return Err(Failure::new("n is no whole number"));
        };
        let mut sums = context.store("sums");
        let sum = sums.get(key)?.map_or(Ok(0), number)? + n;
        sums.put(key, sum.to_be_bytes());
        context.forward(Output::of(record).field("sum", Value::Int(sum)))
    }

    fn punctuate(&mut self, context: &mut Context<'_>, now: &Punctuation) -> Result<(), Failure> {
        let by = match now.by {
            StreamTime => "stream",
            WallClockTime => "wall",
        };
        for (key, sum) in context.store("sums").all()? {
            let row = Output::new(now.time)
                .key(&key)
                .field("sum", Value::Int(number(&sum)?))
                .field("by", Value::Str(by));
            context.forward(row)?;
        }
        Ok(())
    }

    fn close(&mut self) {
        self.events.lock().unwrap().push("close".to_owned());
    }
}

fn number(bytes: &[u8]) -> Result<i64, Failure> {
    Ok(i64::from_be_bytes(bytes.try_into()?))
}

fn sums(schedules: &[PunctuationType]) -> Process {
    sums_with_events(schedules, &Arc::default())
}

fn sums_with_events(schedules: &[PunctuationType], events: &Arc<Mutex<Vec<String>>>) -> Process {
    let (schedules, events) = (schedules.to_vec(), Arc::clone(events));
    let supply = move || Sums {
        schedules: schedules.clone(),
        events: Arc::clone(&events),
    };
    Process::new(supply)
        .reads(["n"])
        .gives("sum", ValueType::Int)
        .gives("by", ValueType::Str)
        .store("sums")
}

fn source() -> Builder {
    Topology::builder("app").source("s", Source::json("in").key("k").no_max_ahead())
}

fn out(builder: Builder, from: &str) -> Topology {
    let builder = builder.kafka("out", from, KafkaSink::topic("out"));
    builder.build().unwrap_or_else(|error| panic!("{error}"))
}

fn driver(topology: &Topology) -> TopologyTestDriver {
    TopologyTestDriver::new(topology).unwrap()
}

/// Writes a record with that key and number; its time is in seconds.
fn pipe(driver: &mut TopologyTestDriver, key: &str, at_s: i64, n: i64) {
    let value = json!({"k": key, "n": n}).to_string();
    let (key, value) = (key.as_bytes(), value.as_bytes());
    let time = Timestamp(at_s * 1_000);
    driver.try_pipe("in", Some(key), Some(value), time).unwrap();
}

/// What has been written since the last look: key, sum, and seconds; of what a punctuation wrote its
/// kind as well.
fn read(driver: &mut TopologyTestDriver) -> Vec<String> {
    let records = driver.read("out").into_iter();
    let line = |record: crate::broker::OwnedRecord| {
        let value: Json = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        let by = value["by"]
            .as_str()
            .map_or(String::new(), |by| format!(" {by}"));
        let start = if record.timestamp.0 > DriverOptions::default().start.0 - 1 {
            DriverOptions::default().start.0
        } else {
            0
        };
        format!(
            "{key} {} {}{by}",
            value["sum"],
            (record.timestamp.0 - start) / 1_000
        )
    };
    records.map(line).collect()
}

/// ```text
///   stream time   3  4  9   12      35 20
///   records       a  b  a   a       b  a
///   multiples of 10 s     ▲    ▲  ▲
///   calls         ●         ●       ●        the first time, then once for the multiples that passed
/// ```
#[test]
fn stream_time_punctuates_when_it_reaches_a_multiple_of_the_interval() {
    let topology = out(source().process("p", "s", sums(&[StreamTime])), "p");
    let mut driver = driver(&topology);
    pipe(&mut driver, "a", 3, 1);
    assert_eq!(read(&mut driver), ["a 1 3", "a 1 3 stream"]);
    pipe(&mut driver, "b", 4, 1);
    pipe(&mut driver, "a", 9, 1);
    assert_eq!(read(&mut driver), ["b 1 4", "a 2 9"]);
    pipe(&mut driver, "a", 12, 1);
    assert_eq!(
        read(&mut driver),
        ["a 3 12", "a 3 12 stream", "b 1 12 stream"]
    );
    pipe(&mut driver, "b", 35, 1);
    assert_eq!(
        read(&mut driver),
        ["b 2 35", "a 3 35 stream", "b 2 35 stream"]
    );
    pipe(&mut driver, "a", 20, 1);
    assert_eq!(
        read(&mut driver),
        ["a 4 20"],
        "stream time does not go back"
    );
    driver.advance_wall_clock(1_000_000).unwrap();
    assert!(
        read(&mut driver).is_empty(),
        "the wall clock is another one"
    );
}

/// ```text
///   wall clock  0         10  15        25 30      65         75
///   records     a             b
///   calls                 ●    ↯ crash   ●          ●           (begins anew at 15; once for three)
/// ```
#[test]
fn the_wall_clock_punctuates_also_while_nothing_comes_and_begins_anew_after_a_crash() {
    let topology = out(source().process("p", "s", sums(&[WallClockTime])), "p");
    let mut driver = driver(&topology);
    pipe(&mut driver, "a", 3, 1);
    assert_eq!(read(&mut driver), ["a 1 3"]);
    driver.advance_wall_clock(9_999).unwrap();
    assert!(read(&mut driver).is_empty());
    driver.advance_wall_clock(1).unwrap();
    assert_eq!(read(&mut driver), ["a 1 10 wall"]);
    driver.advance_wall_clock(5_000).unwrap();
    driver.lose_state();
    driver.restart().unwrap();
    driver.advance_wall_clock(9_999).unwrap();
    assert!(read(&mut driver).is_empty());
    driver.advance_wall_clock(1).unwrap();
    assert_eq!(read(&mut driver), ["a 1 25 wall"]);
    driver.advance_wall_clock(40_000).unwrap();
    assert_eq!(read(&mut driver), ["a 1 65 wall"]);
}

#[test]
fn stream_time_goes_on_after_a_crash_where_it_was() {
    for has_store in [true, false] {
        let process = Process::new(|| Ticks).gives("sum", ValueType::Int);
        let process = match has_store {
            true => process.store("x"),
            false => process,
        };
        let topology = out(source().process("p", "s", process), "p");
        let mut driver = driver(&topology);
        pipe(&mut driver, "a", 25, 0);
        assert_eq!(read(&mut driver), ["tick 0 25"]);
        driver.lose_state();
        driver.restart().unwrap();
        pipe(&mut driver, "a", 26, 0);
        pipe(&mut driver, "a", 7, 0);
        assert!(
            read(&mut driver).is_empty(),
            "the time of 20 s has been told"
        );
        pipe(&mut driver, "a", 30, 0);
        assert_eq!(read(&mut driver), ["tick 0 30"]);
    }
}

/// Sends a row on at every tenth second of stream time.
struct Ticks;

impl Processor for Ticks {
    fn init(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        context.schedule(EVERY, StreamTime)?;
        Ok(())
    }

    fn process(&mut self, _: &mut Context<'_>, _: &Record<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn punctuate(&mut self, context: &mut Context<'_>, now: &Punctuation) -> Result<(), Failure> {
        assert_eq!(context.stream_time(), Some(now.time));
        context.forward(
            Output::new(now.time)
                .key("tick")
                .field("sum", Value::Int(0)),
        )
    }
}

/// The time is that of the task: what a filter holds back has been read.
#[test]
fn records_that_do_not_reach_a_processor_move_its_time() {
    let process = Process::new(|| Ticks).gives("sum", ValueType::Int);
    let builder = source()
        .filter("none", "s", "n > 100")
        .process("p", "none", process);
    let mut driver = driver(&out(builder, "p"));
    pipe(&mut driver, "a", 3, 1);
    pipe(&mut driver, "a", 11, 1);
    assert_eq!(read(&mut driver), ["tick 0 3", "tick 0 11"]);
}

/// ```text
///   in-0 (a, c, …)  ──┐                ┌─→ 0   x …
///                     ├─ select_key ─→ │         stream time is the lower one of both: 5, then 21
///   in-1 (b, …)     ──┘                └─→ 1   y …
/// ```
#[test]
fn behind_a_repartition_the_lowest_upstream_tells_the_time() {
    let builder =
        source()
            .select_key("by_user", "s", "user")
            .process("p", "by_user", sums(&[StreamTime]));
    let topology = out(builder, "p");
    let options = DriverOptions {
        partitions: 2,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
    let pipe = |driver: &mut TopologyTestDriver, partition, at_s: i64| {
        let record = TestRecord::json(&json!({"user": "x", "n": 1}))
            .in_partition(partition)
            .at(Timestamp(at_s * 1_000));
        driver.pipe_record("in", &record).unwrap();
        let mut lines = read(driver);
        lines.sort();
        lines
    };
    assert_eq!(
        pipe(&mut driver, 0, 1_000),
        ["x 1 1000"],
        "the other one may be earlier"
    );
    assert_eq!(pipe(&mut driver, 1, 5), ["x 2 5", "x 2 5 stream"]);
    assert_eq!(pipe(&mut driver, 1, 9), ["x 3 9"]);
    assert_eq!(pipe(&mut driver, 1, 21), ["x 4 21", "x 4 21 stream"]);
    driver.lose_state();
    driver.restart().unwrap();
    assert_eq!(pipe(&mut driver, 1, 22), ["x 5 22"]);
    assert_eq!(pipe(&mut driver, 1, 31), ["x 6 31", "x 6 31 stream"]);
}

#[test]
fn a_processor_begins_with_its_task_and_ends_with_it() {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let topology = out(
        source().process("p", "s", sums_with_events(&[], &events)),
        "p",
    );
    let mut driver = driver(&topology);
    pipe(&mut driver, "a", 1, 1);
    driver.restart().unwrap();
    drop(driver);
    assert_eq!(
        *events.lock().unwrap(),
        ["init 0_0", "close", "init 0_0", "close"]
    );
}

#[test]
fn a_record_that_fails_is_set_aside_or_stops_the_process() {
    let topology = out(source().process("p", "s", sums(&[])), "p");
    let mut driver = self::driver(&topology);
    driver.pipe("in", Some("a"), r#"{"k": "a", "n": "one"}"#);
    assert_eq!(driver.drops("p", DropReason::Processor), 1);
    let letters = driver.dead_letters();
    assert_eq!(letters.len(), 1);
    let message = letters[0].headers.iter();
    let message: Vec<_> = message
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect();
    assert!(
        message
            .iter()
            .any(|text| text.contains("n is no whole number")),
        "{message:?}"
    );

    let stops = sums(&[]).on_error(OnError::Stop);
    let mut driver = self::driver(&out(source().process("p", "s", stops), "p"));
    let record = TestRecord::json(&json!({"n": 1.5})).key("a");
    let error = driver.pipe_record("in", &record).unwrap_err();
    assert!(matches!(error, DriverError::Thread(_)));
    assert_eq!(
        error.to_string(),
        "node p stops at in-0 offset 0: processor: n is no whole number"
    );
}

/// Fails in the way that it is told.
struct Fails(&'static str);

impl Processor for Fails {
    fn init(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        context.schedule(EVERY, WallClockTime)?;
        match self.0 {
            "init" => Err(Failure::new("not today")),
            "interval" => context.schedule(Duration::ZERO, StreamTime).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
        context.forward(Output::of(record).field("sum", Value::Str("one")))
    }

    fn punctuate(&mut self, _: &mut Context<'_>, _: &Punctuation) -> Result<(), Failure> {
        Err(Failure::new("not now"))
    }
}

#[test]
fn what_fails_without_a_record_stops_the_process_and_says_where() {
    let topology = |how| {
        let process = Process::new(move || Fails(how)).gives("sum", ValueType::Int);
        out(source().process("p", "s", process), "p")
    };
    let of = |how| {
        TopologyTestDriver::new(&topology(how))
            .map(|_| ())
            .unwrap_err()
    };
    let message = of("init").to_string();
    assert_eq!(
        message,
        "node p: its processor failed at its start: not today"
    );
    assert_eq!(
        of("interval").to_string(),
        "node p: its processor failed at its start: cannot schedule a punctuation every 0ns: the \
         shortest interval is 1 ms"
    );
    let mut driver = driver(&topology("punctuate"));
    pipe(&mut driver, "a", 1, 1);
    assert_eq!(
        driver.drops("p", DropReason::Processor),
        1,
        "a value of another type"
    );
    let error = driver.advance_wall_clock(10_000).unwrap_err().to_string();
    assert_eq!(
        error,
        "node p: its processor failed at a punctuation: not now"
    );
}

/// Passes on what is more than the most that came before for its key, with the record's own fields.
struct Records;

impl Processor for Records {
    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
        let Value::Int(n) = record.field("size") else {
            return Ok(());
        };
        let key = record.key_text().ok_or("no key")?;
        let mut best = context.store("best");
        let before = best.get(key)?.map(number).transpose()?;
        if before.is_none_or(|before| n > before) {
            best.put(key, n.to_be_bytes());
            context.forward(
                Output::of(record).field("before", before.map_or(Value::Null, Value::Int)),
            )?;
        }
        Ok(())
    }
}

/// ```text
///   s ─→ sized ─→ records ─┬─→ some ─→ topic
///                          ├─→ aggregate by another field ─→ topic
///                          └─→ table in SQL
/// ```
#[test]
fn what_it_sends_on_is_filtered_folded_and_stored() {
    let process = Process::new(|| Records)
        .reads(["size"])
        .gives("before", ValueType::Int)
        .keeps_fields()
        .store("best");
    let builder = source()
        .map("sized", "s", [("size", "n * 10")])
        .process("records", "sized", process)
        .filter("some", "records", "before != null && title != ''")
        .kafka(
            "out",
            "some",
            KafkaSink::topic("out")
                .field("title", "title")
                .field("size", "size"),
        )
        .aggregate(
            "by_title",
            "records",
            Rollup::by(["title"]).unbounded().set("n", "count()"),
        )
        .kafka("counts", "by_title", KafkaSink::topic("counts"))
        .sql(
            "rows",
            "records",
            SqlSink::table("best")
                .column("title", "title")
                .column("before", "before")
                .key(["title"]),
        );
    let topology = builder.build().unwrap_or_else(|error| panic!("{error}"));
    let mut driver = driver(&topology);
    for (title, n) in [("x", 1), ("y", 3), ("z", 2), ("x", 4)] {
        let value = json!({"k": "a", "n": n, "title": title}).to_string();
        driver.pipe("in", Some("a"), &value);
    }
    assert_eq!(
        driver.read_json("out"),
        [
            json!({"title": "y", "size": 30}),
            json!({"title": "x", "size": 40})
        ]
    );
    let counts = driver.read_json("counts");
    assert_eq!(counts.last(), Some(&json!({"title": "x", "n": 2})));
    let rows = driver.sql_rows("best").unwrap();
    assert_eq!(rows.len(), 2);
    let best = driver.processor_store("best");
    assert_eq!(
        best.into_iter().collect::<Vec<_>>(),
        [(b"a".to_vec(), 40_i64.to_be_bytes().to_vec())]
    );
}

/// Sends on what it sees of each record, for a look.
struct Sees;

impl Processor for Sees {
    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
        let what = match record.is_deletion() {
            true => "gone".to_owned(),
            false => format!("{:?}", record.fields()),
        };
        let key = record.key_text().unwrap_or("none");
        let text = format!(
            "{key} {what} {} {} from {}-{}@{}",
            record.time().0,
            record.event().is_some(),
            record.topic(),
            record.partition(),
            record.offset(),
        );
        context.forward(Output::new(record.time()).field("text", Value::Str(&text)))
    }
}

#[test]
fn it_sees_the_rows_of_sources_aggregates_and_tables() {
    let sees = |field: &str| {
        Process::new(|| Sees)
            .reads([field])
            .gives("text", ValueType::Str)
    };
    let nulls = crate::topology::graph::NullValues::Pass;
    let source = Source::json("in")
        .key("k")
        .no_max_ahead()
        .null_values(nulls);
    let rollup = Rollup::by(["k"]).unbounded().set("n", "count()");
    let topology = Topology::builder("app")
        .source("s", source)
        .process("see_source", "s", sees("n"))
        .kafka("of_source", "see_source", KafkaSink::topic("of_source"))
        .filter("events", "s", "n != null")
        .aggregate("counts", "events", rollup)
        .process("see_counts", "counts", sees("n"))
        .kafka("of_counts", "see_counts", KafkaSink::topic("of_counts"))
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let mut driver = driver(&topology);
    pipe(&mut driver, "a", 1, 7);
    let none = driver.try_pipe("in", Some(b"a"), None, Timestamp(2_000));
    none.unwrap();
    let texts = |driver: &mut TopologyTestDriver, topic| -> Vec<String> {
        let values = driver.read_json(topic).into_iter();
        values
            .map(|value| value["text"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        texts(&mut driver, "of_source"),
        [
            "a [Int(7)] 1000 true from in-0@0",
            "a gone 2000 false from in-0@1"
        ]
    );
    assert_eq!(
        texts(&mut driver, "of_counts"),
        ["a [Int(1)] 1000 false from -0@-1"]
    );
}

/// Two streams, one store: `puts` fills it, `takes` empties it.
struct Puts;
struct Takes;

impl Processor for Puts {
    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
        let key = record.key().ok_or("no key")?;
        context
            .store("basket")
            .put([key, b"/", &record.offset().to_be_bytes()].concat(), "");
        Ok(())
    }
}

impl Processor for Takes {
    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
        let key = record.key().ok_or("no key")?;
        let mut basket = context.store("basket");
        let found = basket.prefix([key, b"/"].concat())?;
        for (key, _) in &found {
            basket.delete(key);
        }
        let mut left = 0;
        basket.scan(b"", None, |_, _| {
            left += 1;
            ControlFlow::Continue(())
        })?;
        let taken = Output::of(record).field("taken", Value::Int(found.len() as i64));
        context.forward(taken.field("left", Value::Int(left)))
    }
}

#[test]
fn processors_of_two_streams_share_a_store() {
    let builder = Topology::builder("app")
        .source("puts", Source::json("puts"))
        .source("takes", Source::json("takes"))
        .process("put", "puts", Process::new(|| Puts).shared_store("basket"))
        .process(
            "take",
            "takes",
            Process::new(|| Takes)
                .gives("taken", ValueType::Int)
                .gives("left", ValueType::Int)
                .shared_store("basket"),
        );
    let topology = out(builder, "take");
    assert_eq!(plan(&topology).unwrap().processing.len(), 1);
    let mut driver = driver(&topology);
    for key in ["a", "b", "a"] {
        driver.pipe("puts", Some(key), "{}");
    }
    driver.lose_state();
    driver.restart().unwrap();
    for key in ["a", "a", "b"] {
        driver.pipe("takes", Some(key), "{}");
    }
    assert_eq!(
        driver.read_json("out"),
        [
            json!({"taken": 2, "left": 1}),
            json!({"taken": 0, "left": 1}),
            json!({"taken": 1, "left": 0})
        ]
    );
}

#[test]
fn a_store_cannot_be_shared_with_somebody_behind_a_repartition() {
    let shares = || sums(&[]).shared_store("ours").keeps_fields();
    let topology = source()
        .process(
            "p",
            "s",
            Process::new(|| Puts).shared_store("ours").keeps_fields(),
        )
        .select_key("moved", "p", "user")
        .process("q", "moved", shares())
        .kafka("out", "q", KafkaSink::topic("out"))
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let error = plan(&topology).unwrap_err().to_string();
    assert!(error.contains("shares a store with a processor"), "{error}");
}

/// Commits, crashes and lost disks anywhere: what comes out and what is kept is what a straight run
/// gives, once. The wall clock stands still, since it begins anew with each start.
#[test]
fn crashes_change_nothing() {
    for seed in 0..40 {
        let random = &mut StdRng::seed_from_u64(seed);
        let topology = out(source().process("p", "s", sums(&[StreamTime])), "p");
        let records: Vec<(String, i64, i64)> = (0..40)
            .map(|at| {
                let key = ["a", "b", "c"][random.random_range(0..3)];
                let time = at + random.random_range(-5..5);
                (key.to_owned(), time, random.random_range(0..9))
            })
            .collect();
        let mut straight = driver(&topology);
        records
            .iter()
            .for_each(|(key, at, n)| pipe(&mut straight, key, *at, *n));
        let options = DriverOptions {
            commit_each: false,
            ..DriverOptions::default()
        };
        let mut broken = TopologyTestDriver::with_options(&topology, options).unwrap();
        for (key, at, n) in &records {
            pipe(&mut broken, key, *at, *n);
            match random.random_range(0..6) {
                0 => broken.commit().unwrap(),
                1 => broken.restart().unwrap(),
                2 => {
                    broken.lose_state();
                    broken.restart().unwrap();
                }
                _ => {}
            }
        }
        broken.commit().unwrap();
        assert_eq!(read(&mut broken), read(&mut straight), "seed {seed}");
        let stores = [&broken, &straight].map(|driver| driver.processor_store("sums"));
        assert_eq!(stores[0], stores[1], "seed {seed}");
    }
}
