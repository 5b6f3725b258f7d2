//! Formats of records: JSON, Avro and Protobuf with or without a schema registry, texts and bytes.
//!
//! ```text
//!   bytes ── EventReader ──▶ slots, Event          fields ── EventWriter ──▶ bytes
//!               │                                               │
//!               └── schema by number ◀── SchemaRegistry ──▶ number of the schema
//! ```
//!
//! What a topology says about formats is [`Format`]; the schemas that it gives are parsed when it is
//! built, so that a checker can say what is wrong with them. Only the registry's client (in
//! [`crate::registry`]) does I/O, and only when a number comes for the first time.

mod schema;
mod unfit;
pub(crate) mod json;
mod avro;
mod protobuf;
mod registry;
mod reader;
mod writer;

pub use reader::{EventReader, ReadError};
pub use registry::{MemoryRegistry, RegisteredSchema, Registries, RegistryError, SchemaRegistry};
pub use schema::{Language, Schema, SchemaField};
pub use unfit::Unfit;
pub use writer::{EventWriter, WriteError};

use crate::record::WHOLE_VALUE;
use crate::value::{FieldPath, ValueType};

/// How the bytes of a record's value are read or written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// A JSON object, UTF-8.
    #[default]
    Json,
    /// A text in UTF-8, which is the one field `value`.
    Text,
    /// Bytes, which are the one field `value`.
    Bytes,
    /// Avro or Protobuf.
    Schema(SchemaFormat),
}

/// A format that a schema explains.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaFormat {
    /// Of which language.
    pub language: Language,
    /// The schema that was given with the topology. Without a registry it explains every record; with
    /// one it is what a reader makes of records, and what a writer registers.
    pub schema: Option<Schema>,
    /// Where the schemas are that records name.
    pub registry: Option<String>,
    /// The Protobuf message, where the schema is the registry's.
    pub message: Option<String>,
    /// Under which name a writer's schema is in the registry; none: `<topic>-value`.
    pub subject: Option<String>,
    /// Whether a writer's schema is registered if it is not there.
    pub registers: bool,
}

impl Format {
    /// The word for it in topology files.
    pub fn word(&self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Text => "string",
            Format::Bytes => "bytes",
            Format::Schema(format) => format.language.word(),
        }
    }

    /// Avro of this schema.
    pub fn avro(schema: Schema) -> Format {
        Format::Schema(SchemaFormat {
            schema: Some(schema),
            ..SchemaFormat::new(Language::Avro)
        })
    }

    /// Protobuf of this schema.
    pub fn protobuf(schema: Schema) -> Format {
        Format::Schema(SchemaFormat {
            schema: Some(schema),
            ..SchemaFormat::new(Language::Protobuf)
        })
    }

    /// Records of this language that name their schemas, which are in the registry at this address.
    pub fn registered(language: Language, url: &str) -> Format {
        Format::Schema(SchemaFormat {
            registry: Some(url.to_owned()),
            ..SchemaFormat::new(language)
        })
    }

    /// All fields that events have, with what they hold, as far as that is known; none: any may be
    /// there.
    pub fn paths(&self) -> Option<Vec<(FieldPath, ValueType)>> {
        let only = |kind| Some(vec![(FieldPath::new(WHOLE_VALUE), kind)]);
        match self {
            Format::Json => None,
            Format::Text => only(ValueType::Str),
            Format::Bytes => only(ValueType::Bytes),
            Format::Schema(format) if format.language == Language::Json => None,
            Format::Schema(format) => format.schema.as_ref().map(Schema::paths),
        }
    }

    /// The schema that was given with the topology.
    pub fn schema(&self) -> Option<&Schema> {
        match self {
            Format::Schema(format) => format.schema.as_ref(),
            Format::Json | Format::Text | Format::Bytes => None,
        }
    }
}

impl SchemaFormat {
    /// Nothing is known but the language.
    pub fn new(language: Language) -> SchemaFormat {
        SchemaFormat {
            language,
            schema: None,
            registry: None,
            message: None,
            subject: None,
            registers: true,
        }
    }
}
