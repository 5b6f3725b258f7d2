//! From the bytes of a record of any format to the fields that somebody asks for.

use std::collections::HashMap;
use std::sync::Arc;

use bumpalo::Bump;
use prost_reflect::{FileDescriptor, MessageDescriptor};

use super::avro::{self, AvroReader};
use super::json::entries;
use super::protobuf::{self, ProtobufReader};
use super::registry::{
    self, MessagePath, RegisteredSchema, Registries, RegistryError, SchemaRegistry,
};
use super::schema::{Language, Parsed, Schema};
use super::{Format, SchemaFormat};
use crate::record::{Event, Projection, decode_json};
use crate::time::Timestamp;
use crate::value::Value;

/// A number that the registry does not know is asked for again after so many milliseconds: a replica
/// of it may be behind.
const ASK_AGAIN_MS: i64 = 10_000;

/// So many numbers that are unknown are remembered.
const UNKNOWN_NUMBERS: usize = 1_000;

/// So many schemas are remembered.
const KNOWN_SCHEMAS: usize = 1_000;

/// A record cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is not what its format says; what is there instead.
    Unreadable(String),
    /// The registry did not answer.
    Registry(RegistryError),
}

/// Reads the events of one input.
pub struct EventReader {
    kind: Kind,
    projection: Projection,
    /// Whether somebody keeps events, so that all of their fields are needed.
    keeps_events: bool,
}

enum Kind {
    Json,
    /// With the number of a schema in front.
    NumberedJson,
    Text,
    Bytes,
    One(SchemaReader),
    Registered(Box<Registered>),
}

/// Reads what one schema explains.
enum SchemaReader {
    Avro(AvroReader),
    Protobuf(ProtobufReader),
}

impl SchemaReader {
    fn of(parsed: &Parsed, projection: &Projection) -> SchemaReader {
        match parsed {
            Parsed::Avro(layout) => SchemaReader::Avro(AvroReader::new(layout.clone(), projection)),
            Parsed::Protobuf { layout, .. } => {
                SchemaReader::Protobuf(ProtobufReader::new(layout.clone(), projection))
            }
            Parsed::Json => unreachable!("JSON needs no schema to be read"),
        }
    }

    fn read<'a>(
        &self,
        bytes: &'a [u8],
        arena: &'a Bump,
        fields: &mut [Value<'a>],
    ) -> Result<(), ReadError> {
        match self {
            SchemaReader::Avro(reader) => reader
                .read(bytes, arena, fields)
                .map_err(|error| unreadable("an Avro record", &error)),
            SchemaReader::Protobuf(reader) => reader
                .read(bytes, arena, fields)
                .map_err(|error| unreadable("a Protobuf message", &error)),
        }
    }

    fn read_all<'a>(
        &self,
        bytes: &'a [u8],
        arena: &'a Bump,
    ) -> Result<&'a [(&'a str, Value<'a>)], ReadError> {
        match self {
            SchemaReader::Avro(reader) => reader
                .read_all(bytes, arena)
                .map_err(|error| unreadable("an Avro record", &error)),
            SchemaReader::Protobuf(reader) => reader
                .read_all(bytes, arena)
                .map_err(|error| unreadable("a Protobuf message", &error)),
        }
    }
}

fn unreadable(what: &str, error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Unreadable(format!("this is not {what} of its schema: {error}"))
}

impl EventReader {
    /// A reader of events of this format for the fields of a projection; where somebody keeps or sends
    /// rows, of whole events.
    ///
    /// # Panics
    /// When the format has a schema that is wrong, or neither a schema nor a registry; the checker
    /// finds that.
    pub fn new(
        format: &Format,
        projection: &Projection,
        keeps_events: bool,
        registries: &Arc<dyn Registries>,
    ) -> EventReader {
        let kind = match format {
            Format::Json => Kind::Json,
            Format::Text => Kind::Text,
            Format::Bytes => Kind::Bytes,
            Format::Schema(SchemaFormat {
                language: Language::Json,
                ..
            }) => Kind::NumberedJson,
            Format::Schema(SchemaFormat {
                registry: Some(url),
                language,
                schema,
                message,
                ..
            }) => Kind::Registered(Box::new(Registered {
                url: url.clone(),
                language: *language,
                reader: schema.clone(),
                message: message.clone(),
                registries: Arc::clone(registries),
                registry: None,
                known: HashMap::new(),
                unknown: HashMap::new(),
            })),
            Format::Schema(SchemaFormat { schema, .. }) => {
                let schema = schema.as_ref().expect("checked: a schema or a registry");
                let parsed = schema.parsed().expect("checked: a schema that is one");
                Kind::One(SchemaReader::of(parsed, projection))
            }
        };
        EventReader {
            kind,
            projection: projection.clone(),
            keeps_events,
        }
    }

    /// Fills the slots of the projection among `fields`; those whose path is not there become
    /// [`Value::Missing`]. `now` is the wall-clock time.
    ///
    /// # Errors
    /// When the bytes are not of the format, or its schema cannot be had. The fields are then
    /// unspecified.
    pub fn read<'a>(
        &mut self,
        bytes: &'a [u8],
        arena: &'a Bump,
        fields: &mut [Value<'a>],
        now: Timestamp,
    ) -> Result<Event<'a>, ReadError> {
        let projection = &self.projection;
        let (reader, message) = match &mut self.kind {
            Kind::Json => {
                decode_json(bytes, projection, arena, fields)
                    .map_err(|error| ReadError::Unreadable(error.to_string()))?;
                return Ok(Event::Json(bytes));
            }
            Kind::NumberedJson => {
                // It is not asked for: JSON says itself what it is.
                let (_, json) = registry::split(bytes).map_err(ReadError::Unreadable)?;
                decode_json(json, projection, arena, fields)
                    .map_err(|error| ReadError::Unreadable(error.to_string()))?;
                let all = match self.keeps_events {
                    true => {
                        let object = serde_json::from_slice(json);
                        let object = object.map_err(|e| ReadError::Unreadable(e.to_string()))?;
                        entries(&object, arena)
                    }
                    false => &[],
                };
                return Ok(Event::Typed { bytes, fields: all });
            }
            Kind::Text => {
                let text = std::str::from_utf8(bytes).map_err(|_| {
                    let found = "expected a text in UTF-8, found other bytes";
                    ReadError::Unreadable(found.to_owned())
                })?;
                let event = Event::Text(text);
                event.read(projection, arena, fields);
                return Ok(event);
            }
            Kind::Bytes => {
                let event = Event::Bytes(bytes);
                event.read(projection, arena, fields);
                return Ok(event);
            }
            Kind::One(reader) => (&*reader, bytes),
            Kind::Registered(registered) => registered.reader_of(bytes, projection, now)?,
        };
        if self.keeps_events {
            let all = reader.read_all(message, arena)?;
            projection.pick(all, fields);
            return Ok(Event::Typed { bytes, fields: all });
        }
        projection.pick(&[], fields);
        reader.read(message, arena, fields)?;
        Ok(Event::Typed { bytes, fields: &[] })
    }
}

/// Reads what schemas of a registry explain.
struct Registered {
    url: String,
    language: Language,
    /// The schema that was given: what is made of records, whatever they were written with.
    reader: Option<Schema>,
    /// The message that was given, if records are to be no other ones.
    message: Option<String>,
    registries: Arc<dyn Registries>,
    registry: Option<Arc<dyn SchemaRegistry>>,
    known: HashMap<u32, Known>,
    /// When it was asked for those that the registry does not have.
    unknown: HashMap<u32, Timestamp>,
}

impl Registered {
    /// The reader for a record, and its part of the bytes.
    fn reader_of<'a>(
        &mut self,
        bytes: &'a [u8],
        projection: &Projection,
        now: Timestamp,
    ) -> Result<(&SchemaReader, &'a [u8]), ReadError> {
        let (id, rest) = registry::split(bytes).map_err(ReadError::Unreadable)?;
        let (path, message) = match self.language {
            Language::Avro | Language::Json => (MessagePath::new(), rest),
            Language::Protobuf => {
                registry::take_message_path(rest).map_err(ReadError::Unreadable)?
            }
        };
        if !self.known.contains_key(&id) {
            let schema = self.ask(id, now)?;
            let known = self.known(&schema, projection);
            if self.known.len() >= KNOWN_SCHEMAS {
                self.known.clear();
            }
            self.known.insert(id, known);
        }
        let known = self.known.get_mut(&id).expect("just inserted");
        let reader = known.reader(&path, projection).map_err(|reason| {
            ReadError::Unreadable(format!("schema {id} of the registry: {reason}"))
        })?;
        Ok((reader, message))
    }

    fn ask(&mut self, id: u32, now: Timestamp) -> Result<Arc<RegisteredSchema>, ReadError> {
        let unknown = || ReadError::Unreadable(RegistryError::Unknown { id }.to_string());
        let asked = self.unknown.get(&id);
        if asked.is_some_and(|asked| now < asked.plus_millis(ASK_AGAIN_MS)) {
            return Err(unknown());
        }
        if self.registry.is_none() {
            let opened = self.registries.open(&self.url);
            self.registry = Some(opened.map_err(ReadError::Registry)?);
        }
        let registry = self.registry.as_ref().expect("just opened");
        match registry.schema(id) {
            Ok(schema) => Ok(schema),
            Err(RegistryError::Unknown { .. }) => {
                if self.unknown.len() >= UNKNOWN_NUMBERS {
                    self.unknown.clear();
                }
                self.unknown.insert(id, now);
                Err(unknown())
            }
            Err(error) => Err(ReadError::Registry(error)),
        }
    }

    /// What can be read with a schema.
    fn known(&self, schema: &RegisteredSchema, projection: &Projection) -> Known {
        if schema.known_language() != Some(self.language) {
            let (found, wanted) = (&schema.language, self.language.registry_word());
            return Known::Nothing(format!("expected one of {wanted}, found {found}"));
        }
        let known = match self.language {
            Language::Avro => self.avro(schema, projection),
            Language::Protobuf => self.protobuf(schema).map(Known::Messages),
            Language::Json => unreachable!("JSON needs no schema to be read"),
        };
        known.unwrap_or_else(Known::Nothing)
    }

    fn avro(&self, schema: &RegisteredSchema, projection: &Projection) -> Result<Known, String> {
        let written = avro::parse(&schema.text, &schema.references)?;
        let layout = match self.reader.as_ref().and_then(Schema::parsed) {
            Some(Parsed::Avro(reader)) => avro::resolve(&written, reader)?,
            _ => written,
        };
        let reader = AvroReader::new(layout, projection);
        Ok(Known::Records(SchemaReader::Avro(reader)))
    }

    fn protobuf(&self, schema: &RegisteredSchema) -> Result<Messages, String> {
        let file = protobuf::parse("schema.proto", &schema.text, &schema.references, None)?;
        let (layout, wanted) = match self.reader.as_ref().and_then(Schema::parsed) {
            // Numbers tell what a field is, so a reader's schema needs no more than itself.
            Some(Parsed::Protobuf { layout, message }) => {
                (Some(layout.clone()), Some(message.full_name().to_owned()))
            }
            _ => (None, self.message.clone()),
        };
        Ok(Messages {
            file,
            layout,
            wanted,
            readers: HashMap::new(),
        })
    }
}

/// What is known of a schema of the registry.
enum Known {
    /// Why no record of it can be read.
    Nothing(String),
    /// How all of its records are read.
    Records(SchemaReader),
    Messages(Messages),
}

/// The messages of a `.proto` file.
struct Messages {
    file: FileDescriptor,
    /// The reader's, if it has one.
    layout: Option<protobuf::Layout>,
    /// The name of the only message that is read, if there is one.
    wanted: Option<String>,
    /// Of messages that the file has, and no others: records may name any.
    readers: HashMap<MessagePath, Result<SchemaReader, String>>,
}

impl Known {
    /// The reader of a record; of an Avro record the path means nothing.
    fn reader(
        &mut self,
        path: &MessagePath,
        projection: &Projection,
    ) -> Result<&SchemaReader, String> {
        match self {
            Known::Nothing(reason) => Err(reason.clone()),
            Known::Records(reader) => Ok(reader),
            Known::Messages(messages) => messages.reader(path, projection),
        }
    }
}

impl Messages {
    fn reader(
        &mut self,
        path: &MessagePath,
        projection: &Projection,
    ) -> Result<&SchemaReader, String> {
        if !self.readers.contains_key(path) {
            let message = protobuf::message_at(&self.file, path)
                .ok_or_else(|| format!("it has no message at {path:?}"))?;
            let reader = self.reader_of(&message, projection);
            self.readers.insert(path.clone(), reader);
        }
        self.readers[path].as_ref().map_err(String::clone)
    }

    fn reader_of(
        &self,
        message: &MessageDescriptor,
        projection: &Projection,
    ) -> Result<SchemaReader, String> {
        if let Some(wanted) = &self.wanted
            && protobuf::find_message(&self.file, Some(wanted)).as_ref() != Ok(message)
        {
            let found = message.full_name();
            return Err(format!("expected the message {wanted}, found {found}"));
        }
        let layout = self.layout.clone();
        let layout = layout.unwrap_or_else(|| protobuf::Layout::of(message));
        let reader = ProtobufReader::new(layout, projection);
        Ok(SchemaReader::Protobuf(reader))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::MemoryRegistry;
    use super::*;
    use crate::value::{FieldPath, Slot};

    /// A registry that counts how often it is asked for a schema.
    #[derive(Clone, Default)]
    struct Counting {
        inner: MemoryRegistry,
        asked: Arc<AtomicUsize>,
    }

    impl SchemaRegistry for Counting {
        fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>, RegistryError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.inner.schema(id)
        }

        fn latest(&self, subject: &str) -> Result<(u32, Arc<RegisteredSchema>), RegistryError> {
            self.inner.latest(subject)
        }

        fn register(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
            self.inner.register(subject, schema)
        }

        fn find(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
            self.inner.find(subject, schema)
        }
    }

    impl Registries for Counting {
        fn open(&self, _: &str) -> Result<Arc<dyn SchemaRegistry>, RegistryError> {
            Ok(Arc::new(self.clone()))
        }
    }

    fn reader(language: Language, registry: &Counting) -> EventReader {
        let field = FieldPath::new("x");
        let projection = Projection::new([(&field, Slot(0))]);
        let registries: Arc<dyn Registries> = Arc::new(registry.clone());
        let format = Format::registered(language, "http://r");
        EventReader::new(&format, &projection, false, &registries)
    }

    /// What stands in the field `x`.
    fn read(reader: &mut EventReader, bytes: &[u8]) -> Result<String, String> {
        let arena = Bump::new();
        let mut fields = [Value::Missing];
        let read = reader.read(bytes, &arena, &mut fields, Timestamp(0));
        match read {
            Ok(_) => Ok(format!("{:?}", fields[0])),
            Err(ReadError::Unreadable(reason)) => Err(reason),
            Err(ReadError::Registry(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_schema_is_asked_for_once_whatever_messages_records_name() {
        let registry = Counting::default();
        let file = "syntax = \"proto3\"; message A { int32 x = 1; } message B { int64 x = 2; }";
        let schema = Schema::protobuf(file, Some("A"));
        registry.register("s", &schema).unwrap();
        let mut reader = reader(Language::Protobuf, &registry);
        let record = |path: &[usize], message: &[u8]| {
            let mut bytes = Vec::new();
            registry::push_id(1, &mut bytes);
            registry::push_message_path(path, &mut bytes);
            bytes.extend_from_slice(message);
            bytes
        };
        assert_eq!(
            read(&mut reader, &record(&[0], &[8, 5])),
            Ok("Int(5)".to_owned())
        );
        assert_eq!(
            read(&mut reader, &record(&[1], &[16, 7])),
            Ok("Int(7)".to_owned())
        );
        for garbage in 2..1_000 {
            let error = read(&mut reader, &record(&[garbage], &[])).unwrap_err();
            let expected = format!("schema 1 of the registry: it has no message at [{garbage}]");
            assert_eq!(error, expected);
        }
        assert_eq!(registry.asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn so_many_schemas_are_remembered_and_no_more() {
        let registry = Counting::default();
        for number in 0..KNOWN_SCHEMAS + 2 {
            let schema = format!(
                r#"{{"type": "record", "name": "R{number}", "fields": [{{"name": "x", "type": "int"}}]}}"#
            );
            registry.register("s", &Schema::avro(&schema)).unwrap();
        }
        let mut reader = reader(Language::Avro, &registry);
        for id in 1..KNOWN_SCHEMAS as u32 + 3 {
            let mut bytes = Vec::new();
            registry::push_id(id, &mut bytes);
            bytes.push(10);
            assert_eq!(read(&mut reader, &bytes), Ok("Int(5)".to_owned()));
        }
        let Kind::Registered(registered) = &reader.kind else {
            unreachable!("just made")
        };
        assert!(registered.known.len() <= KNOWN_SCHEMAS);
    }
}
