//! Which of the things that were found is which of those that were expected.
//!
//! Where an expected thing has an identity (the key of a record, all key columns of a row), the first of
//! them is held against the first that was found under it, the second against the second. Between
//! identities there is no order: partitions have none. What has no identity is matched with whatever
//! else was found that fits, so that as many as can be are.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value as Json;

use super::values::Difference;
use super::ways::Run;
use crate::topology::drop_reason::DropReason;

/// One thing that is not as it was expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// It is there, and is another.
    Differs {
        /// The line of what was expected.
        line: usize,
        /// What it is known by; none: it is the nearest that there is.
        identity: Option<String>,
        /// In what.
        differences: Vec<Difference>,
    },
    /// It is not there.
    Missing {
        /// The line of what was expected.
        line: usize,
        /// What it is known by.
        identity: Option<String>,
        /// What was expected.
        expected: Json,
    },
    /// It is there, and should not be.
    Unexpected {
        /// What was found.
        found: Json,
    },
    /// More or fewer records were dropped.
    Drops {
        /// The node.
        node: String,
        /// Why.
        reason: DropReason,
        /// How many were expected.
        expected: u64,
        /// How many there were.
        found: u64,
        /// What dead letters say.
        messages: Vec<String>,
    },
    /// It is another than in an earlier run.
    Disagrees {
        /// In that one.
        with: Run,
        /// What it is known by.
        identity: String,
        /// In what; what was expected is what that run has made.
        differences: Vec<Difference>,
    },
    /// The topology could not go on.
    Ended(String),
}

/// A thing that is expected.
pub(super) struct Expected {
    pub line: usize,
    pub identity: Option<String>,
    pub content: Json,
}

/// A thing that was found.
pub(super) struct Found {
    pub identity: String,
    pub content: Json,
}

/// Everything in which what was found differs from what was expected.
pub(super) fn match_all(
    expected: &[Expected],
    found: &[Found],
    differ: impl Fn(&Json, &Json) -> Vec<Difference>,
) -> Vec<Problem> {
    let mut matching = Matching {
        expected,
        found,
        is_taken: vec![false; found.len()],
        problems: Vec::new(),
        differ,
    };
    matching.by_identity();
    matching.by_content();
    matching.rest();
    matching.problems
}

struct Matching<'a, D> {
    expected: &'a [Expected],
    found: &'a [Found],
    is_taken: Vec<bool>,
    problems: Vec<Problem>,
    differ: D,
}

impl<D: Fn(&Json, &Json) -> Vec<Difference>> Matching<'_, D> {
    fn by_identity(&mut self) {
        let mut queues: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
        for (at, found) in self.found.iter().enumerate() {
            queues.entry(&found.identity).or_default().push_back(at);
        }
        for expected in self.expected {
            let Some(identity) = &expected.identity else {
                continue;
            };
            let next = queues.get_mut(identity.as_str());
            match next.and_then(VecDeque::pop_front) {
                Some(at) => {
                    self.is_taken[at] = true;
                    self.compare(expected, at);
                }
                None => self.problems.push(missing(expected)),
            }
        }
    }

    /// As many pairs as there can be, by augmenting paths.
    fn by_content(&mut self) {
        let all = self.expected.iter();
        let expected: Vec<&Expected> = all.filter(|one| one.identity.is_none()).collect();
        let fits: Vec<Vec<usize>> = expected
            .iter()
            .map(|expected| {
                let free = (0..self.found.len()).filter(|at| !self.is_taken[*at]);
                let fit = free.filter(|at| {
                    (self.differ)(&expected.content, &self.found[*at].content).is_empty()
                });
                fit.collect()
            })
            .collect();
        let mut taken_by: Vec<Option<usize>> = vec![None; self.found.len()];
        for at in 0..expected.len() {
            let mut seen = vec![false; self.found.len()];
            augment(at, &fits, &mut taken_by, &mut seen);
        }
        let is_matched = |at: usize| taken_by.contains(&Some(at));
        let left: Vec<&Expected> = (0..expected.len())
            .filter(|at| !is_matched(*at))
            .map(|at| expected[at])
            .collect();
        for (at, taker) in taken_by.iter().enumerate() {
            self.is_taken[at] |= taker.is_some();
        }
        for expected in left {
            self.nearest(expected);
        }
    }

    /// Shows an expected thing beside the one that is most like it, if any is.
    fn nearest(&mut self, expected: &Expected) {
        let free = (0..self.found.len()).filter(|at| !self.is_taken[*at]);
        let distance =
            |at: &usize| (self.differ)(&expected.content, &self.found[*at].content).len();
        let nearest = free.min_by_key(distance);
        let fields = expected.content.as_object().map_or(1, serde_json::Map::len);
        match nearest.filter(|at| distance(at) < fields) {
            Some(at) => {
                self.is_taken[at] = true;
                self.compare(expected, at);
            }
            None => self.problems.push(missing(expected)),
        }
    }

    fn compare(&mut self, expected: &Expected, at: usize) {
        let differences = (self.differ)(&expected.content, &self.found[at].content);
        if !differences.is_empty() {
            self.problems.push(Problem::Differs {
                line: expected.line,
                identity: expected.identity.clone(),
                differences,
            });
        }
    }

    fn rest(&mut self) {
        let rest = self.found.iter().zip(&self.is_taken);
        let rest = rest.filter(|(_, is_taken)| !**is_taken);
        self.problems
            .extend(rest.map(|(found, _)| Problem::Unexpected {
                found: found.content.clone(),
            }));
    }
}

fn missing(expected: &Expected) -> Problem {
    Problem::Missing {
        line: expected.line,
        identity: expected.identity.clone(),
        expected: expected.content.clone(),
    }
}

fn augment(
    expected: usize,
    fits: &[Vec<usize>],
    taken_by: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for &found in &fits[expected] {
        if std::mem::replace(&mut seen[found], true) {
            continue;
        }
        let is_free = match taken_by[found] {
            None => true,
            Some(other) => augment(other, fits, taken_by, seen),
        };
        if is_free {
            taken_by[found] = Some(expected);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::cases::Compare;
    use crate::testkit::cases::values::Comparison;

    /// The problems of expected against found things, in short.
    fn problems(expected: &[(Option<&str>, Json)], found: &[(&str, Json)]) -> Vec<String> {
        let expected: Vec<Expected> = expected
            .iter()
            .enumerate()
            .map(|(at, (identity, content))| Expected {
                line: at + 1,
                identity: identity.map(str::to_owned),
                content: content.clone(),
            })
            .collect();
        let found: Vec<Found> = found
            .iter()
            .map(|(identity, content)| Found {
                identity: (*identity).to_owned(),
                content: content.clone(),
            })
            .collect();
        let comparison = Comparison {
            compare: Compare::Named,
            numbers_as_texts: false,
        };
        let differ = |expected: &Json, found: &Json| {
            let mut differences = Vec::new();
            comparison.values("", expected, Some(found), &mut differences);
            differences
        };
        let problems = match_all(&expected, &found, differ).into_iter();
        let short = problems.map(|problem| match problem {
            Problem::Differs {
                line, differences, ..
            } => {
                let fields: Vec<String> = differences.into_iter().map(|d| d.field).collect();
                format!("{line} differs in {}", fields.join(", "))
            }
            Problem::Missing { line, .. } => format!("{line} is missing"),
            Problem::Unexpected { found } => format!("unexpected {found}"),
            other => format!("{other:?}"),
        });
        short.collect()
    }

    #[test]
    fn things_of_one_identity_are_compared_in_their_order_and_others_in_none() {
        let expected = [
            (Some("a"), json!({"n": 1})),
            (Some("a"), json!({"n": 2})),
            (Some("b"), json!({"n": 1})),
        ];
        let a = |n: i64| ("a", json!({"n": n}));
        let b = |n: i64| ("b", json!({"n": n}));
        assert!(problems(&expected, &[b(1), a(1), a(2)]).is_empty());
        assert_eq!(
            problems(&expected, &[a(2), b(1), a(1)]),
            ["1 differs in n", "2 differs in n"]
        );
        assert_eq!(
            problems(&expected, &[a(1), a(3), a(2)]),
            ["2 differs in n", "3 is missing", r#"unexpected {"n":2}"#]
        );
    }

    //  expected:   {w: 1}      {w: 1, x: 2}
    //                |   \         |
    //  found:     x is 1  \---- x is 2       the first must leave the second one its only partner
    #[test]
    fn things_without_an_identity_are_matched_so_that_as_many_as_can_be_are() {
        let found = [
            ("2", json!({"w": 1, "x": 2})),
            ("1", json!({"w": 1, "x": 1})),
        ];
        let expected = [(None, json!({"w": 1})), (None, json!({"w": 1, "x": 2}))];
        assert!(problems(&expected, &found).is_empty());
        let expected = [(None, json!({"w": 1})), (None, json!({"w": 1, "x": 3}))];
        assert_eq!(problems(&expected, &found), ["2 differs in x"]);
        let expected = [(None, json!({"w": 1}))];
        let one_left = [r#"unexpected {"w":1,"x":1}"#];
        assert_eq!(problems(&expected, &found), one_left);
        let expected = [(None, json!({"w": 7}))];
        assert_eq!(
            problems(&expected, &found[..1]),
            ["1 is missing", r#"unexpected {"w":1,"x":2}"#]
        );
    }
}
