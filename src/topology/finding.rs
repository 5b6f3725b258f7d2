//! What is wrong with a topology, and where.
//!
//! A [`Finding`] names the element that it is about by [`Place`] (which node, which key), never by
//! a position in a text: the checker knows no YAML, and the config layer turns places into lines
//! and columns.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stable code, for example `T004`.
    pub code: &'static str,
    /// Whether the topology can still be used.
    pub severity: Severity,
    /// The element.
    pub place: Place,
    /// Which bytes of the text at `place`, when only a part of it is wrong (expressions).
    pub range: Option<Range<usize>>,
    /// The name of the node that `place` counts, for readers without a file.
    pub node: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other elements that play a part, and which.
    pub related: Vec<(Place, String)>,
}

/// Whether a topology with a finding can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but it is probably not what was meant.
    Warning,
}

/// An element of a topology: a node (by its number in the order in which nodes were added) and the
/// way from there to the element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which node; none for the topology itself.
    pub node: Option<usize>,
    /// The way down: `set`, then the entry `delta`.
    pub steps: Vec<Step>,
    /// Whether the name of the element is meant, or what it holds.
    pub part: Part,
}

/// One step on the way from a node to an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of the node's kind: `where`.
    Key(&'static str),
    /// An entry that the user named, and which of those with that name (0 = the first).
    Entry(String, usize),
    /// An item of a list.
    Item(usize),
}

/// The two halves of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// What it holds.
    #[default]
    Value,
    /// What it is called.
    Name,
}

/// All that is wrong with a topology; as an error, for Rust users without a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Findings(pub Vec<Finding>);

impl Place {
    /// The topology itself, at `key`.
    pub fn topology(key: &'static str) -> Place {
        Place {
            steps: vec![Step::Key(key)],
            ..Place::default()
        }
    }

    /// The node with that number, as a whole.
    pub fn node(number: usize) -> Place {
        Place {
            node: Some(number),
            part: Part::Name,
            ..Place::default()
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn key(self, key: &'static str) -> Place {
        self.step(Step::Key(key))
    }

    /// The value of an entry that the user named; `nth` counts the entries of that name from 0.
    #[must_use]
    pub fn entry(self, name: &str, nth: usize) -> Place {
        self.step(Step::Entry(name.to_owned(), nth))
    }

    /// An item of a list, counted from 0.
    #[must_use]
    pub fn item(self, index: usize) -> Place {
        self.step(Step::Item(index))
    }

    /// The name of the entry instead of its value.
    #[must_use]
    pub fn name(mut self) -> Place {
        self.part = Part::Name;
        self
    }

    /// Whether `self` is `outer` or lies inside it.
    pub fn lies_in(&self, outer: &Place) -> bool {
        self.node == outer.node && self.steps.starts_with(&outer.steps)
    }

    fn step(mut self, step: Step) -> Place {
        self.part = Part::Value;
        self.steps.push(step);
        self
    }
}

/// The keys from the node down, for example `set.delta`; empty for a node as a whole.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            match step {
                Step::Key(key) => write!(f, "{dot}{key}")?,
                Step::Entry(name, _) => write!(f, "{dot}{name}")?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

impl Severity {
    /// `error` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl Finding {
    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = Some(help.into());
        self
    }

    /// Says what to do about it, when there is something to say.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Finding {
        self.help = help;
        self
    }

    /// Points at another element that plays a part.
    #[must_use]
    pub fn related(mut self, place: Place, what: impl Into<String>) -> Finding {
        self.related.push((place, what.into()));
        self
    }

    /// Narrows the finding to some bytes of the text at its place.
    #[must_use]
    pub fn within(mut self, range: Range<usize>) -> Finding {
        self.range = Some(range);
        self
    }
}

/// One line: `error[T004] edits, from: unknown node …; help`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.severity.word(), self.code)?;
        let keys = self.place.to_string();
        match (&self.node, keys.as_str()) {
            (Some(node), "") => write!(f, " {node}")?,
            (Some(node), keys) => write!(f, " {node}, {keys}")?,
            (None, "") => {}
            (None, keys) => write!(f, " {keys}")?,
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl Findings {
    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }
}

/// One line per finding.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}
