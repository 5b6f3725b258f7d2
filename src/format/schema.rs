//! Schemas as they are given: with a topology, or by a registry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost_reflect::MessageDescriptor;

use super::{avro, protobuf};
use crate::value::{FieldPath, ValueType};

/// The languages of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Avro, in JSON.
    Avro,
    /// Protobuf, a `.proto` file.
    Protobuf,
    /// JSON Schema. Records are JSON, with the number of a schema in front, which they are not held against.
    Json,
}

impl Language {
    /// The word for it in topology files.
    pub fn word(self) -> &'static str {
        match self {
            Language::Avro => "avro",
            Language::Protobuf => "protobuf",
            Language::Json => "json",
        }
    }

    /// The word for it in a schema registry.
    pub fn registry_word(self) -> &'static str {
        match self {
            Language::Avro => "AVRO",
            Language::Protobuf => "PROTOBUF",
            Language::Json => "JSON",
        }
    }
}

/// A schema that was given with a topology: its text, and what it means or why it means nothing. Cheap
/// to clone.
#[derive(Clone)]
pub struct Schema(Arc<Given>);

struct Given {
    language: Language,
    /// The file that it is in; none: it was given as a text.
    file: Option<String>,
    text: String,
    parsed: Result<Parsed, String>,
}

/// What a schema means.
pub(super) enum Parsed {
    Avro(avro::Layout),
    Protobuf {
        layout: protobuf::Layout,
        message: MessageDescriptor,
    },
    /// Whatever it says is for others.
    Json,
}

impl Schema {
    /// An Avro schema. Never fails: a text that is none is kept with its error, so that a checker can
    /// report all mistakes of a topology at once.
    pub fn avro(text: &str) -> Schema {
        let parsed = avro::parse_given(text).map(Parsed::Avro);
        Schema::given(Language::Avro, None, text, parsed)
    }

    /// A message of a `.proto` file; without a name, the only one in it. Never fails, as
    /// [`Schema::avro`].
    pub fn protobuf(text: &str, message: Option<&str>) -> Schema {
        Schema::protobuf_in(None, text, message, None)
    }

    /// A JSON schema. Never fails, as [`Schema::avro`].
    pub fn json(text: &str) -> Schema {
        Schema::given(Language::Json, None, text, parse_json(text))
    }

    /// The schema in a file. Imports of a `.proto` file are looked for where that file is. Never
    /// fails, as [`Schema::avro`].
    pub fn file(language: Language, path: &Path, message: Option<&str>) -> Schema {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let error = Err(format!("cannot read {}: {error}", path.display()));
                return Schema::given(language, Some(&path.to_string_lossy()), "", error);
            }
        };
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy();
        match language {
            Language::Avro => {
                let parsed = avro::parse_given(&text).map(Parsed::Avro);
                let parsed = parsed.map_err(|error| format!("{name}: {error}"));
                Schema::given(language, Some(&name), &text, parsed)
            }
            Language::Json => {
                let parsed = parse_json(&text).map_err(|error| format!("{name}: {error}"));
                Schema::given(language, Some(&name), &text, parsed)
            }
            Language::Protobuf => {
                let folder = path.parent().unwrap_or(Path::new("."));
                let folder = match folder.as_os_str().is_empty() {
                    true => PathBuf::from("."),
                    false => folder.to_owned(),
                };
                Schema::protobuf_in(Some(&name), &text, message, Some(folder))
            }
        }
    }

    fn protobuf_in(
        file: Option<&str>,
        text: &str,
        message: Option<&str>,
        folder: Option<PathBuf>,
    ) -> Schema {
        let name = file.unwrap_or("schema.proto");
        let compiled = protobuf::parse(name, text, &[], folder);
        let found = compiled.and_then(|compiled| {
            let found = protobuf::find_message(&compiled, message);
            found.map_err(|error| format!("{name}: {error}"))
        });
        let parsed = found.map(|message| Parsed::Protobuf {
            layout: protobuf::Layout::of(&message),
            message,
        });
        Schema::given(Language::Protobuf, file, text, parsed)
    }

    fn given(
        language: Language,
        file: Option<&str>,
        text: &str,
        parsed: Result<Parsed, String>,
    ) -> Schema {
        Schema(Arc::new(Given {
            language,
            file: file.map(str::to_owned),
            text: text.to_owned(),
            parsed,
        }))
    }

    /// Its language.
    pub fn language(&self) -> Language {
        self.0.language
    }

    /// The name of its file; none if it was given as a text.
    pub fn file_name(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Why it means nothing; none if it means something.
    pub fn error(&self) -> Option<&str> {
        self.0.parsed.as_ref().err().map(String::as_str)
    }

    /// What it means, if nothing is wrong with it.
    pub(super) fn parsed(&self) -> Option<&Parsed> {
        self.0.parsed.as_ref().ok()
    }

    /// All fields with what they hold, those inside records by their paths. None when it is wrong.
    pub fn paths(&self) -> Vec<(FieldPath, ValueType)> {
        match self.parsed() {
            Some(Parsed::Avro(layout)) => layout.paths(),
            Some(Parsed::Protobuf { layout, .. }) => layout.paths(),
            Some(Parsed::Json) | None => Vec::new(),
        }
    }

    /// The outermost fields, in their order. None when it is wrong.
    pub fn fields(&self) -> Vec<SchemaField<'_>> {
        match self.parsed() {
            Some(Parsed::Avro(layout)) => avro::fields(layout),
            Some(Parsed::Protobuf { layout, .. }) => layout.fields().collect(),
            Some(Parsed::Json) | None => Vec::new(),
        }
    }
}

fn parse_json(text: &str) -> Result<Parsed, String> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) => Ok(Parsed::Json),
        Ok(_) => Err("a JSON schema is an object".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

/// A field of a record, as a writer has to know it.
#[derive(Clone, Debug)]
pub struct SchemaField<'s> {
    /// Its name.
    pub name: &'s str,
    /// Whether a record can be written without it.
    pub can_be_left_out: bool,
    /// What it holds, for messages: `a long`.
    pub what: &'static str,
    /// The types that it takes; none: any may fit.
    pub(super) takes: &'static [ValueType],
}

impl SchemaField<'_> {
    /// Whether a value of this type can fit.
    pub fn takes(&self, kind: ValueType) -> bool {
        kind == ValueType::Any || self.takes.is_empty() || self.takes.contains(&kind)
    }
}

/// Two schemas are equal when their texts are.
impl PartialEq for Schema {
    fn eq(&self, other: &Schema) -> bool {
        self.0.language == other.0.language && self.0.text == other.0.text
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.file_name().unwrap_or("a text");
        write!(f, "Schema({}, {place})", self.0.language.word())
    }
}
