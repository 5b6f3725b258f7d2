//! A row as bytes: in the store of a table, in its changelog, on its way to another partition.
//!
//! It describes itself: the [`Event`], if that holds the fields, and the names and values of
//! those that it does not hold. So a topology that asks for another field of the event tomorrow
//! finds it in what is kept today. A row of a join has the events of what was joined to it among its
//! fields, each under the name of the join with a dot behind, which no field can have; the stream time of
//! the partition that a row comes from is among them under a dot alone.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::Event;
use crate::codec::{
    self, Arena, BorrowDecode, BorrowDecoder, DecodeError, DecodeFailure, Encode, EncodeFailure,
    Encoder,
};
use crate::time::Timestamp;
use crate::value::Value;

/// Values inside one another deeper than this are damaged: no reader of events lets them in.
const MAX_DEPTH: u32 = 256;

/// The name of the time by which a row is judged, where that is not its own.
const JUDGED_BY: &str = ".";

/// A row that is kept or sent.
#[derive(Debug, PartialEq)]
pub struct StoredRow<'a> {
    time: Timestamp,
    event: Option<Event<'a>>,
    fields: &'a [(&'a str, Value<'a>)],
}

/// The event of a row that was joined to another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JoinedEvent<'a> {
    /// What the paths of its fields begin with, for example `user.`.
    pub prefix: &'a str,
    /// The event.
    pub event: Event<'a>,
}

impl<'a> JoinedEvent<'a> {
    /// How it is kept among the fields: JSON as bytes, and the other kinds as a list that begins with
    /// bytes.
    pub fn field(self, arena: &'a Bump) -> (&'a str, Value<'a>) {
        let value = match self.event {
            Event::Json(bytes) => Value::Bytes(bytes),
            Event::Text(text) => Value::Str(text),
            Event::Bytes(bytes) => Value::List(arena.alloc_slice_copy(&[Value::Bytes(bytes)])),
            Event::Typed { bytes, fields } => {
                let parts = [Value::Bytes(bytes), Value::Map(fields)];
                Value::List(arena.alloc_slice_copy(&parts))
            }
        };
        (self.prefix, value)
    }

    fn of_field((name, value): (&'a str, Value<'a>)) -> Option<JoinedEvent<'a>> {
        let event = match value {
            Value::Bytes(bytes) => Event::Json(bytes),
            Value::Str(text) => Event::Text(text),
            Value::List([Value::Bytes(bytes)]) => Event::Bytes(bytes),
            Value::List([Value::Bytes(bytes), Value::Map(fields)]) => {
                Event::Typed { bytes, fields }
            }
            _ => return None,
        };
        name.ends_with('.').then_some(JoinedEvent {
            prefix: name,
            event,
        })
    }
}

/// What is known of a key since the time of the row.
#[derive(Debug, PartialEq)]
pub enum RowChange<'a> {
    /// The key has no row; of the one that it had, these fields are known, as far as they are.
    Deleted(StoredRow<'a>),
    /// The key has this row.
    Row(StoredRow<'a>),
}

impl<'a> StoredRow<'a> {
    /// A row of this event time.
    pub fn new(
        time: Timestamp,
        event: Option<Event<'a>>,
        fields: &'a [(&'a str, Value<'a>)],
    ) -> StoredRow<'a> {
        StoredRow {
            time,
            event,
            fields,
        }
    }

    /// Its event time.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// By what stream time it is to be judged whether it comes late: its own, if nothing else is said.
    pub fn judged_by(&self) -> Timestamp {
        match self.fields.first() {
            Some((JUDGED_BY, Value::Time(time))) => *time,
            _ => self.time,
        }
    }

    /// How that is said: as the first of the fields.
    pub fn judged_by_field<'f>(time: Timestamp) -> (&'f str, Value<'f>) {
        (JUDGED_BY, Value::Time(time))
    }

    /// The event; none where it does not hold the row's fields.
    pub fn event(&self) -> Option<Event<'a>> {
        self.event
    }

    /// The fields that are not, or otherwise, in the events, by their dotted paths.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let fields = self.fields.iter().copied();
        fields.filter(|(name, _)| !name.ends_with('.'))
    }

    /// The events of what was joined to it.
    pub fn joined(&self) -> impl Iterator<Item = JoinedEvent<'a>> {
        let fields = self.fields.iter().copied();
        fields.filter_map(JoinedEvent::of_field)
    }

    /// Appends its bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        codec::encode_into(self, out);
    }

    /// Reads what [`StoredRow::encode_into`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged, or of another version.
    pub fn decode(bytes: &'a [u8], arena: &'a Bump) -> Result<StoredRow<'a>, DecodeError> {
        codec::decode_borrowed(bytes, arena)
    }
}

impl StoredRow<'_> {
    /// The event time, without reading the rest.
    ///
    /// # Errors
    /// As [`StoredRow::decode`], as far as that is seen.
    pub fn time_of(bytes: &[u8]) -> Result<Timestamp, DecodeError> {
        codec::decode_beginning(bytes).map(Timestamp)
    }
}

impl<'a> RowChange<'a> {
    /// Appends its bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        codec::encode_into(self, out);
    }

    /// Reads what [`RowChange::encode_into`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged, or of another version.
    pub fn decode(bytes: &'a [u8], arena: &'a Bump) -> Result<RowChange<'a>, DecodeError> {
        codec::decode_borrowed(bytes, arena)
    }

    /// The event time, without reading the rest.
    ///
    /// # Errors
    /// As [`RowChange::decode`], as far as that is seen.
    pub fn time_of(bytes: &[u8]) -> Result<Timestamp, DecodeError> {
        let (_, time): (u8, i64) = codec::decode_beginning(bytes)?;
        Ok(Timestamp(time))
    }
}

impl Encode for RowChange<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        match self {
            RowChange::Deleted(row) => {
                0u8.encode(encoder)?;
                row.encode(encoder)
            }
            RowChange::Row(row) => {
                1u8.encode(encoder)?;
                row.encode(encoder)
            }
        }
    }
}

impl<'a> BorrowDecode<'a, Arena<'a>> for RowChange<'a> {
    fn borrow_decode<D: BorrowDecoder<'a, Context = Arena<'a>>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeFailure> {
        match u8::borrow_decode(decoder)? {
            0 => Ok(RowChange::Deleted(StoredRow::borrow_decode(decoder)?)),
            1 => Ok(RowChange::Row(StoredRow::borrow_decode(decoder)?)),
            _ => Err(DecodeFailure::Other("a change of an unknown kind")),
        }
    }
}

impl Encode for StoredRow<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        self.time.0.encode(encoder)?;
        encode_event(self.event, encoder)?;
        encode_entries(self.fields, encoder)
    }
}

impl<'a> BorrowDecode<'a, Arena<'a>> for StoredRow<'a> {
    fn borrow_decode<D: BorrowDecoder<'a, Context = Arena<'a>>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeFailure> {
        Ok(StoredRow {
            time: Timestamp(i64::borrow_decode(decoder)?),
            event: decode_event(decoder)?,
            fields: decode_entries(decoder)?,
        })
    }
}

/// None and JSON as an optional text of bytes has them; the other kinds have numbers of their own.
fn encode_event<E: Encoder>(
    event: Option<Event<'_>>,
    encoder: &mut E,
) -> Result<(), EncodeFailure> {
    match event {
        None => 0u8.encode(encoder),
        Some(Event::Json(bytes)) => (1u8, bytes).encode(encoder),
        Some(Event::Text(text)) => (2u8, text).encode(encoder),
        Some(Event::Bytes(bytes)) => (3u8, bytes).encode(encoder),
        Some(Event::Typed { bytes, fields }) => {
            (4u8, bytes).encode(encoder)?;
            encode_entries(fields, encoder)
        }
    }
}

fn decode_event<'a, D: BorrowDecoder<'a, Context = Arena<'a>>>(
    decoder: &mut D,
) -> Result<Option<Event<'a>>, DecodeFailure> {
    Ok(match u8::borrow_decode(decoder)? {
        0 => None,
        1 => Some(Event::Json(<&[u8]>::borrow_decode(decoder)?)),
        2 => Some(Event::Text(<&str>::borrow_decode(decoder)?)),
        3 => Some(Event::Bytes(<&[u8]>::borrow_decode(decoder)?)),
        4 => Some(Event::Typed {
            bytes: <&[u8]>::borrow_decode(decoder)?,
            fields: decode_entries(decoder)?,
        }),
        _ => return Err(DecodeFailure::Other("an event of an unknown kind")),
    })
}

fn encode_entries<E: Encoder>(
    entries: &[(&str, Value<'_>)],
    encoder: &mut E,
) -> Result<(), EncodeFailure> {
    (entries.len() as u64).encode(encoder)?;
    entries.iter().try_for_each(|entry| entry.encode(encoder))
}

fn decode_entries<'a, D: BorrowDecoder<'a, Context = Arena<'a>>>(
    decoder: &mut D,
) -> Result<&'a [(&'a str, Value<'a>)], DecodeFailure> {
    decode_all(decoder, |decoder| {
        let name = <&str>::borrow_decode(decoder)?;
        Ok((name, Value::borrow_decode(decoder)?))
    })
}

/// As many of something as are announced. Room is made as they come: the number may be damaged.
fn decode_all<'a, T: 'a, D: BorrowDecoder<'a, Context = Arena<'a>>>(
    decoder: &mut D,
    mut one: impl FnMut(&mut D) -> Result<T, DecodeFailure>,
) -> Result<&'a [T], DecodeFailure> {
    let count = u64::borrow_decode(decoder)?;
    let mut all = ArenaVec::new_in(decoder.context().bump);
    for _ in 0..count {
        all.push(one(decoder)?);
    }
    Ok(all.into_bump_slice())
}

impl Encode for Value<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeFailure> {
        match self {
            Value::Missing => 0u8.encode(encoder),
            Value::Null => 1u8.encode(encoder),
            Value::Bool(false) => 2u8.encode(encoder),
            Value::Bool(true) => 3u8.encode(encoder),
            Value::Int(number) => (4u8, number).encode(encoder),
            Value::Float(number) => (5u8, number).encode(encoder),
            Value::Str(text) => (6u8, text).encode(encoder),
            Value::Bytes(bytes) => (7u8, bytes).encode(encoder),
            Value::Time(time) => (8u8, time.0).encode(encoder),
            Value::Duration(ms) => (9u8, ms).encode(encoder),
            Value::List(list) => {
                (10u8, list.len() as u64).encode(encoder)?;
                list.iter().try_for_each(|value| value.encode(encoder))
            }
            Value::Map(entries) => {
                11u8.encode(encoder)?;
                encode_entries(entries, encoder)
            }
        }
    }
}

impl<'a> BorrowDecode<'a, Arena<'a>> for Value<'a> {
    fn borrow_decode<D: BorrowDecoder<'a, Context = Arena<'a>>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeFailure> {
        Ok(match u8::borrow_decode(decoder)? {
            0 => Value::Missing,
            1 => Value::Null,
            2 => Value::Bool(false),
            3 => Value::Bool(true),
            4 => Value::Int(i64::borrow_decode(decoder)?),
            5 => Value::Float(f64::borrow_decode(decoder)?),
            6 => Value::Str(<&str>::borrow_decode(decoder)?),
            7 => Value::Bytes(<&[u8]>::borrow_decode(decoder)?),
            8 => Value::Time(Timestamp(i64::borrow_decode(decoder)?)),
            9 => Value::Duration(i64::borrow_decode(decoder)?),
            kind @ (10 | 11) => {
                decoder.context().depth += 1;
                if decoder.context().depth > MAX_DEPTH {
                    return Err(DecodeFailure::Other("values too deep inside one another"));
                }
                let value = match kind {
                    10 => Value::List(decode_all(decoder, Value::borrow_decode)?),
                    _ => Value::Map(decode_entries(decoder)?),
                };
                decoder.context().depth -= 1;
                value
            }
            _ => return Err(DecodeFailure::Other("a value of an unknown kind")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: Value<'static> = Value::List(&[
        Value::Map(&[("a", Value::Int(-1)), ("b", Value::Bytes(&[0, 255]))]),
        Value::List(&[]),
    ]);

    fn bytes(fields: &[(&str, Value<'_>)]) -> Vec<u8> {
        let mut out = Vec::new();
        StoredRow::new(Timestamp(7), Some(Event::Json(b"{}")), fields).encode_into(&mut out);
        out
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let fields = [
            ("missing", Value::Missing),
            ("null", Value::Null),
            ("no", Value::Bool(false)),
            ("yes", Value::Bool(true)),
            ("int", Value::Int(i64::MIN)),
            ("float", Value::Float(1.5)),
            ("a.b", Value::Str("ü")),
            ("time", Value::Time(Timestamp(-1))),
            ("length", Value::Duration(5)),
            ("nested", NESTED),
        ];
        let (bytes, arena) = (bytes(&fields), Bump::new());
        assert_eq!(StoredRow::time_of(&bytes).unwrap(), Timestamp(7));
        let row = StoredRow::decode(&bytes, &arena).unwrap();
        assert_eq!(
            row,
            StoredRow::new(Timestamp(7), Some(Event::Json(b"{}")), &fields)
        );
    }

    #[test]
    fn bytes_of_the_format_stay_as_they_are() {
        let fields = [("n", Value::Int(3)), ("l", Value::List(&[Value::Null]))];
        let expected = [1, 14, 1, 2, b'{', b'}', 2, 1, b'n', 4, 6, 1, b'l', 10, 1, 1];
        assert_eq!(bytes(&fields), expected);
    }

    #[test]
    fn a_change_tells_its_time_before_it_is_read() {
        let arena = Bump::new();
        let fields = [("n", Value::Int(3))];
        let row = || StoredRow::new(Timestamp(-9), None, &fields);
        for change in [RowChange::Row(row()), RowChange::Deleted(row())] {
            let mut bytes = Vec::new();
            change.encode_into(&mut bytes);
            assert_eq!(RowChange::time_of(&bytes).unwrap(), Timestamp(-9));
            let bytes = arena.alloc_slice_copy(&bytes);
            assert_eq!(RowChange::decode(bytes, &arena).unwrap(), change);
        }
        assert!(RowChange::time_of(&[1]).is_err());
        assert!(RowChange::decode(&[1, 2, 0], &arena).is_err());
    }

    #[test]
    fn bytes_of_changes_stay_as_they_are() {
        let mut bytes = Vec::new();
        let row = || StoredRow::new(Timestamp(7), None, &[]);
        RowChange::Deleted(row()).encode_into(&mut bytes);
        RowChange::Row(row()).encode_into(&mut bytes);
        assert_eq!(bytes, [1, 0, 14, 0, 0, 1, 1, 14, 0, 0]);
    }

    #[test]
    fn joined_events_are_told_from_fields() {
        let arena = Bump::new();
        for event in EVENTS {
            let prefix = "user.";
            let joined = JoinedEvent { prefix, event };
            let fields = [joined.field(&arena), ("n", Value::Int(3))];
            let row = StoredRow::new(Timestamp(7), None, &fields);
            assert_eq!(row.joined().collect::<Vec<_>>(), [joined]);
            assert_eq!(row.fields().collect::<Vec<_>>(), [("n", Value::Int(3))]);
        }
    }

    const EVENTS: [Event<'static>; 4] = [
        Event::Json(b"{}"),
        Event::Text("ü"),
        Event::Bytes(&[0, 255]),
        Event::Typed {
            bytes: &[2],
            fields: &[("n", Value::Int(1))],
        },
    ];

    #[test]
    fn events_of_all_formats_are_kept() {
        let mut all = Vec::new();
        for event in EVENTS {
            let arena = Bump::new();
            let mut bytes = Vec::new();
            StoredRow::new(Timestamp(7), Some(event), &[]).encode_into(&mut bytes);
            let bytes = arena.alloc_slice_copy(&bytes);
            let row = StoredRow::decode(bytes, &arena).unwrap();
            assert_eq!(row.event(), Some(event));
            all.push(bytes.to_vec());
        }
        assert_eq!(all[0], [1, 14, 1, 2, b'{', b'}', 0]);
        assert_eq!(all[1], [1, 14, 2, 2, 195, 188, 0]);
        assert_eq!(all[2], [1, 14, 3, 2, 0, 255, 0]);
        assert_eq!(all[3], [1, 14, 4, 1, 2, 1, 1, b'n', 4, 2, 0]);
    }

    #[test]
    fn damage_is_an_error_and_not_a_panic() {
        let (whole, arena) = (bytes(&[("nested", NESTED)]), Bump::new());
        for cut in 0..whole.len() {
            let cut = arena.alloc_slice_copy(&whole[..cut]);
            assert!(StoredRow::decode(cut, &arena).is_err());
        }
        let mut deep = bytes(&[("x", Value::Null)]);
        deep.pop();
        deep.extend([10, 1].repeat(100_000));
        deep.push(1);
        let error = StoredRow::decode(&deep, &arena).unwrap_err().to_string();
        assert!(error.contains("too deep"), "{error}");
    }
}
