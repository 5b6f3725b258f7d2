//! Files that somebody has mangled: whatever is wrong is shown, nothing panics.

use proptest::prelude::*;

use crate::config::check;

const FILE: &str = "\
app: ${APP:-wiki}
guarantee: exactly_once
nodes:
  s: { source: { topic: \"t\", key: wiki, timestamp: meta.dt, fields: { wiki: string, bot: bool } } }
  f: { filter: { from: s, where: \"title == 'sü\\u00df' && !bot\" } }
  g: { filter: { from: f, where: 'it != ''ß🔑'' || x in [1, 2]' } }
  m:
    map:
      from: g
      set:
        ü: |
          size(title) > 5
            && bot
        b: &b has(x) ? 1 : 2
        c: *b
  a:
    aggregate:
      from: m
      by: [wiki, meta.id]
      window: { tumbling: 1h30m, grace: 30s }
      set: { n: count(), d: \"distinct(a, 'é')\" }
  t: { sql: { from: a, table: t } }
  k: { kafka: { from: m, topic: u, key: string(a), fields: { x: x } } }
tests:
  - name: ü
    given: [{ value: { wiki: w, meta: { dt: 5 } }, time: 1h }, { advance: 5m }, { raw: 'ß' }]
    expect: { topics: { u: [{ key: ~, value: { x: 1.5e3 } }] }, tables: { t: [{ n: 1 }] }, drops: { s: { late: 1 } } }
";

/// What is put in: marks of YAML and of expressions, letters of one to four bytes.
const PIECES: [&str; 32] = [
    "", " ", "\n", "\t", "\r\n", ":", ": ", "-", "- ", "#", "\"", "'", "{", "}", "[", "]", ",",
    "|", ">", "&", "*", "!", "%", "${", "}", "\\", "\\u00e9", "é", "🔑", "\u{feff}", "\0", "0x",
];

proptest! {
    #[test]
    fn a_mangled_file_is_reported_and_nothing_panics(
        cuts in prop::collection::vec((0..FILE.len(), 0..6_usize, 0..PIECES.len()), 1..4)
    ) {
        let mut chars: Vec<char> = FILE.chars().collect();
        for (at, length, piece) in cuts {
            let start = at % chars.len();
            let end = (start + length).min(chars.len());
            chars.splice(start..end, PIECES[piece].chars());
        }
        let text: String = chars.into_iter().collect();
        let report = check(&text, "t.yaml", &|_| None).report;
        prop_assert_eq!(report.is_empty(), report.to_string().is_empty());
        let count = report.to_json().as_array().map(Vec::len);
        prop_assert_eq!(count, Some(report.diagnostics().len()));
    }
}
