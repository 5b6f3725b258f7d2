//! The forms in which findings leave.

use expect_test::expect;

use crate::config::{Style, check};
use crate::topology::finding::Severity;

const FILE: &str = "app: wiki media
nodes:
  süd: { source: { topic: t } }
  f: { filter: { from: sud, where: \"title == 'ü' && bot = 5\" } }
  f: { kafka: { from: f, topic: u } }
";

#[test]
fn programs_get_json() {
    let report = check(FILE, "t.yaml", &|_| None).report;
    expect![[r#"
        [
          {
            "code": "T001",
            "severity": "error",
            "message": "`wiki media` cannot be the name of an application: it contains ' '",
            "help": "use letters, digits, `.`, `_` and `-`; the name prefixes groups and topics",
            "node": null,
            "key": "app",
            "file": "t.yaml",
            "line": 1,
            "column": 6,
            "end_line": 1,
            "end_column": 16,
            "related": []
          },
          {
            "code": "T002",
            "severity": "error",
            "message": "`süd` cannot be the name of a node: it contains 'ü'",
            "help": "use lower-case letters, digits and `_`, beginning with a letter",
            "node": "süd",
            "key": null,
            "file": "t.yaml",
            "line": 3,
            "column": 3,
            "end_line": 3,
            "end_column": 6,
            "related": []
          },
          {
            "code": "T004",
            "severity": "error",
            "message": "there is no node `sud`",
            "help": "did you mean `süd`?",
            "node": "f",
            "key": "from",
            "file": "t.yaml",
            "line": 4,
            "column": 24,
            "end_line": 4,
            "end_column": 27,
            "related": []
          },
          {
            "code": "T030",
            "severity": "error",
            "message": "unexpected `=`",
            "help": "`==` compares",
            "node": "f",
            "key": "where",
            "file": "t.yaml",
            "line": 4,
            "column": 57,
            "end_line": 4,
            "end_column": 58,
            "related": []
          },
          {
            "code": "T003",
            "severity": "error",
            "message": "two nodes are called `f`",
            "help": "give one of them another name",
            "node": "f",
            "key": null,
            "file": "t.yaml",
            "line": 5,
            "column": 3,
            "end_line": 5,
            "end_column": 4,
            "related": [
              {
                "message": "the first one is here",
                "line": 4,
                "column": 3
              }
            ]
          }
        ]"#]]
    .assert_eq(&format!("{:#}", report.to_json()));
}

#[test]
fn people_get_colours_if_they_want() {
    let report = check(FILE, "t.yaml", &|_| None).report;
    let coloured = report.render(Style::Coloured);
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    assert!(!report.render(Style::Plain).contains('\u{1b}'));
}

#[test]
fn a_topology_with_warnings_only_can_be_used() {
    let warned = "app: a\nnodes:\n  s: { source: { topic: t } }\n";
    let outcome = check(warned, "t.yaml", &|_| None);
    assert_eq!(outcome.report.count(Severity::Warning), 1);
    assert!(outcome.into_result().is_ok());
    let refused = check(FILE, "t.yaml", &|_| None);
    assert!(refused.report.has_errors());
    assert!(refused.into_result().is_err());
}
