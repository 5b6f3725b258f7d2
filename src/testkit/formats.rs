//! Values as tests write and read them, which is JSON, and as the records of a topology have them.

use bumpalo::Bump;
use serde_json::Value as Json;

use super::driver::{DriverError, TopologyTestDriver};
use crate::format::json::{entries, of_entries};
use crate::format::{EventReader, EventWriter, Format, Language, ReadError, WriteError};
use crate::record::{Event, Projection, WHOLE_VALUE};
use crate::topology::graph::{Node, NodeKind, NodeName};

impl TopologyTestDriver {
    /// A value as the records of a source topic have it: for a source with a schema in its binary
    /// encoding. A text or bytes are a JSON text, or the field `value` of an object.
    ///
    /// A source that leaves its schemas to a registry and has none of its own takes the newest one that
    /// the [registry](TopologyTestDriver::registry) has for `<topic>-value`.
    ///
    /// # Errors
    /// When the value does not fit the schema, or there is none.
    pub fn encode(&mut self, topic: &str, value: &Json) -> Result<Vec<u8>, DriverError> {
        let format = match self.source_format(topic) {
            Some(Format::Schema(format)) if format.language == Language::Json => {
                // Of whichever schema: nobody looks it up.
                let mut bytes = vec![0, 0, 0, 0, 1];
                bytes.extend_from_slice(value.to_string().as_bytes());
                return Ok(bytes);
            }
            Some(Format::Schema(format)) => format.clone(),
            Some(Format::Text | Format::Bytes) => return Ok(single(value)),
            Some(Format::Json) | None => return Ok(value.to_string().into_bytes()),
        };
        let registries = self.registries();
        let writer = self.writers.entry(topic.to_owned());
        let writer = writer.or_insert_with(|| EventWriter::new(&format, topic, &registries));
        let arena = Bump::new();
        match writer.write(entries(value, &arena)) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(WriteError::Unfit(unfit)) => Err(DriverError::Value(unfit.to_string())),
            Err(WriteError::Registry(error)) => Err(DriverError::Value(error.to_string())),
        }
    }

    /// The value of a record of a topic that Kafka sinks write, as JSON.
    ///
    /// # Errors
    /// When it is not what the sink's format says.
    pub fn decode(&self, topic: &str, value: &[u8]) -> Result<Json, DriverError> {
        let format = self.sink_format(topic);
        let registries = self.registries();
        let mut reader = EventReader::new(&format, &Projection::default(), true, &registries);
        let arena = Bump::new();
        let event = reader.read(value, &arena, &mut [], self.wall_clock());
        let unreadable = |reason: String| DriverError::Value(format!("topic {topic}: {reason}"));
        match event {
            Ok(Event::Json(bytes)) => {
                serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))
            }
            Ok(Event::Text(text)) => Ok(text.into()),
            Ok(Event::Bytes(bytes)) => Ok(String::from_utf8_lossy(bytes).into()),
            Ok(Event::Typed { fields, .. }) => Ok(of_entries(fields)),
            Err(ReadError::Unreadable(reason)) => Err(unreadable(reason)),
            Err(ReadError::Registry(error)) => Err(unreadable(error.to_string())),
        }
    }

    /// Whether the values of a source topic are explained by a schema.
    pub(super) fn has_schema(&self, topic: &str) -> bool {
        matches!(self.source_format(topic), Some(Format::Schema(_)))
    }

    fn source_format(&self, topic: &str) -> Option<&Format> {
        let mut nodes = self.topology.nodes.iter();
        nodes.find_map(|node| {
            let source = node.kind.source()?;
            let reads = source.topics.iter().any(|each| each == topic);
            reads.then_some(&source.format)
        })
    }

    /// The format of what the sinks of a topic write: their own, or that of what they pass on.
    fn sink_format(&self, topic: &str) -> Format {
        let mut nodes = self.topology.nodes.iter();
        let found = nodes.find_map(|node| match &node.kind {
            NodeKind::Kafka(sink) if sink.topic == topic => Some((node, sink)),
            _ => None,
        });
        match found {
            None => Format::Json,
            Some((_, sink)) if sink.format.is_some() || !sink.fields.is_empty() => {
                sink.format.clone().unwrap_or_default()
            }
            Some((node, _)) => self.format_before(node).unwrap_or_default(),
        }
    }

    /// The format of the events that come to a node; none where there are only results.
    fn format_before(&self, node: &Node) -> Option<Format> {
        let from: &NodeName = node.kind.inputs().first()?;
        let from = self.topology.node(from)?;
        match &from.kind {
            NodeKind::Source(source) => Some(source.format.clone()),
            NodeKind::Aggregate(_) => None,
            _ => self.format_before(from),
        }
    }
}

fn single(value: &Json) -> Vec<u8> {
    let value = match value {
        Json::Object(entries) => entries.get(WHOLE_VALUE).unwrap_or(value),
        value => value,
    };
    match value {
        Json::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}
