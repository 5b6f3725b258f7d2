//! The headers of a record on its way through a task: names and values one behind the other in bytes,
//! so that records with headers can wait in a buffer and be copied as a whole.
//!
//! They are packed for those inputs only whose headers somebody asks for.

use std::borrow::Cow;
use std::fmt;

/// How long a name or a value is stands in front of it in so many bytes.
const LENGTH_BYTES: usize = 4;

/// The headers of a record, in the order in which they were written; a name may occur several times.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PackedHeaders<'a>(&'a [u8]);

impl<'a> PackedHeaders<'a> {
    /// A record without headers, or one whose headers nobody has asked for.
    pub const NONE: PackedHeaders<'static> = PackedHeaders(&[]);

    /// What [`PackedHeaders::pack`] has appended.
    pub fn of(packed: &'a [u8]) -> PackedHeaders<'a> {
        PackedHeaders(packed)
    }

    /// Appends headers to a buffer.
    ///
    /// # Panics
    /// When a name or value has more than 4 GiB: no log takes such a record.
    pub fn pack<'h>(headers: impl Iterator<Item = (Cow<'h, str>, &'h [u8])>, out: &mut Vec<u8>) {
        let mut push = |part: &[u8]| {
            let length = u32::try_from(part.len()).expect("records are smaller than 4 GiB");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(part);
        };
        for (name, value) in headers {
            push(name.as_bytes());
            push(value);
        }
    }

    /// All names and values.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let name = take(&mut rest)?;
            let name = std::str::from_utf8(name).expect("packed from a text");
            Some((name, take(&mut rest)?))
        })
    }

    /// The value of the last header of that name, which is the one that counts in Kafka.
    pub fn last(self, name: &str) -> Option<&'a [u8]> {
        let found = self.iter().filter(|(known, _)| *known == name).last();
        found.map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// The part at the beginning of the bytes, which is taken away from there.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
    let (part, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
    *rest = behind;
    Some(part)
}

impl fmt::Debug for PackedHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(headers: &[(&str, &[u8])]) -> Vec<u8> {
        let mut packed = Vec::new();
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| (Cow::Borrowed(*name), *value));
        PackedHeaders::pack(headers, &mut packed);
        packed
    }

    #[test]
    fn headers_come_out_as_they_went_in() {
        let headers: [(&str, &[u8]); 4] = [("a", b"1"), ("", b""), ("ü", &[0, 255]), ("a", b"2")];
        let packed = pack(&headers);
        let found = PackedHeaders::of(&packed);
        assert_eq!(found.iter().collect::<Vec<_>>(), headers);
        assert!(PackedHeaders::NONE.is_empty() && !found.is_empty());
    }

    #[test]
    fn of_several_of_a_name_the_last_counts() {
        let packed = pack(&[("a", b"1"), ("b", b"x"), ("a", b"2")]);
        let found = PackedHeaders::of(&packed);
        assert_eq!(found.last("a"), Some(&b"2"[..]));
        assert_eq!(found.last("A"), None);
    }
}
