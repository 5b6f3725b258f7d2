//! Answers as a table for people, as JSON, as CSV.

use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::{Map, Value as Json};

use super::{QueryResult, QueryValue, ResultKind};

/// How an answer is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns, numbers to the right; long texts are cut.
    #[default]
    Table,
    /// An array of objects, one per row and line.
    Json,
    /// RFC 4180 with a header, but lines end in LF alone, as shell tools expect. NULL is an empty
    /// field, an empty text is `""`.
    Csv,
}

/// Longer texts are cut in a table.
const CELL_WIDTH: usize = 60;

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            _ => Err(format!("expected table, json or csv, found {text:?}")),
        }
    }
}

impl QueryResult {
    /// The answer as text, ending with a line break.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.table(),
            Format::Json => self.json(),
            Format::Csv => self.csv(),
        }
    }

    fn table(&self) -> String {
        let head = self
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect::<Vec<_>>();
        let body = self
            .rows
            .iter()
            .map(|row| row.iter().map(table_cell).collect::<Vec<_>>());
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
        let width = |column: usize| {
            lines
                .iter()
                .map(|line| width(&line[column]))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            self.table_line(line, &widths, &mut text);
            if number == 0 {
                let rules: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
                let _ = writeln!(text, "{}", rules.join("  "));
            }
        }
        let rows = if self.rows.len() == 1 { "row" } else { "rows" };
        let more = if self.truncated {
            ", and more: raise --limit"
        } else {
            ""
        };
        let _ = writeln!(text, "({} {rows}{more})", self.rows.len());
        if let Some(note) = &self.note {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    fn table_line(&self, line: &[String], widths: &[usize], text: &mut String) {
        let cells: Vec<_> = std::iter::zip(line, widths)
            .zip(&self.columns)
            .map(|((cell, &wide), column)| {
                let space = " ".repeat(wide - width(cell));
                match column.kind {
                    ResultKind::Int | ResultKind::Double => format!("{space}{cell}"),
                    ResultKind::Bool | ResultKind::Text | ResultKind::Time => {
                        format!("{cell}{space}")
                    }
                }
            })
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }

    /// The rows as JSON objects.
    pub fn objects(&self) -> Vec<Map<String, Json>> {
        let object = |row: &Vec<QueryValue>| {
            let names = self.columns.iter().map(|column| column.name.clone());
            names.zip(row.iter().map(json_value)).collect()
        };
        self.rows.iter().map(object).collect()
    }

    fn json(&self) -> String {
        let objects = self.objects().into_iter();
        let rows: Vec<_> = objects.map(|row| Json::Object(row).to_string()).collect();
        if rows.is_empty() {
            return "[]\n".to_owned();
        }
        format!("[\n{}\n]\n", rows.join(",\n"))
    }

    fn csv(&self) -> String {
        let mut text = String::new();
        let names = self.columns.iter().map(|column| csv_text(&column.name));
        csv_line(names, &mut text);
        for row in &self.rows {
            csv_line(row.iter().map(csv_cell), &mut text);
        }
        text
    }
}

/// Columns of a terminal that a text takes, about: wide characters count twice.
fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

fn table_cell(value: &QueryValue) -> String {
    let text = match value {
        QueryValue::Null => "-".to_owned(),
        QueryValue::Bool(value) => value.to_string(),
        QueryValue::Int(value) => value.to_string(),
        QueryValue::Double(value) => value.to_string(),
        QueryValue::Text(text) => plain(text),
        QueryValue::Time(text) => text.clone(),
    };
    if width(&text) <= CELL_WIDTH {
        return text;
    }
    let mut cut = String::new();
    for letter in text.chars() {
        if width(&cut) + 2 > CELL_WIDTH {
            break;
        }
        cut.push(letter);
    }
    cut.push('…');
    cut
}

/// Without what would move the cursor or turn the line around: control characters, and the marks
/// that switch the direction of writing. Names on the wikis have them.
fn plain(text: &str) -> String {
    let moves = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if moves(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

fn json_value(value: &QueryValue) -> Json {
    match value {
        QueryValue::Null => Json::Null,
        QueryValue::Bool(value) => Json::from(*value),
        QueryValue::Int(value) => Json::from(*value),
        QueryValue::Double(value) => Json::from(*value),
        QueryValue::Text(text) | QueryValue::Time(text) => Json::from(text.as_str()),
    }
}

fn csv_line(cells: impl Iterator<Item = String>, text: &mut String) {
    text.push_str(&cells.collect::<Vec<_>>().join(","));
    text.push('\n');
}

fn csv_cell(value: &QueryValue) -> String {
    match value {
        QueryValue::Null => String::new(),
        QueryValue::Bool(value) => value.to_string(),
        QueryValue::Int(value) => value.to_string(),
        QueryValue::Double(value) => value.to_string(),
        QueryValue::Text(text) => csv_text(text),
        QueryValue::Time(text) => text.clone(),
    }
}

fn csv_text(text: &str) -> String {
    if text.is_empty() || text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::query::ResultColumn;

    fn answer() -> QueryResult {
        let column = |name: &str, kind| ResultColumn {
            name: name.into(),
            kind,
        };
        QueryResult {
            columns: vec![
                column("user", ResultKind::Text),
                column("edits", ResultKind::Int),
                column("mean", ResultKind::Double),
                column("bot", ResultKind::Bool),
            ],
            rows: vec![
                vec![
                    QueryValue::Text("Épìdosis, \"E\"\u{200e}".into()),
                    QueryValue::Int(12_345),
                    QueryValue::Double(0.5),
                    QueryValue::Bool(false),
                ],
                vec![
                    QueryValue::Text("編集者".into()),
                    QueryValue::Int(-3),
                    QueryValue::Null,
                    QueryValue::Null,
                ],
            ],
            truncated: true,
            note: Some("a note".into()),
        }
    }

    #[test]
    fn a_table_is_aligned_with_numbers_to_the_right() {
        expect_test::expect![[r#"
            user                   edits  mean  bot
            ---------------------  -----  ----  -----
            Épìdosis, "E"\u{200e}  12345   0.5  false
            編集者                    -3     -  -
            (2 rows, and more: raise --limit)
            note: a note
        "#]]
        .assert_eq(&answer().render(Format::Table));
    }

    #[test]
    fn json_has_an_object_per_row() {
        expect_test::expect![[r#"
            [
            {"user":"Épìdosis, \"E\"‎","edits":12345,"mean":0.5,"bot":false},
            {"user":"編集者","edits":-3,"mean":null,"bot":null}
            ]
        "#]]
        .assert_eq(&answer().render(Format::Json));
        let empty = QueryResult {
            rows: Vec::new(),
            ..answer()
        };
        assert_eq!(empty.render(Format::Json), "[]\n");
    }

    #[test]
    fn csv_quotes_what_must_be_quoted() {
        assert_eq!(
            answer().render(Format::Csv),
            "user,edits,mean,bot\n\"Épìdosis, \"\"E\"\"\u{200e}\",12345,0.5,false\n編集者,-3,,\n"
        );
        assert_eq!(csv_text(""), "\"\"");
        assert_eq!(csv_text("a\nb"), "\"a\nb\"");
    }

    #[test]
    fn long_texts_are_cut_in_a_table_only() {
        let cell = table_cell(&QueryValue::Text("x".repeat(100)));
        assert_eq!(cell, format!("{}…", "x".repeat(59)));
    }
}
