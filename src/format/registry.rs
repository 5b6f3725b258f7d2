//! Schema registries, as far as records need them, and how records name what is in one.
//!
//! ```text
//!   0 │ id, 4 bytes │ Avro: the record
//!   0 │ id, 4 bytes │ Protobuf: where the message stands in the file │ the message
//! ```
//!
//! What is in a registry under a number never changes, so it is asked for once. A registry that is
//! away is waited for; only what it says itself is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::schema::{Language, Schema};

/// A schema registry.
pub trait SchemaRegistry: Send + Sync {
    /// The schema of that number.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] when the registry says that there is none.
    fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>, RegistryError>;

    /// The newest schema of a subject, with its number.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when there is no such subject.
    fn latest(&self, subject: &str) -> Result<(u32, Arc<RegisteredSchema>), RegistryError>;

    /// The number of a schema in a subject; where it is not there, it is registered.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when the registry does not take it.
    fn register(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError>;

    /// The number of a schema that is in a subject.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when it is not.
    fn find(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError>;
}

/// Finds registries by their addresses.
pub trait Registries: Send + Sync {
    /// The registry at an address; the same one every time.
    ///
    /// # Errors
    /// When there can be none.
    fn open(&self, url: &str) -> Result<Arc<dyn SchemaRegistry>, RegistryError>;
}

/// A schema in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// Its language, as the registry has it: `AVRO`, `PROTOBUF` or `JSON`.
    pub language: String,
    /// Its text.
    pub text: String,
    /// The schemas that it names: by which name, and their texts; each after those that it names
    /// itself.
    pub references: Vec<(String, String)>,
}

/// A registry did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or cannot answer at the moment.
    #[error("the schema registry {url} is away: {reason}")]
    Away {
        /// Where it should be.
        url: String,
        /// What happened.
        reason: String,
    },
    /// It says that there is no such schema.
    #[error("the schema registry has no schema {id}")]
    Unknown {
        /// The number.
        id: u32,
    },
    /// It says no, and will go on saying so until somebody changes something.
    #[error("the schema registry {url} refuses: {reason}")]
    Refused {
        /// Where it is.
        url: String,
        /// What it says.
        reason: String,
    },
}

impl RegistryError {
    /// Whether it may be otherwise soon, without anybody's doing.
    pub fn is_away(&self) -> bool {
        matches!(self, RegistryError::Away { .. })
    }
}

/// The first byte of a record that names its schema.
const MAGIC: u8 = 0;

/// A record taken apart: the number of its schema, and what is behind it.
///
/// # Errors
/// What is there in place of the number.
pub(super) fn split(bytes: &[u8]) -> Result<(u32, &[u8]), String> {
    match bytes {
        [MAGIC, a, b, c, d, rest @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
        [MAGIC, ..] | [] => Err(format!(
            "expected the number of a schema, found {} bytes",
            bytes.len()
        )),
        [other, ..] => Err(format!(
            "expected the byte 0 in front of the number of a schema, found {other}"
        )),
    }
}

/// Appends the number of a schema.
pub(super) fn push_id(id: u32, out: &mut Vec<u8>) {
    out.push(MAGIC);
    out.extend_from_slice(&id.to_be_bytes());
}

/// The places of a message in its file.
pub(super) type MessagePath = SmallVec<[usize; 2]>;

/// Takes the places of a message away from the beginning of the bytes.
///
/// # Errors
/// When there are none.
pub(super) fn take_message_path(bytes: &[u8]) -> Result<(MessagePath, &[u8]), String> {
    let mut rest = bytes;
    let damaged = || "expected where the message stands in its file, found other bytes".to_owned();
    let mut number = || {
        let mut number = 0u64;
        for (at, byte) in rest.iter().take(5).enumerate() {
            number |= u64::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                rest = &rest[at + 1..];
                // Zigzag, of which only half is used.
                return (number & 1 == 0).then_some((number >> 1) as usize);
            }
        }
        None
    };
    let count = number().filter(|count| *count <= 64).ok_or_else(damaged)?;
    if count == 0 {
        return Ok((MessagePath::from_slice(&[0]), rest));
    }
    let mut path = MessagePath::new();
    for _ in 0..count {
        path.push(number().ok_or_else(damaged)?);
    }
    Ok((path, rest))
}

/// Appends the places of a message; of the first in the file, a single 0.
pub(super) fn push_message_path(path: &[usize], out: &mut Vec<u8>) {
    if path == [0] {
        return out.push(0);
    }
    for number in std::iter::once(path.len()).chain(path.iter().copied()) {
        let mut rest = (number as u64) << 1;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
}

/// A registry in memory, for tests. Clones share what is in it.
#[derive(Clone, Default)]
pub struct MemoryRegistry(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    /// Each under its number, counted from 1.
    schemas: Vec<Arc<RegisteredSchema>>,
    subjects: HashMap<String, Vec<u32>>,
    is_away: bool,
}

impl MemoryRegistry {
    /// A registry with nothing in it.
    pub fn new() -> MemoryRegistry {
        MemoryRegistry::default()
    }

    /// Whether it answers; it does at the beginning.
    pub fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Contents> {
        // Nothing is left half done in there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> Result<std::sync::MutexGuard<'_, Contents>, RegistryError> {
        let contents = self.lock();
        match contents.is_away {
            false => Ok(contents),
            true => Err(RegistryError::Away {
                url: "memory".to_owned(),
                reason: "it was told to be".to_owned(),
            }),
        }
    }
}

fn refused(reason: String) -> RegistryError {
    RegistryError::Refused {
        url: "memory".to_owned(),
        reason,
    }
}

impl SchemaRegistry for MemoryRegistry {
    fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>, RegistryError> {
        let contents = self.contents()?;
        let found = (id as usize).checked_sub(1);
        let found = found.and_then(|at| contents.schemas.get(at)).cloned();
        found.ok_or(RegistryError::Unknown { id })
    }

    fn latest(&self, subject: &str) -> Result<(u32, Arc<RegisteredSchema>), RegistryError> {
        let contents = self.contents()?;
        let id = contents.subjects.get(subject).and_then(|ids| ids.last());
        let id = *id.ok_or_else(|| refused(format!("there is no subject {subject}")))?;
        Ok((id, Arc::clone(&contents.schemas[id as usize - 1])))
    }

    fn register(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
        let mut contents = self.contents()?;
        let registered = RegisteredSchema {
            language: schema.language().registry_word().to_owned(),
            text: schema.text().to_owned(),
            references: Vec::new(),
        };
        let known = contents
            .schemas
            .iter()
            .position(|known| **known == registered);
        let at = known.unwrap_or_else(|| {
            contents.schemas.push(Arc::new(registered));
            contents.schemas.len() - 1
        });
        let id = at as u32 + 1;
        let ids = contents.subjects.entry(subject.to_owned()).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        Ok(id)
    }

    fn find(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
        let contents = self.contents()?;
        let ids = contents
            .subjects
            .get(subject)
            .map_or(&[][..], Vec::as_slice);
        let is_it = |id: &&u32| {
            let known = &contents.schemas[**id as usize - 1];
            known.text == schema.text()
        };
        let found = ids.iter().find(is_it).copied();
        found.ok_or_else(|| refused(format!("{subject} has no such schema")))
    }
}

/// The same registry at every address.
impl Registries for MemoryRegistry {
    fn open(&self, _: &str) -> Result<Arc<dyn SchemaRegistry>, RegistryError> {
        Ok(Arc::new(self.clone()))
    }
}

impl RegisteredSchema {
    /// Its language, if it is one of ours.
    pub fn known_language(&self) -> Option<Language> {
        let all = [Language::Avro, Language::Protobuf, Language::Json];
        all.into_iter()
            .find(|language| language.registry_word() == self.language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_its_schema_in_front() {
        let mut bytes = Vec::new();
        push_id(258, &mut bytes);
        bytes.push(7);
        assert_eq!(bytes, [0, 0, 0, 1, 2, 7]);
        assert_eq!(split(&bytes), Ok((258, &[7][..])));
        assert!(split(&[0, 0, 0, 1]).is_err() && split(&[]).is_err());
        let json = split(b"{}").unwrap_err();
        let expected = "expected the byte 0 in front of the number of a schema, found 123";
        assert_eq!(json, expected);
    }

    #[test]
    fn a_message_is_named_by_its_places() {
        #[track_caller]
        fn check(path: &[usize], expected: &[u8]) {
            let mut bytes = Vec::new();
            push_message_path(path, &mut bytes);
            assert_eq!(bytes, expected);
            bytes.push(9);
            let (found, rest) = take_message_path(&bytes).unwrap();
            assert_eq!((found.as_slice(), rest), (path, &[9][..]));
        }
        check(&[0], &[0]);
        check(&[1], &[2, 2]);
        check(&[0, 2], &[4, 0, 4]);
        check(&[100], &[2, 200, 1]);
        // The long form of the first message is one, too.
        assert_eq!(take_message_path(&[2, 0, 9]).unwrap().0.as_slice(), [0]);
        for damaged in [
            &[][..],
            &[2],
            &[1],
            &[200, 2],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 1],
        ] {
            assert!(take_message_path(damaged).is_err(), "{damaged:?}");
        }
    }
}
