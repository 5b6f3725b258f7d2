//! The format of a source's or a sink's records, and its schema.

use super::keys::Keys;
use super::problem::CONTRADICTION;
use crate::format::{Format, Language, Schema, SchemaFormat};

/// What records of the format are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Source,
    Sink,
}

/// A word for a format.
#[derive(Clone, Copy)]
enum Word {
    Json,
    Text,
    Bytes,
    Schema(Language),
}

const WORDS: &[(&str, Word)] = &[
    ("json", Word::Json),
    ("avro", Word::Schema(Language::Avro)),
    ("protobuf", Word::Schema(Language::Protobuf)),
    ("string", Word::Text),
    ("bytes", Word::Bytes),
];
const REGISTER: &[(&str, bool)] = &[("true", true), ("false", false)];

/// The keys that only formats with a schema have.
const SOURCE_KEYS: [&str; 4] = ["schema", "schema_file", "message", "schema_registry"];
const SINK_KEYS: [&str; 2] = ["subject", "register"];

/// Reads the format; none when none is given.
pub(super) fn read(keys: &mut Keys<'_, '_>, of: Use) -> Option<Format> {
    match keys.choice("format", WORDS) {
        // With a registry, records have the numbers of schemas in front.
        Some(Word::Json) if keys.has("schema_registry") => {
            Some(Format::Schema(read_schema(keys, Language::Json, of)))
        }
        Some(Word::Schema(language)) => Some(Format::Schema(read_schema(keys, language, of))),
        other => {
            // With a word that is none, nobody knows what goes with it.
            let is_unknown = other.is_none() && keys.has("format");
            for key in keys_of_schemas(of) {
                let is_given = keys.entry(key).is_some();
                if is_given && !is_unknown {
                    refuse(keys, key);
                }
            }
            match other? {
                Word::Text => Some(Format::Text),
                Word::Bytes => Some(Format::Bytes),
                Word::Json | Word::Schema(_) => Some(Format::Json),
            }
        }
    }
}

fn read_schema(keys: &mut Keys<'_, '_>, language: Language, of: Use) -> SchemaFormat {
    keys.exclude("schema", "schema_file");
    let message = match language {
        Language::Protobuf => keys.text("message"),
        Language::Avro | Language::Json => None,
    };
    let given = keys.text("schema").map(|text| match language {
        Language::Avro => Schema::avro(text),
        Language::Json => Schema::json(text),
        Language::Protobuf => Schema::protobuf(text, message),
    });
    let file = keys.text("schema_file");
    let file = file.map(|name| Schema::file(language, &keys.path(name), message));
    let registry = keys.text("schema_registry");
    let mut format = SchemaFormat {
        schema: given.or(file),
        registry: registry.map(str::to_owned),
        message: message.map(str::to_owned),
        ..SchemaFormat::new(language)
    };
    if of == Use::Sink {
        format.subject = keys.text("subject").map(str::to_owned);
        if let Some(registers) = keys.choice("register", REGISTER) {
            format.registers = registers;
        }
    }
    format
}

fn keys_of_schemas(of: Use) -> impl Iterator<Item = &'static str> {
    let of_sinks = match of {
        Use::Source => &[][..],
        Use::Sink => &SINK_KEYS[..],
    };
    SOURCE_KEYS.iter().chain(of_sinks).copied()
}

/// Without a schema there is nothing to be said about one.
fn refuse(keys: &mut Keys<'_, '_>, key: &'static str) {
    let message = match key {
        "message" => format!("`{key}` goes with `format: protobuf`"),
        "schema_registry" => format!("`{key}` goes with `format: avro`, `protobuf` or `json`"),
        _ => format!(
            "`{key}` goes with `format: avro` or `format: protobuf`, or with a `schema_registry`"
        ),
    };
    let diagnostic = CONTRADICTION.at(keys.span(key), message);
    keys.push(key, diagnostic.help("say the format, or remove the key"));
}
