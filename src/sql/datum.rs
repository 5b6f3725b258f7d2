//! Values on their way to and from the driver.
//!
//! Cells are bound as they are; a result's values come back as [`Datum`]s by the type that the
//! database gives them, whatever was asked for.

use std::fmt::Write as _;

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::mysql::types::MySqlTime;
use sqlx::mysql::{MySqlArguments, MySqlRow, MySqlTypeInfo};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, MySql, Row as _, Type, TypeInfo as _, ValueRef as _};

use super::dialect::Dialect;
use super::rows::Cell;
use crate::time::Timestamp;

/// A value of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum {
    Null,
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// In UTC, as far as the database knows.
    Time(jiff::civil::DateTime),
}

/// A time, bound as a text that MySQL reads as DATETIME.
struct ServerTime(jiff::civil::DateTime);

impl Type<MySql> for ServerTime {
    fn type_info() -> MySqlTypeInfo {
        <str as Type<MySql>>::type_info()
    }
}

impl Encode<'_, MySql> for ServerTime {
    fn encode_by_ref(&self, buffer: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
        let mut text = ShortText::default();
        Dialect::MySql.write_time(self.0, &mut text);
        <&str as Encode<'_, MySql>>::encode_by_ref(&text.as_str(), buffer)
    }
}

/// A text of up to 32 bytes without an allocation.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 32],
    len: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).expect("only whole texts are appended")
    }
}

impl std::fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// The calendar time of a timestamp in UTC; none outside the years 1 to 9999.
pub(super) fn calendar(time: Timestamp) -> Option<jiff::civil::DateTime> {
    let time = jiff::Timestamp::from_millisecond(time.millis()).ok()?;
    let time = jiff::tz::Offset::UTC.to_datetime(time);
    (1..=9999).contains(&time.year()).then_some(time)
}

fn out_of_calendar(time: Timestamp) -> sqlx::Error {
    sqlx::Error::Encode(format!("time {time} is outside the years 1 to 9999").into())
}

/// Cells as bound values.
pub(super) fn mysql_arguments<'a>(
    cells: impl IntoIterator<Item = Cell<'a>>,
) -> Result<MySqlArguments, sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for cell in cells {
        match cell {
            Cell::Null => arguments.add(None::<i64>),
            Cell::Bool(value) => arguments.add(value),
            Cell::Int(value) => arguments.add(value),
            Cell::Double(value) => arguments.add(value),
            Cell::Text(value) => arguments.add(value),
            Cell::Bytes(value) => arguments.add(value),
            Cell::Time(time) => arguments.add(ServerTime(
                calendar(time).ok_or_else(|| out_of_calendar(time))?,
            )),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Cells as bound values.
pub(super) fn sqlite_arguments<'a>(
    cells: impl IntoIterator<Item = Cell<'a>>,
) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for cell in cells {
        match cell {
            Cell::Null => arguments.add(None::<i64>),
            Cell::Bool(value) => arguments.add(value),
            Cell::Int(value) => arguments.add(value),
            Cell::Double(value) => arguments.add(value),
            Cell::Text(value) => arguments.add(value),
            Cell::Bytes(value) => arguments.add(value),
            Cell::Time(time) => {
                let mut text = String::new();
                let calendar = calendar(time).ok_or_else(|| out_of_calendar(time))?;
                Dialect::Sqlite.write_time(calendar, &mut text);
                arguments.add(text)
            }
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A row of a result.
pub(super) fn mysql_row(row: &MySqlRow) -> Result<Vec<Datum>, sqlx::Error> {
    (0..row.len())
        .map(|index| mysql_datum(row, index))
        .collect()
}

/// By the type that the server gives the column; what is unknown is text when it reads as such.
fn mysql_datum(row: &MySqlRow, index: usize) -> Result<Datum, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let kind = value.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            Datum::Int(row.try_get_unchecked(index)?)
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "YEAR" | "BIT" => {
            let number: u64 = row.try_get_unchecked(index)?;
            i64::try_from(number).map_or_else(|_| Datum::Text(number.to_string()), Datum::Int)
        }
        "FLOAT" => Datum::Double(f64::from(row.try_get_unchecked::<f32, _>(index)?)),
        "DOUBLE" => Datum::Double(row.try_get_unchecked(index)?),
        "DATETIME" | "TIMESTAMP" | "DATE" => {
            let bytes: &[u8] = row.try_get_unchecked(index)?;
            binary_time(bytes).map_or(Datum::Null, Datum::Time)
        }
        "TIME" => Datum::Text(row.try_get_unchecked::<MySqlTime, _>(index)?.to_string()),
        "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" | "GEOMETRY" => {
            Datum::Bytes(row.try_get_unchecked(index)?)
        }
        _ => match String::from_utf8(row.try_get_unchecked(index)?) {
            Ok(text) => Datum::Text(text),
            Err(bytes) => Datum::Bytes(bytes.into_bytes()),
        },
    })
}

/// A time of MySQL's binary protocol: its length, then year, month, day, and, unless they are
/// zero, hour, minute, second, and microseconds.
fn binary_time(bytes: &[u8]) -> Option<jiff::civil::DateTime> {
    let part = |index: usize| bytes.get(index).map_or(0, |&byte| byte as i8);
    let year = i16::from_le_bytes([*bytes.get(1)?, *bytes.get(2)?]);
    let micros = bytes.get(8..12).map_or(0, |bytes| {
        i32::from_le_bytes(bytes.try_into().expect("a slice of four bytes"))
    });
    jiff::civil::DateTime::new(
        year,
        part(3),
        part(4),
        part(5),
        part(6),
        part(7),
        micros * 1000,
    )
    .ok()
}

/// A row of a result.
pub(super) fn sqlite_row(row: &SqliteRow) -> Result<Vec<Datum>, sqlx::Error> {
    (0..row.len())
        .map(|index| sqlite_datum(row, index))
        .collect()
}

/// By the type of the value itself: a column of SQLite may hold any.
fn sqlite_datum(row: &SqliteRow, index: usize) -> Result<Datum, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let kind = value.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" | "BOOLEAN" => Datum::Int(row.try_get_unchecked(index)?),
        "REAL" => Datum::Double(row.try_get_unchecked(index)?),
        "BLOB" => Datum::Bytes(row.try_get_unchecked(index)?),
        _ => Datum::Text(row.try_get_unchecked(index)?),
    })
}

impl Datum {
    /// The memory that it takes, about.
    pub fn bytes(&self) -> usize {
        let owned = match self {
            Datum::Text(text) => text.len(),
            Datum::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        size_of::<Datum>() + owned
    }

    /// The number, if this is a whole one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Datum::Int(value) => Some(*value),
            Datum::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The text; bytes are read as UTF-8, with what is not shown as `\xNN`. Empty for NULL.
    pub fn into_text(self) -> String {
        match self {
            Datum::Null => String::new(),
            Datum::Int(value) => value.to_string(),
            Datum::Double(value) => value.to_string(),
            Datum::Text(text) => text,
            Datum::Bytes(bytes) => escaped(bytes),
            Datum::Time(time) => {
                let mut text = String::new();
                Dialect::Sqlite.write_time(time, &mut text);
                text
            }
        }
    }
}

/// Bytes as text: what is UTF-8 as it is, other bytes as `\xNN`.
pub(super) fn escaped(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = String::new();
        for chunk in error.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_time_of_any_length_is_read() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            let text = binary_time(bytes).map(|time| Datum::Time(time).into_text());
            assert_eq!(text.as_deref(), expected, "{bytes:?}");
        };
        check(&[4, 0xea, 7, 5, 5], Some("2026-05-05T00:00:00.000Z"));
        check(
            &[7, 0xea, 7, 5, 5, 11, 17, 40],
            Some("2026-05-05T11:17:40.000Z"),
        );
        check(
            &[11, 0xea, 7, 5, 5, 11, 17, 40, 0xf0, 0x8a, 0x0c, 0],
            Some("2026-05-05T11:17:40.822Z"),
        );
        check(&[0], None);
        check(&[4, 0, 0, 0, 0], None);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_escaped() {
        assert_eq!(escaped("Grüße 😀".as_bytes().to_vec()), "Grüße 😀");
        assert_eq!(escaped(vec![b'a', 0xff, b'b', 0xc3]), "a\\xffb\\xc3");
    }

    #[test]
    fn the_calendar_ends_where_datetime_does() {
        let at = |text| calendar(Timestamp::parse_rfc3339(text).unwrap());
        assert!(at("0001-01-01T00:00:00Z").is_some());
        assert!(at("9999-12-30T21:59:59.999Z").is_some());
        assert!(at("0000-12-31T23:59:59.999Z").is_none());
        assert!(calendar(Timestamp(i64::MAX)).is_none());
        assert!(calendar(Timestamp::MIN).is_none());
    }
}
