//! For each code a file that breaks its rule, and what is shown to the user.

mod aggregates;
mod cases;
mod cuts;
mod deduplicate;
mod expressions;
mod fields;
mod files;
mod formats;
mod global_tables;
mod graph;
mod joins;
mod processors;
mod sinks;
mod stateless;
mod suppress;
mod tables;
mod topics;
mod windows;

mod lowering;
mod mangled;
mod output;
mod shipped;
mod shipped_on_real_events;

use expect_test::Expect;

use super::document::Value;
use super::keys::Findings;
use super::schema::tests::knows_what_is_asked;
use super::{check, explanations, lower};

/// Compares the rendered findings of a file with the expected text.
#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "expect![] is written in place"
)]
fn shows(yaml: &str, expected: Expect) {
    let environment = |name: &str| (name == "TOPIC").then(|| "changes".to_owned());
    let report = check(yaml, "t.yaml", &environment).report;
    expected.assert_eq(&report.to_string());
    for diagnostic in report.diagnostics() {
        let (code, message) = (diagnostic.code, &diagnostic.message);
        assert!(
            diagnostic.help.is_some(),
            "{code} does not say what to do: {message}"
        );
    }
    asks_for_what_is_in_the_schema(yaml);
}

#[track_caller]
fn asks_for_what_is_in_the_schema(yaml: &str) {
    let Ok(root) = Value::parse(yaml) else {
        return;
    };
    let mut findings = Findings::default();
    let lowered = lower::lower(&root, &mut findings);
    knows_what_is_asked(&findings.asked, |node| {
        let kind = lowered.sites[node].kind.expect("a kind that was read");
        kind.key.clone()
    });
}

#[test]
fn every_code_is_shown_by_a_test() {
    let tests = [
        include_str!("aggregates.rs"),
        include_str!("cases.rs"),
        include_str!("cuts.rs"),
        include_str!("deduplicate.rs"),
        include_str!("expressions.rs"),
        include_str!("fields.rs"),
        include_str!("files.rs"),
        include_str!("formats.rs"),
        include_str!("global_tables.rs"),
        include_str!("graph.rs"),
        include_str!("joins.rs"),
        include_str!("processors.rs"),
        include_str!("sinks.rs"),
        include_str!("stateless.rs"),
        include_str!("suppress.rs"),
        include_str!("tables.rs"),
        include_str!("topics.rs"),
        include_str!("windows.rs"),
    ]
    .concat();
    let shown = |code: &str| tests.contains(&format!("[{code}]: "));
    let missing: Vec<_> = explanations()
        .filter(|rule| !shown(rule.code))
        .map(|rule| rule.code)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_code_is_in_the_reference() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/TOPOLOGY.md");
    let page = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{page}: {error}"));
    let rows: Vec<String> = explanations()
        .map(|rule| {
            format!(
                "| {} | {} | {} |",
                rule.code,
                rule.severity.word(),
                rule.title
            )
        })
        .collect();
    let missing: Vec<_> = rows.iter().filter(|row| !page.contains(*row)).collect();
    assert!(missing.is_empty(), "docs/TOPOLOGY.md lacks {missing:#?}");
}
