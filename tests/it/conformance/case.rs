//! The format of a recorded case.

use serde::Deserialize;
use serde_json::Value;

/// A case: an operator, what came in and what came out.
#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub family: String,
    #[serde(default)]
    pub tags: Vec<String>,
    pub operator: Operator,
    pub input: Vec<Step>,
    pub output: Vec<Output>,
    #[serde(default)]
    pub drops: Vec<Drop>,
    /// Absent when the operator keeps nothing of its own.
    pub store: Option<Vec<Stored>>,
}

impl Case {
    pub fn is_join(&self) -> bool {
        self.family.ends_with("-join")
    }
}

/// What is run; its parts are read where they are needed.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Operator {
    pub raw: Value,
}

impl Operator {
    pub fn text(&self, name: &str) -> &str {
        self.raw[name].as_str().unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Step {
    Record(Record),
    Advance { advance_wall_clock_ms: i64 },
}

#[derive(Deserialize)]
pub struct Record {
    pub topic: String,
    pub key: Option<String>,
    pub value: Value,
    pub timestamp_ms: i64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Output {
    pub after_input: usize,
    pub topic: String,
    pub key: Option<String>,
    pub window: Option<WindowOf>,
    pub value: Value,
    pub timestamp_ms: i64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowOf {
    pub start_ms: i64,
    pub end_ms: i64,
}

#[derive(Deserialize)]
pub struct Drop {
    pub reason: String,
    pub count: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Stored {
    pub key: Option<String>,
    pub window: Option<WindowOf>,
    pub value: Value,
    pub timestamp_ms: Option<i64>,
}
