//! Records for the tests of expressions: every field of a JSON object has a slot.

use bumpalo::Bump;
use serde_json::Value as Json;

use super::{Evaluator, ExprError, Expression, Row, Scope};
use crate::headers::PackedHeaders;
use crate::time::Timestamp;
use crate::value::{FieldPath, Slot, Value, ValueType};

/// A record whose fields may hold anything, unless a type is declared.
pub(super) struct Record {
    json: Json,
    paths: Vec<FieldPath>,
    types: Vec<(FieldPath, ValueType)>,
}

impl Record {
    /// A record with the fields that the expression touches, taken from a JSON object.
    pub(super) fn for_expression(expression: &Expression, json: &str) -> Record {
        let json = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        Record {
            json,
            paths: expression.paths(),
            types: Vec::new(),
        }
    }

    /// The same record with declared types: fields that are not declared are then unknown.
    pub(super) fn with_types(mut self, types: &[(&str, ValueType)]) -> Record {
        self.types = types
            .iter()
            .map(|(path, kind)| (FieldPath::new(path), *kind))
            .collect();
        for (path, _) in &self.types {
            if !self.paths.contains(path) {
                self.paths.push(path.clone());
            }
        }
        self
    }

    pub(super) fn fields<'a>(&self, arena: &'a Bump) -> Vec<Value<'a>> {
        self.paths
            .iter()
            .map(|path| value(self.find(path), arena))
            .collect()
    }

    fn find(&self, path: &FieldPath) -> Option<&Json> {
        path.segments()
            .try_fold(&self.json, |json, name| json.get(name))
    }
}

impl Scope for Record {
    /// With declared types, only the declared fields are there.
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        let declared = self
            .types
            .iter()
            .find(|(declared, _)| declared == path)
            .map(|(_, kind)| *kind);
        let kind = declared.or(self.types.is_empty().then_some(ValueType::Any))?;
        let slot = self.paths.iter().position(|known| known == path)?;
        Some((Slot(slot as u32), kind))
    }

    fn known(&self) -> Vec<FieldPath> {
        self.types.iter().map(|(path, _)| path.clone()).collect()
    }
}

/// A JSON value as the decoder of records reads it.
pub(super) fn value<'a>(json: Option<&Json>, arena: &'a Bump) -> Value<'a> {
    match json {
        None => Value::Missing,
        Some(Json::Null) => Value::Null,
        Some(Json::Bool(flag)) => Value::Bool(*flag),
        Some(Json::Number(number)) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap()),
        },
        Some(Json::String(text)) => Value::Str(arena.alloc_str(text)),
        Some(Json::Array(items)) => Value::List(
            arena.alloc_slice_fill_iter(items.iter().map(|item| value(Some(item), arena))),
        ),
        Some(Json::Object(entries)) => Value::Map(
            arena.alloc_slice_fill_iter(
                entries
                    .iter()
                    .map(|(name, item)| (&*arena.alloc_str(name), value(Some(item), arena))),
            ),
        ),
    }
}

/// `tenant: wikimedia`, and a header `trace` that is no text.
const HEADERS: &[u8] = b"\x06\0\0\0tenant\x09\0\0\0wikimedia\x05\0\0\0trace\x01\0\0\0\xff";

/// A row with these fields and with something to see for every function about the record.
pub(super) fn row<'r, 'a>(fields: &'r [Value<'a>], arena: &'a Bump) -> Row<'r, 'a> {
    Row {
        fields,
        arena,
        key: Some(b"enwiki"),
        timestamp: Timestamp(1_777_979_860_822),
        partition: 3,
        offset: 42,
        topic: "wikimedia.recentchange",
        raw: Some(b"{ \"title\": \"Main Page\" }"),
        headers: PackedHeaders::of(HEADERS),
    }
}

/// What comes of an expression over a JSON object: JSON text, `missing`, `error: …` when the record
/// has no value for it, or `refused: …` with the place of every mistake.
pub(super) fn outcome(text: &str, json: &str) -> String {
    outcome_with_types(text, json, &[])
}

/// The same with declared types; then other fields are unknown.
pub(super) fn outcome_with_types(text: &str, json: &str, types: &[(&str, ValueType)]) -> String {
    let expression = Expression::parse(text);
    let record = Record::for_expression(&expression, json).with_types(types);
    match expression.compile(&record) {
        Ok(evaluator) => run(&evaluator, &record),
        Err(errors) => format!("refused: {}", listed(text, &errors)),
    }
}

/// `` `the place` message (help) ``, one after the other.
pub(super) fn listed(text: &str, errors: &[ExprError]) -> String {
    let lines = errors
        .iter()
        .map(|error| format!("[{}] {error}", &text[error.range.clone()]));
    lines.collect::<Vec<_>>().join("; ")
}

fn run(evaluator: &Evaluator, record: &Record) -> String {
    let arena = Bump::new();
    let fields = record.fields(&arena);
    let shown = match evaluator.eval(&row(&fields, &arena)) {
        Ok(Value::Missing) => return "missing".to_owned(),
        Ok(value) => super::json::json(&[value], &arena),
        Err(error) => Err(error),
    };
    match shown {
        Ok(text) => text.as_str().expect("json() gives text").to_owned(),
        Err(error) => format!("error: {error}"),
    }
}
