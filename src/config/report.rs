//! The findings of a file, for people (the source with carets, as rustc shows it) and for programs
//! (JSON).

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::json;

use crate::topology::finding::Severity;

/// All that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    file: String,
    source: String,
    diagnostics: Vec<Diagnostic>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code: `T…` for rules of topologies, `Y…` for the file itself.
    pub code: &'static str,
    /// Whether the topology can still be used.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The node that it is about.
    pub node: Option<String>,
    /// The key within the node, for example `set.delta`.
    pub key: Option<String>,
    /// Where in the source, in bytes; none when there is no source.
    pub span: Option<Range<usize>>,
    /// Other places that play a part, and which.
    pub related: Vec<(Range<usize>, String)>,
}

/// Whether to colour what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With ANSI colours.
    Coloured,
}

impl Report {
    pub(super) fn new(file: &str, source: &str, mut diagnostics: Vec<Diagnostic>) -> Report {
        let start = |diagnostic: &Diagnostic| diagnostic.span.as_ref().map(|span| span.start);
        diagnostics.sort_by_key(|diagnostic| (start(diagnostic), diagnostic.code));
        diagnostics.dedup();
        Report {
            file: file.to_owned(),
            source: source.to_owned(),
            diagnostics,
        }
    }

    /// The findings, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether nothing is wrong at all.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Whether one of the findings is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }

    /// The findings for people: each with its code, its place in the file and what to do.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        let render = |diagnostic| renderer.render(&[self.group(diagnostic)]);
        self.diagnostics
            .iter()
            .map(render)
            .collect::<Vec<_>>()
            .join("\n\n")
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&diagnostic.message).id(diagnostic.code);
        let mut group = match &diagnostic.span {
            Some(span) => title.element(self.snippet(span, &diagnostic.related)),
            None => title.element(annotate_snippets::Origin::path(&self.file)),
        };
        if let Some(help) = &diagnostic.help {
            let help = annotate_snippets::normalize_untrusted_str(help);
            group = group.element(Level::HELP.message(help));
        }
        group
    }

    fn snippet<'a>(
        &'a self,
        span: &Range<usize>,
        related: &'a [(Range<usize>, String)],
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let primary = AnnotationKind::Primary.span(self.first_line(span));
        let context = related.iter().map(|(span, what)| {
            AnnotationKind::Context
                .span(self.first_line(span))
                .label(what.as_str())
        });
        let snippet = Snippet::source(self.source.as_str()).path(self.file.as_str());
        snippet.annotation(primary).annotations(context)
    }

    /// The part of a span on its first line: a caret under a whole mapping says less than one under
    /// its beginning.
    fn first_line(&self, span: &Range<usize>) -> Range<usize> {
        let text = &self.source[span.clone()];
        span.start..span.start + text.find(['\n', '\r']).unwrap_or(text.len())
    }

    /// The findings for programs: an array of objects with `code`, `severity`, `message`, `help`,
    /// `node`, `key`, `file`, `line`, `column`, `end_line`, `end_column` and `related`. Lines and
    /// columns count from 1, columns in characters; the end is exclusive. What is not known is
    /// null.
    pub fn to_json(&self) -> serde_json::Value {
        self.diagnostics
            .iter()
            .map(|diagnostic| self.json(diagnostic))
            .collect()
    }

    fn json(&self, diagnostic: &Diagnostic) -> serde_json::Value {
        let start = diagnostic
            .span
            .as_ref()
            .map(|span| self.position(span.start));
        let end = diagnostic.span.as_ref().map(|span| self.position(span.end));
        let related = |(span, message): &(Range<usize>, String)| {
            let (line, column) = self.position(span.start);
            json!({ "message": message, "line": line, "column": column })
        };
        json!({
            "code": diagnostic.code,
            "severity": diagnostic.severity.word(),
            "message": diagnostic.message,
            "help": diagnostic.help,
            "node": diagnostic.node,
            "key": diagnostic.key,
            "file": self.file,
            "line": start.map(|(line, _)| line),
            "column": start.map(|(_, column)| column),
            "end_line": end.map(|(line, _)| line),
            "end_column": end.map(|(_, column)| column),
            "related": diagnostic.related.iter().map(related).collect::<Vec<_>>(),
        })
    }

    /// Line and column of a byte, from 1.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = &self.source[..byte];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}

/// [`Report::render`] without colours.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Report {}
