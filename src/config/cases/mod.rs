//! The tests inside a topology file: what goes in, what is to come out.
//!
//! ```yaml
//! tests:
//!   - name: two orders of a shop are added up
//!     given:
//!       - { source: orders, value: { shop: a, price: 5, at: 2026-05-05T11:17:03Z } }
//!       - { advance: 1m }
//!       - { source: orders, value: { shop: a, price: 2, at: 2026-05-05T11:17:07Z } }
//!     expect:
//!       tables: { sales: [{ shop: a, sum: 7 }] }
//! ```
//!
//! Here they are read and held against the topology, so that a test never names what is not there;
//! [`testkit`](crate::testkit) plays them. `docs/TOPOLOGY.md`, "tests", is their reference.

mod read;
mod expect;
mod subjects;
mod fit;

use serde_json::{Map, Value as Json};

use crate::time::Timestamp;
use crate::topology::drop_reason::DropReason;

pub(super) use expect::{read_expectation, read_record};
pub(super) use read::{Reading, read, read_case, read_step};
pub(super) use subjects::Subjects;

/// A test of a topology.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// Where the wall clock stands at the beginning, if it says so.
    pub start: Option<Timestamp>,
    /// The numbers of partitions with which it is to be played; empty: the usual ones.
    pub partitions: Vec<u32>,
    /// What of an expected object is compared.
    pub compare: Compare,
    /// What happens, in this order.
    pub given: Vec<Step>,
    /// What is to be there when all of it has come through.
    pub expect: Expectation,
}

/// What of an expected object is compared with what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compare {
    /// The fields that it names, at every depth.
    #[default]
    Named,
    /// All: a field that it does not name is missing or null.
    Whole,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A record is written to a source topic.
    Record(GivenRecord),
    /// So many milliseconds go by.
    Advance(i64),
}

/// A record that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenRecord {
    /// The topic.
    pub topic: String,
    /// The key, if there is one.
    pub key: Option<String>,
    /// The value, as JSON or as it is; none is a tombstone.
    pub value: Option<GivenValue>,
    /// Names and values of headers.
    pub headers: Vec<(String, String)>,
    /// The time; none: the wall clock's.
    pub time: Option<Timestamp>,
    /// The partition; none: by the key.
    pub partition: Option<i32>,
}

/// The value of a record that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenValue {
    /// What the source's format makes of it.
    Event(Json),
    /// As it is.
    Raw(String),
}

/// What is to be there at the end. What it does not name is not looked at, but for drops: of those there
/// are only the ones that it names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    /// The records of topics.
    pub topics: Vec<(String, Vec<ExpectedRecord>)>,
    /// The rows of SQL tables.
    pub tables: Vec<(String, Vec<ExpectedRow>)>,
    /// What aggregates hold.
    pub aggregates: Vec<(String, Vec<ExpectedRow>)>,
    /// What tables of the topology hold.
    pub rows: Vec<(String, Vec<ExpectedRecord>)>,
    /// How many records nodes have dropped, and why.
    pub drops: Vec<(String, DropReason, u64)>,
}

/// A record that is to be there.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedRecord {
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// The key: any, none, or this one.
    pub key: Option<Option<String>>,
    /// The value: any, or this one (null: a tombstone).
    pub value: Option<Json>,
    /// Names and values of headers that it has, perhaps among others.
    pub headers: Vec<(String, String)>,
    /// The time, if it matters.
    pub time: Option<Timestamp>,
}

/// A row that is to be there.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedRow {
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// Columns or fields, times as the tables show them.
    pub fields: Map<String, Json>,
    /// Those that identify it, where it names them all; else empty.
    pub key: Vec<String>,
}
