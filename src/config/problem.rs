//! What can be wrong with a file before it is a topology: the codes `Y001` and up.

use std::ops::Range;

use super::report::Diagnostic;
use crate::topology::Explanation;
use crate::topology::finding::Severity;

/// A kind of mistake in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub code: &'static str,
    pub title: &'static str,
    /// What to do about it, where nothing better can be said.
    pub fix: &'static str,
}

pub(super) const UNREADABLE: Kind = Kind {
    code: "Y001",
    title: "the file cannot be read",
    fix: "check its name and that it can be read",
};
pub(super) const SYNTAX: Kind = Kind {
    code: "Y002",
    title: "the file is not YAML",
    fix: "the bracket or quote that is open may stand further up; between `{` and `}`, a text with \
          `[`, `]`, `,` or `: ` stands in quotes: `where: \"type in ['a', 'b']\"`",
};
pub(super) const WRONG_TYPE: Kind = Kind {
    code: "Y003",
    title: "a text, list or mapping is expected, something else is there",
    fix: "docs/TOPOLOGY.md shows how this key is written",
};
pub(super) const UNKNOWN_KEY: Kind = Kind {
    code: "Y004",
    title: "there is no such key",
    fix: "remove it",
};
pub(super) const DUPLICATE_KEY: Kind = Kind {
    code: "Y005",
    title: "a key is given twice",
    fix: "remove one of them",
};
pub(super) const MISSING_KEY: Kind = Kind {
    code: "Y006",
    title: "a key is missing",
    fix: "add it",
};
pub(super) const UNKNOWN_KIND: Kind = Kind {
    code: "Y007",
    title: "there is no such kind of node",
    fix: "docs/TOPOLOGY.md lists the kinds",
};
pub(super) const NOT_ONE_KIND: Kind = Kind {
    code: "Y008",
    title: "a node has no kind, or more than one",
    fix: "write `name: { kind: { … } }`",
};
pub(super) const UNKNOWN_CHOICE: Kind = Kind {
    code: "Y009",
    title: "a setting is none of the possible ones",
    fix: "docs/TOPOLOGY.md lists the possible ones",
};
pub(super) const BAD_DURATION: Kind = Kind {
    code: "Y010",
    title: "this is not a length of time",
    fix: "write whole numbers with their units, from large to small: `1h30m`, `500ms`",
};
pub(super) const UNDEFINED_VARIABLE: Kind = Kind {
    code: "Y011",
    title: "an environment variable is not set",
    fix: "set it, or give a default: `${NAME:-default}`",
};
pub(super) const BAD_REFERENCE: Kind = Kind {
    code: "Y012",
    title: "this is not a reference to the environment",
    fix: "write `${NAME}` or `${NAME:-default}`",
};
pub(super) const CONTRADICTION: Kind = Kind {
    code: "Y013",
    title: "two keys exclude each other",
    fix: "remove one of them",
};

pub(super) const CUT_TEXT: Kind = Kind {
    code: "Y014",
    title: "a comma cuts a text in two",
    fix: "put it in quotes",
};

pub(super) const UNKNOWN_SUBJECT: Kind = Kind {
    code: "Y015",
    title: "a test names something that the topology does not have",
    fix: "`tidemill describe FILE` shows what it has",
};
pub(super) const UNKNOWN_FIELD: Kind = Kind {
    code: "Y016",
    title: "a test expects a field that is never there",
    fix: "remove it",
};
pub(super) const IMPOSSIBLE_VALUE: Kind = Kind {
    code: "Y017",
    title: "a test expects a value that its column never holds, or gives one that its schema cannot hold",
    fix: "write a value of the type that is there",
};
pub(super) const BAD_TIME: Kind = Kind {
    code: "Y018",
    title: "this is not a point in time",
    fix: "write RFC 3339, such as 2026-05-05T11:17:40Z, or milliseconds since 1970",
};
pub(super) const DUPLICATE_TEST: Kind = Kind {
    code: "Y019",
    title: "two tests have the same name",
    fix: "give one of them another name",
};

/// All of them, by code.
const ALL: [Kind; 19] = [
    UNREADABLE,
    SYNTAX,
    WRONG_TYPE,
    UNKNOWN_KEY,
    DUPLICATE_KEY,
    MISSING_KEY,
    UNKNOWN_KIND,
    NOT_ONE_KIND,
    UNKNOWN_CHOICE,
    BAD_DURATION,
    UNDEFINED_VARIABLE,
    BAD_REFERENCE,
    CONTRADICTION,
    CUT_TEXT,
    UNKNOWN_SUBJECT,
    UNKNOWN_FIELD,
    IMPOSSIBLE_VALUE,
    BAD_TIME,
    DUPLICATE_TEST,
];

/// The codes of mistakes in files, in order. All are errors.
pub(super) fn explanations() -> impl Iterator<Item = Explanation> {
    ALL.into_iter().map(|Kind { code, title, .. }| Explanation {
        code,
        title,
        severity: Severity::Error,
    })
}

impl Kind {
    pub fn at(self, span: Option<Range<usize>>, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code: self.code,
            severity: Severity::Error,
            message: message.into(),
            help: Some(self.fix.to_owned()),
            node: None,
            key: None,
            span,
            related: Vec::new(),
        }
    }
}

impl Diagnostic {
    pub(super) fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    pub(super) fn maybe_help(mut self, help: Option<String>) -> Diagnostic {
        self.help = help.or(self.help);
        self
    }

    pub(super) fn related(mut self, span: Range<usize>, what: &str) -> Diagnostic {
        self.related.push((span, what.to_owned()));
        self
    }
}
