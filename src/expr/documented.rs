//! `docs/EXPRESSIONS.md` tells what is true: every row of its tables is run.

use std::collections::BTreeSet;

use super::function;
use super::testing::outcome;

struct Row {
    line: usize,
    expression: String,
    record: String,
    result: String,
}

/// The rows of the tables that have an expression, a record and a result.
fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/EXPRESSIONS.md");
    let page = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rows = page
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| ") && line.contains('`'));
    rows.map(|(number, line)| {
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(code).collect();
        let [_, expression, record, result] = cells.as_slice() else {
            panic!(
                "line {}: expected four cells, found {}",
                number + 1,
                cells.len()
            );
        };
        let [expression, record, result] =
            [expression, record, result].map(|cell| cell.replace('\u{1}', "|"));
        Row {
            line: number + 1,
            expression,
            record,
            result,
        }
    })
    .collect()
}

/// What stands between the backticks of a code span.
fn code(cell: &str) -> &str {
    let cell = cell.trim();
    match cell
        .strip_prefix("``")
        .and_then(|cell| cell.strip_suffix("``"))
    {
        Some(inner) => inner.trim(),
        None => cell.trim_matches('`'),
    }
}

#[test]
fn every_example_of_the_page_gives_what_the_page_says() {
    let rows = rows();
    assert!(rows.len() > 100, "found only {} examples", rows.len());
    for Row {
        line,
        expression,
        record,
        result,
    } in rows
    {
        // The page has no backticks within code, so messages are shown with plain quotes there.
        let found = outcome(&expression, &record).replace('`', "'");
        assert_eq!(found, result, "line {line}: {expression} over {record}");
    }
}

#[test]
fn every_function_has_an_example() {
    let rows = rows();
    let shown = |name: &str| {
        rows.iter()
            .any(|row| row.expression.contains(&format!("{name}(")))
    };
    let missing: BTreeSet<&str> = function::names()
        .filter(|name| !function::is_alias(name) && !shown(name))
        .collect();
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn every_other_name_is_mentioned() {
    let page = include_str!("../../docs/EXPRESSIONS.md");
    for alias in function::names().filter(|name| function::is_alias(name)) {
        assert!(page.contains(&format!("`{alias}`")), "{alias}");
    }
}
