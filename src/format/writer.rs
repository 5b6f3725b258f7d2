//! From fields to the bytes of a record that a schema explains.

use std::sync::Arc;

use super::avro;
use super::json::of_entries;
use super::protobuf;
use super::registry::{
    self, MessagePath, RegisteredSchema, Registries, RegistryError, SchemaRegistry,
};
use super::schema::{Language, Parsed, Schema};
use super::{SchemaFormat, Unfit};
use crate::value::Value;

/// A record cannot be written.
#[derive(Debug)]
pub enum WriteError {
    /// A field is not what the schema says.
    Unfit(Unfit),
    /// The registry did not give the schema or its number.
    Registry(RegistryError),
}

/// Writes the records of one sink.
pub struct EventWriter {
    format: SchemaFormat,
    subject: String,
    registries: Arc<dyn Registries>,
    /// What is written, once it is known.
    target: Option<Target>,
    buffer: Vec<u8>,
}

struct Target {
    layout: Layout,
    /// What stands in front of each record.
    head: Vec<u8>,
}

enum Layout {
    Avro(avro::Layout),
    Protobuf(protobuf::Layout),
    Json,
}

impl EventWriter {
    /// A writer of records for a topic.
    pub fn new(
        format: &SchemaFormat,
        topic: &str,
        registries: &Arc<dyn Registries>,
    ) -> EventWriter {
        let subject = format.subject.clone();
        EventWriter {
            format: format.clone(),
            subject: subject.unwrap_or_else(|| format!("{topic}-value")),
            registries: Arc::clone(registries),
            target: None,
            buffer: Vec::new(),
        }
    }

    /// Asks the registry, if there is one, for what has to be known before the first record.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn open(&mut self) -> Result<(), RegistryError> {
        if self.target.is_none() {
            self.target = Some(self.find_target()?);
        }
        Ok(())
    }

    /// The bytes of a record with these fields.
    ///
    /// # Errors
    /// When the fields do not fit the schema, or that cannot be had.
    pub fn write(&mut self, fields: &[(&str, Value<'_>)]) -> Result<&[u8], WriteError> {
        self.open().map_err(WriteError::Registry)?;
        let Target { layout, head } = self.target.as_ref().expect("just opened");
        self.buffer.clear();
        self.buffer.extend_from_slice(head);
        let written = layout.write(fields, &mut self.buffer);
        written.map_err(WriteError::Unfit)?;
        Ok(&self.buffer)
    }

    fn find_target(&self) -> Result<Target, RegistryError> {
        let given = self.format.schema.as_ref();
        let Some(url) = &self.format.registry else {
            let schema = given.expect("checked: a schema or a registry");
            return Ok(Target {
                layout: layout_of(schema).0,
                head: Vec::new(),
            });
        };
        let registry = self.registries.open(url)?;
        let (id, layout, path) = match given {
            Some(schema) => {
                let id = match self.format.registers {
                    true => registry.register(&self.subject, schema)?,
                    false => registry.find(&self.subject, schema)?,
                };
                let (layout, path) = layout_of(schema);
                (id, layout, path)
            }
            None => self.latest(url, &*registry)?,
        };
        let mut head = Vec::new();
        registry::push_id(id, &mut head);
        if self.format.language == Language::Protobuf {
            registry::push_message_path(&path, &mut head);
        }
        Ok(Target { layout, head })
    }

    /// The newest schema of the subject.
    fn latest(
        &self,
        url: &str,
        registry: &dyn SchemaRegistry,
    ) -> Result<(u32, Layout, MessagePath), RegistryError> {
        let (id, schema) = registry.latest(&self.subject)?;
        let refused = |reason: String| RegistryError::Refused {
            url: url.to_owned(),
            reason: format!("schema {id} of {}: {reason}", self.subject),
        };
        let (layout, path) = self.registered(&schema).map_err(refused)?;
        Ok((id, layout, path))
    }

    fn registered(&self, schema: &RegisteredSchema) -> Result<(Layout, MessagePath), String> {
        let language = self.format.language;
        if schema.known_language() != Some(language) {
            let (found, wanted) = (&schema.language, language.registry_word());
            return Err(format!("expected one of {wanted}, found {found}"));
        }
        match language {
            Language::Avro => {
                let layout = avro::parse(&schema.text, &schema.references)?;
                Ok((Layout::Avro(layout), MessagePath::new()))
            }
            Language::Json => Ok((Layout::Json, MessagePath::new())),
            Language::Protobuf => {
                let file = protobuf::parse("schema.proto", &schema.text, &schema.references, None)?;
                let message = protobuf::find_message(&file, self.format.message.as_deref())?;
                let path = protobuf::message_path(&message).into();
                Ok((Layout::Protobuf(protobuf::Layout::of(&message)), path))
            }
        }
    }
}

impl Layout {
    fn write(&self, fields: &[(&str, Value<'_>)], out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Layout::Avro(layout) => avro::write(layout, fields, out),
            Layout::Protobuf(layout) => protobuf::write(layout, fields, out),
            Layout::Json => {
                let json = of_entries(fields);
                serde_json::to_writer(out, &json).expect("a Vec takes everything");
                Ok(())
            }
        }
    }
}

impl Schema {
    /// Whether a record can have these fields; any where the schema is wrong.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn hold(&self, fields: &[(&str, Value<'_>)]) -> Result<(), Unfit> {
        match self.parsed() {
            Some(_) => layout_of(self).0.write(fields, &mut Vec::new()),
            None => Ok(()),
        }
    }
}

fn layout_of(schema: &Schema) -> (Layout, MessagePath) {
    match schema.parsed().expect("checked: a schema that is one") {
        Parsed::Avro(layout) => (Layout::Avro(layout.clone()), MessagePath::new()),
        Parsed::Json => (Layout::Json, MessagePath::new()),
        Parsed::Protobuf { layout, message } => {
            let path = protobuf::message_path(message).into();
            (Layout::Protobuf(layout.clone()), path)
        }
    }
}
