//! The JSON schema of topology files, for editors that complete and explain.
//!
//! It is made of what is there anyway: the keys and kinds of values are what the readers ask for
//! ([`explore`]), what is said about them stands in docs/TOPOLOGY.md ([`reference`]). So a new kind of
//! node, or a new key, is in the schema as soon as it is read and described; only what is inside lists
//! and under a user's own names is put together here. docs/topology.schema.json is the result; a test
//! compares.
//!
//! What the schema refuses is a mistake; not every mistake is refused: expressions, names of nodes and
//! the like are for `tidemill check`.

mod explore;
mod reference;

use serde_json::{Map, Value as Json, json};

use super::cases::{self, Reading};
use super::keys::{Keys, Wanted};
use super::{lower, nodes};
use crate::topology::builder::Builder;
use crate::topology::drop_reason::DropReason;
use crate::topology::graph::Topology;
use explore::{Key, Mapping, explore};
use reference::Reference;

/// The schema, as JSON.
pub fn schema() -> Json {
    Generator::new().file()
}

/// The schema, as the text of a file.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// A mapping that has a reader of its own, and where it is described.
struct Part {
    /// Its name, for those who read of a gap.
    name: String,
    heading: String,
    /// The mapping in the section; empty for the section's own.
    of: &'static str,
    mapping: Mapping,
}

struct Generator {
    reference: Reference,
    /// What is not described, or not known how to be.
    gaps: Vec<String>,
}

impl Generator {
    fn new() -> Generator {
        Generator {
            reference: Reference::read(),
            gaps: Vec::new(),
        }
    }

    fn file(&mut self) -> Json {
        let mut file = self.object(&file_part());
        let kinds = kind_parts();
        let mut node = Map::new();
        for part in &kinds {
            let mut kind = self.object(part);
            match self.reference.paragraph(&part.heading) {
                Some(text) => kind["description"] = text.into(),
                None => self.gaps.push(format!("{} is not described", part.name)),
            }
            node.insert(part.name.clone(), kind);
        }
        let parts = case_parts();
        let mut definitions = Map::new();
        for (name, part) in ["named_test", "test", "given", "expectation", "record"]
            .iter()
            .zip(&parts)
        {
            definitions.insert((*name).to_owned(), self.object(part));
        }
        definitions.insert(
            "node".to_owned(),
            json!({
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": false,
                "properties": node,
            }),
        );
        let mut schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Tidemill topology",
            "description": "A topology file: where records come from, what happens to them, and where \
                            results go.",
        });
        let schema_keys = schema.as_object_mut().expect("an object");
        schema_keys.append(file.as_object_mut().expect("an object"));
        schema["definitions"] = definitions.into();
        schema
    }

    /// A mapping with these keys and no others.
    fn object(&mut self, part: &Part) -> Json {
        self.mapping(part, part.of, &part.mapping)
    }

    fn mapping(&mut self, part: &Part, of: &str, mapping: &Mapping) -> Json {
        let mut properties = Map::new();
        let mut required = Vec::new();
        let mut dependencies = Map::new();
        let mut conditions: Vec<Json> = Vec::new();
        for key in &mapping.keys {
            let described = self.reference.key(&part.heading, of, key.name);
            let mut property = self.property(part, key);
            match &described {
                Some(said) => property["description"] = description(said).into(),
                None => {
                    let place = format!("{} {of}", part.name);
                    let place = place.trim();
                    self.gaps
                        .push(format!("{place}: the key {} is not described", key.name));
                }
            }
            let is_one_of = key.wanted.iter().any(|it| matches!(it, Wanted::OneOf(_)));
            let is_said = described.is_some_and(|said| said.is_required) && !is_one_of;
            if is_said || key.wanted.contains(&Wanted::Presence) {
                required.push(key.name);
            }
            for beside in &key.needed_beside {
                let beside = dependencies
                    .entry(beside.clone())
                    .or_insert_with(|| json!([]));
                beside.as_array_mut().expect("a list").push(key.name.into());
            }
            conditions.extend(conditions_of(key));
            properties.insert(key.name.to_owned(), property);
        }
        let mut schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        if !dependencies.is_empty() {
            schema["dependencies"] = dependencies.into();
        }
        conditions.dedup();
        if !conditions.is_empty() {
            schema["allOf"] = conditions.into();
        }
        schema
    }

    fn property(&mut self, part: &Part, key: &Key) -> Json {
        if let Some(composed) = composed(&part.name, key.name) {
            return composed;
        }
        // A text that is read as something else as well has to be that.
        let is_read_further = key
            .wanted
            .iter()
            .any(|wanted| matches!(wanted, Wanted::Duration | Wanted::Time | Wanted::Count));
        let mut forms: Vec<Json> = Vec::new();
        for wanted in &key.wanted {
            match wanted {
                Wanted::Text if is_read_further => {}
                Wanted::Text => forms.push(text()),
                Wanted::Texts => forms.push(texts()),
                Wanted::Duration => forms.push(duration()),
                Wanted::Time => forms.push(time()),
                Wanted::Count => forms.push(count()),
                Wanted::Choice(words) => forms.push(choice(words)),
                Wanted::Pairs => forms.push(json!({
                    "type": "object",
                    "additionalProperties": { "anyOf": [text(), { "type": "null" }] },
                })),
                Wanted::PairsOf(words) => forms.push(json!({
                    "type": "object",
                    "additionalProperties": choice(words),
                })),
                Wanted::Null => forms.push(json!({ "type": "null" })),
                Wanted::Mapping => {
                    let inner = self.mapping(part, key.name, &key.inner);
                    forms.push(inner);
                }
                Wanted::Value | Wanted::List | Wanted::Entries => {}
                Wanted::Presence | Wanted::Absence(_) | Wanted::OneOf(_) => {}
            }
        }
        match forms.len() {
            0 => {
                let (part, key) = (&part.name, key.name);
                self.gaps
                    .push(format!("{part}: what {key} can be is not known"));
                json!({})
            }
            1 => forms.remove(0),
            _ => json!({ "anyOf": forms }),
        }
    }
}

fn description(said: &reference::KeyText) -> String {
    match (said.value.as_str(), said.text.as_str()) {
        ("", text) => text.to_owned(),
        (value, "") => format!("Value: {value}."),
        (value, text) => format!("{text}\n\nValue: {value}."),
    }
}

/// What excludes what, and of what there has to be one.
fn conditions_of(key: &Key) -> Vec<Json> {
    let mut conditions = Vec::new();
    let one_of = key.wanted.iter().find_map(|wanted| match wanted {
        Wanted::OneOf(keys) => Some(keys),
        _ => None,
    });
    if let Some(keys) = one_of.filter(|keys| keys.first() == Some(&key.name)) {
        let each = keys.iter().map(|key| json!({ "required": [key] }));
        conditions.push(json!({ "oneOf": each.collect::<Vec<_>>() }));
    }
    for wanted in &key.wanted {
        let Wanted::Absence(other) = wanted else {
            continue;
        };
        let is_said = one_of.is_some_and(|keys| keys.contains(other));
        // Both keys ask for the absence of the other.
        if !is_said && key.name < *other {
            conditions.push(json!({ "not": { "required": [key.name, other] } }));
        }
    }
    conditions
}

/// What stands in a list or under a user's own names.
fn composed(part: &str, key: &str) -> Option<Json> {
    let named = |inner: Json| json!({ "type": "object", "additionalProperties": inner });
    let several = |inner: Json| json!({ "anyOf": [inner, { "type": "array", "items": inner }] });
    let row = || json!({ "type": "object" });
    let reasons = || DropReason::ALL.map(DropReason::name);
    Some(match (part, key) {
        ("file", "nodes") => named(refer("node")),
        ("file", "tests") => json!({
            "anyOf": [
                { "type": "array", "items": refer("named_test") },
                named(refer("test")),
            ],
        }),
        ("named test" | "test", "given") => several(refer("given")),
        // Beside a reference nothing else counts, so it stands by itself.
        ("named test" | "test", "expect") => json!({ "allOf": [refer("expectation")] }),
        ("given", "value") => json!({ "type": ["object", "string", "null"] }),
        ("expect", "topics") => named(several(refer("record"))),
        ("expect", "tables") => named(several(row())),
        // Rows of aggregates, records of tables.
        ("expect", "stores") => named(several(row())),
        ("expect", "drops") => named(json!({
            "type": "object",
            "propertyNames": { "enum": reasons() },
            "additionalProperties": count(),
        })),
        ("record", "value") => json!({}),
        _ => return None,
    })
}

fn refer(definition: &str) -> Json {
    json!({ "$ref": format!("#/definitions/{definition}") })
}

/// One of the words, or a reference to the environment. YAML takes two of them for bools.
fn choice(words: &[&str]) -> Json {
    let words = words.iter().map(|word| match *word {
        "true" => json!(true),
        "false" => json!(false),
        word => json!(word),
    });
    json!({ "anyOf": [{ "enum": words.collect::<Vec<_>>() }, reference()] })
}

/// A text; YAML takes some for numbers and bools.
fn text() -> Json {
    json!({ "type": ["string", "number", "boolean"] })
}

fn texts() -> Json {
    json!({ "anyOf": [text(), { "type": "array", "items": text() }] })
}

/// A reference to the environment, which stands for anything.
fn reference() -> Json {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

fn duration() -> Json {
    json!({ "type": "string", "pattern": "^-?([0-9]+(d|h|ms|m|s))+$|\\$\\{" })
}

fn time() -> Json {
    let text = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]|\\$\\{";
    json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "pattern": text }] })
}

fn count() -> Json {
    let text = "^[0-9]+$|\\$\\{";
    json!({ "anyOf": [
        { "type": "integer", "minimum": 0 },
        { "type": "string", "pattern": text },
    ] })
}

fn file_part() -> Part {
    let read = |keys: &mut Keys<'_, '_>| {
        lower::read_file(keys);
    };
    Part {
        name: "file".to_owned(),
        heading: "The file".to_owned(),
        of: "",
        mapping: explore(&read),
    }
}

/// The kinds of nodes, each with a section of its own.
fn kind_parts() -> Vec<Part> {
    let part = |word: &'static str| {
        let reader = nodes::reader(word).expect("the words are those of readers");
        let read = |keys: &mut Keys<'_, '_>| {
            let _: Builder = reader(keys, "n", Topology::builder("a"));
        };
        Part {
            name: word.to_owned(),
            heading: word.to_owned(),
            of: "",
            mapping: explore(&read),
        }
    };
    nodes::words().map(part).collect()
}

/// What tests are made of, all in one section.
fn case_parts() -> Vec<Part> {
    let reading = Reading {
        text: "",
        subjects: None,
    };
    let part = |name: &str, of, read: explore::Reader<'_>| Part {
        name: name.to_owned(),
        heading: "tests".to_owned(),
        of,
        mapping: explore(read),
    };
    vec![
        part("named test", "", &|keys| {
            cases::read_case(keys, None, &reading);
        }),
        part("test", "", &|keys| {
            cases::read_case(keys, Some("n"), &reading);
        }),
        part("given", "given", &|keys| {
            cases::read_step(keys, &reading);
        }),
        part("expect", "expect", &|keys| {
            cases::read_expectation(keys, &reading);
        }),
        part("record", "a record", &|keys| {
            cases::read_record(keys, None);
        }),
    ]
}

#[cfg(test)]
pub(super) mod tests;
