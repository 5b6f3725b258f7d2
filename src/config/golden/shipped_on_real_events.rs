//! What the shipped topologies compute from real events, against an independent count of the same
//! events: their expressions mean what they should, and fail for no event.
//!
//! Records are folded here in the simplest way there is, without windows that close, tasks or
//! stores; those have their own tests. The events are read where they lie (`../shared/data`, or
//! `TIDEMILL_DATA_DIR`); without them the tests say so and pass.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bumpalo::Bump;
use serde_json::Value as Json;

use super::shipped::shipped;
use crate::expr::{Evaluator, Expression, Row, Scope};
use crate::headers::PackedHeaders;
use crate::time::Timestamp;
use crate::topology::graph::{Aggregate, Function, NodeKind, NodeName, Topology};
use crate::value::{FieldPath, Slot, Value, ValueType};

/// Where the data lies; none if it is not there.
fn data() -> Option<PathBuf> {
    let given = std::env::var_os("TIDEMILL_DATA_DIR").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let directory = given.unwrap_or(beside);
    if directory.is_dir() {
        return Some(directory);
    }
    eprintln!("SKIPPED: no real events in {}", directory.display());
    None
}

fn lines(path: &Path) -> impl Iterator<Item = String> + use<> {
    let file = std::fs::File::open(path).expect("a file of events");
    let reader: Box<dyn Read> = match path.extension().is_some_and(|end| end == "gz") {
        true => Box::new(flate2::read::MultiGzDecoder::new(file)),
        false => Box::new(file),
    };
    BufReader::new(reader)
        .lines()
        .map(|line| line.expect("a line of text"))
}

/// The expressions of a topology, each compiled when it is first needed, with the fields of its
/// slots.
#[derive(Default)]
struct Program(RefCell<HashMap<String, Compiled>>);

type Compiled = Rc<(Evaluator, Vec<FieldPath>)>;

impl Program {
    fn compiled(&self, expression: &Expression) -> Compiled {
        let compile = || {
            let names = Names::default();
            let compiled = expression.compile(&names);
            let evaluator = compiled.unwrap_or_else(|errors| panic!("{expression}: {errors:?}"));
            Rc::new((evaluator, names.known()))
        };
        let mut program = self.0.borrow_mut();
        let entry = program.entry(expression.text().to_owned());
        entry.or_insert_with(compile).clone()
    }
}

/// Every path gets a slot when it is first named.
#[derive(Default)]
struct Names(RefCell<Vec<FieldPath>>);

impl Scope for Names {
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        let mut names = self.0.borrow_mut();
        let known = names.iter().position(|name| name == path);
        let index = known.unwrap_or_else(|| {
            names.push(path.clone());
            names.len() - 1
        });
        let slot = Slot(u32::try_from(index).expect("few fields"));
        Some((slot, ValueType::Any))
    }

    fn known(&self) -> Vec<FieldPath> {
        self.0.borrow().clone()
    }
}

/// One record on its way through the nodes.
struct Record<'a> {
    program: &'a Program,
    arena: &'a Bump,
    json: &'a Json,
    text: &'a str,
    timestamp: Timestamp,
    offset: i64,
    /// What maps have set.
    computed: HashMap<FieldPath, Value<'a>>,
}

impl<'a> Record<'a> {
    /// The value of an expression.
    ///
    /// # Panics
    /// When it has none: that is what these tests are about.
    fn eval(&self, expression: &Expression) -> Value<'a> {
        let compiled = self.program.compiled(expression);
        let (evaluator, names) = compiled.as_ref();
        let fields: Vec<Value<'a>> = names.iter().map(|path| self.field(path)).collect();
        let row = Row {
            fields: &fields,
            arena: self.arena,
            key: None,
            timestamp: self.timestamp,
            partition: 0,
            offset: self.offset,
            topic: "topic",
            raw: Some(self.text.as_bytes()),
            headers: PackedHeaders::NONE,
        };
        let value = evaluator.eval(&row);
        value.unwrap_or_else(|error| panic!("{expression}: {error} in {}", self.text))
    }

    fn field(&self, path: &FieldPath) -> Value<'a> {
        if let Some(value) = self.computed.get(path) {
            return *value;
        }
        let found = path
            .segments()
            .try_fold(self.json, |json, name| json.get(name));
        found.map_or(Value::Missing, |json| value(json, self.arena))
    }
}

fn value<'a>(json: &'a Json, arena: &'a Bump) -> Value<'a> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().expect("a number")),
        },
        Json::String(text) => Value::Str(text),
        Json::Array(items) => {
            Value::List(arena.alloc_slice_fill_iter(items.iter().map(|item| value(item, arena))))
        }
        Json::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(name, item)| (name.as_str(), value(item, arena)));
            Value::Map(arena.alloc_slice_fill_iter(entries.collect::<Vec<_>>()))
        }
    }
}

/// The results of an aggregate, as a table: key and window start, then the results.
#[derive(Default)]
struct Folded(BTreeMap<(Vec<String>, i64), Vec<Accumulator>>);

#[derive(Clone, Default)]
struct Accumulator {
    number: i64,
    distinct: BTreeSet<String>,
}

impl Folded {
    fn add(&mut self, aggregate: &Aggregate, record: &Record<'_>) {
        let size_ms = aggregate
            .window
            .expect("shipped with windows")
            .kind
            .length_ms();
        let start = record.timestamp.0.div_euclid(size_ms) * size_ms;
        let by = aggregate.by.iter();
        let key = by.map(|path| text(record.field(path))).collect();
        let empty = || vec![Accumulator::default(); aggregate.set.len()];
        let row = self.0.entry((key, start)).or_insert_with(empty);
        for ((_, aggregation), accumulator) in aggregate.set.iter().zip(row) {
            let arguments = aggregation.arguments.iter();
            let values: Vec<Value<'_>> = arguments.map(|text| record.eval(text)).collect();
            accumulator.add(&aggregation.function, &values);
        }
    }
}

impl Accumulator {
    fn add(&mut self, function: &Function, values: &[Value<'_>]) {
        match (function, values) {
            (Function::Count, []) | (Function::CountIf, [Value::Bool(true)]) => self.number += 1,
            (Function::CountIf, [Value::Bool(false) | Value::Null | Value::Missing]) => {}
            (Function::Sum, [Value::Int(number)]) => self.number += number,
            (Function::Distinct, values) if values.iter().all(Value::is_absent) => {}
            (Function::Distinct, values) => {
                self.distinct.insert(format!("{values:?}"));
            }
            (function, values) => panic!("{function:?} of {values:?}"),
        }
    }

    fn read(&self, function: &Function) -> i64 {
        match function {
            Function::Distinct => i64::try_from(self.distinct.len()).expect("few values"),
            _ => self.number,
        }
    }
}

fn text(value: Value<'_>) -> String {
    value.as_str().expect("a key is a text").to_owned()
}

/// Sends the lines through all nodes; the results of each aggregate by its name.
fn run(topology: &Topology, lines: impl Iterator<Item = String>) -> HashMap<NodeName, Folded> {
    let mut folded = HashMap::new();
    let mut ids = BTreeSet::new();
    let program = Program::default();
    let (source, settings) = topology
        .nodes
        .iter()
        .find_map(|node| match &node.kind {
            NodeKind::Source(source) => Some((node, source)),
            _ => None,
        })
        .expect("a source");
    for (offset, line) in lines.enumerate() {
        let json: Json = serde_json::from_str(&line).expect("an event in JSON");
        let arena = Bump::new();
        let mut record = Record {
            program: &program,
            arena: &arena,
            json: &json,
            text: &line,
            timestamp: Timestamp::MIN,
            offset: i64::try_from(offset).expect("few records"),
            computed: HashMap::new(),
        };
        let time = settings.timestamp.as_ref().expect("an event time");
        let time = text(record.field(time));
        record.timestamp = Timestamp::parse_rfc3339(&time).expect("an event time");
        let is_new = match &settings.id {
            Some(id) => ids.insert(text(record.field(id))),
            None => true,
        };
        if is_new {
            pass_on(topology, &source.name, &mut record, &mut folded);
        }
    }
    folded
}

/// What the consumers of a node do with a record. A map's fields stay for the nodes behind it only.
fn pass_on(
    topology: &Topology,
    from: &NodeName,
    record: &mut Record<'_>,
    folded: &mut HashMap<NodeName, Folded>,
) {
    for node in topology.consumers(from) {
        match &node.kind {
            NodeKind::Filter(filter) => match record.eval(&filter.condition) {
                Value::Bool(true) => pass_on(topology, &node.name, record, folded),
                Value::Bool(false) => {}
                other => panic!("{}: {other:?}", node.name),
            },
            NodeKind::Map(map) => {
                let before = record.computed.clone();
                for (field, expression) in &map.set {
                    let value = record.eval(expression);
                    record.computed.insert(field.clone(), value);
                }
                pass_on(topology, &node.name, record, folded);
                record.computed = before;
            }
            NodeKind::Aggregate(aggregate) => {
                let results = folded.entry(node.name.clone()).or_default();
                results.add(aggregate, record);
            }
            NodeKind::Sql(sink) => {
                for (column, expression) in &sink.columns {
                    let value = record.eval(expression);
                    let in_key = sink.key.contains(column);
                    assert!(!(in_key && value.is_absent()), "{column}: {}", record.text);
                }
            }
            other => unreachable!("a {} is not in these files", other.word()),
        }
    }
}

/// The rows of an aggregate with the columns of a table of expected values, in its order.
fn rows(topology: &Topology, name: &str, folded: &Folded) -> Vec<Vec<String>> {
    let node = topology.node(&NodeName::new(name)).expect("an aggregate");
    let NodeKind::Aggregate(aggregate) = &node.kind else {
        panic!("{name} is no aggregate")
    };
    let header = aggregate
        .key_fields()
        .chain([FieldPath::new("window_start")]);
    let results = aggregate.set.iter().map(|(field, _)| field.clone());
    let header = header.chain(results).map(|field| field.to_string());
    let mut rows = vec![header.collect::<Vec<_>>()];
    for ((key, start), accumulators) in &folded.0 {
        let start = Timestamp(*start).to_string().replace(".000Z", "Z");
        let results = aggregate.set.iter().zip(accumulators);
        let results = results.map(|((_, call), state)| state.read(&call.function).to_string());
        rows.push(key.iter().cloned().chain([start]).chain(results).collect());
    }
    rows
}

fn table(path: &Path) -> Vec<Vec<String>> {
    let split = |line: String| line.split('\t').map(str::to_owned).collect();
    lines(path).map(split).collect()
}

/// Compares the windows of an aggregate with an independent count.
#[track_caller]
fn check_windows(file: &str, events: &str, aggregate: &str, expected: &str) {
    let Some(data) = data() else { return };
    let topology = shipped(file);
    let folded = run(&topology, lines(&data.join(events)));
    let found = rows(&topology, aggregate, &folded[&NodeName::new(aggregate)]);
    let expected = table(&data.join("oracle").join(expected));
    assert_eq!(found[0], expected[0], "the columns");
    let sorted = |rows: &[Vec<String>]| rows[1..].iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&found), sorted(&expected));
    assert_eq!(found.len(), expected.len());
}

#[test]
fn wiki_minutes_of_all_wikis_equal_an_independent_count() {
    check_windows(
        "wikimedia.yaml",
        "rc-2026-05-05-full-45s.ndjson.gz",
        "per_wiki",
        "rc-2026-05-05-full-45s.wiki_minute.tsv",
    );
}

#[test]
fn wiki_minutes_of_half_an_hour_equal_an_independent_count() {
    check_windows(
        "wikimedia.yaml",
        "rc-2026-07-17-enwiki-edits-28min.ndjson.gz",
        "per_wiki",
        "rc-2026-07-17-enwiki-edits-28min.wiki_minute.tsv",
    );
}

#[test]
fn channel_hours_equal_an_independent_count() {
    check_windows(
        "wikiticker.yaml",
        "wikiticker-2015-09-12-sampled.json.gz",
        "per_channel",
        "wikiticker-2015-09-12.channel_hour.tsv",
    );
}

#[test]
fn the_windows_of_a_user_add_up_to_an_independent_count() {
    let Some(data) = data() else { return };
    for file in ["rc-2026-05-05-full-45s", "rc-2026-07-17-enwiki-edits-28min"] {
        let topology = shipped("wikimedia.yaml");
        let events = lines(&data.join(format!("{file}.ndjson.gz")));
        let folded = run(&topology, events);
        let mut totals: BTreeMap<Vec<String>, [i64; 2]> = BTreeMap::new();
        for ((key, _), results) in &folded[&NodeName::new("per_user")].0 {
            let total = totals.entry(key.clone()).or_default();
            total[0] += results[0].number;
            total[1] += results[1].number;
        }
        let expected = table(&data.join(format!("oracle/{file}.wiki_user.tsv")));
        assert_eq!(expected[0], ["wiki", "user", "edits", "net_bytes"]);
        let number = |text: &String| text.parse().expect("a number");
        let expected: BTreeMap<Vec<String>, [i64; 2]> = expected[1..]
            .iter()
            .map(|row| (row[..2].to_vec(), [number(&row[2]), number(&row[3])]))
            .collect();
        assert_eq!(totals, expected, "{file}");
    }
}

/// Old shapes with nulls, logs without id or user, canary events, every odd shape there is.
#[test]
fn no_expression_fails_for_any_real_event() {
    let Some(data) = data() else { return };
    let topology = shipped("wikimedia.yaml");
    for file in [
        "rc-odd-shapes.ndjson",
        "rc-2018-2019-wikidata-logs.ndjson",
        "rc-2018-03-07-wikidata-5min.ndjson.gz",
        "rc-2025-05-03-mixed.ndjson",
    ] {
        let folded = run(&topology, lines(&data.join(file)));
        assert!(folded.contains_key(&NodeName::new("per_wiki")), "{file}");
    }
}

/// A canary event carries nothing but `meta`; of a redacted one, the user is missing.
#[test]
fn canaries_and_redacted_users_are_no_errors() {
    let meta = |id: &str, domain: &str| {
        format!(r#""meta":{{"id":"{id}","dt":"2026-05-05T11:17:40Z","domain":"{domain}"}}"#)
    };
    let events = [
        format!("{{{}}}", meta("1", "canary")),
        format!(
            r#"{{{},"wiki":"dewiki","type":"edit","namespace":0,"title":"A","bot":false,"length":{{"old":null,"new":5}}}}"#,
            meta("2", "de.wikipedia.org")
        ),
        format!(
            r#"{{{},"wiki":"dewiki","type":"log","namespace":-1,"title":"B","user":null}}"#,
            meta("3", "auth.wikimedia.org")
        ),
    ];
    let topology = shipped("wikimedia.yaml");
    let folded = run(&topology, events.into_iter());
    let rows = rows(&topology, "per_wiki", &folded[&NodeName::new("per_wiki")]);
    let expected = "dewiki 2026-05-05T11:17:00Z 2 1 0 1 0 0 0 0 5 0 0 1";
    assert_eq!(rows[1].join(" "), expected);
    assert_eq!(rows.len(), 2);
    assert!(!folded.contains_key(&NodeName::new("per_user")));
}
