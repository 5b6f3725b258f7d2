//! The reference of topology files, docs/TOPOLOGY.md, as the source of what the schema says about keys:
//! a section per kind of node, whose first paragraph says what it is, with a table of its keys.

/// The page.
const PAGE: &str = include_str!("../../../docs/TOPOLOGY.md");

/// What the page says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyText {
    /// What its values are: `length of time`.
    pub value: String,
    pub text: String,
    pub is_required: bool,
}

/// A heading with its first paragraph and its tables of keys.
#[derive(Debug, Default)]
struct Section {
    heading: &'static str,
    paragraph: String,
    /// The mapping that a table is about (empty: that of the section), the names of the keys, and the
    /// other two cells.
    rows: Vec<(&'static str, Vec<&'static str>, &'static str, &'static str)>,
}

/// The whole page.
pub(super) struct Reference(Vec<Section>);

impl Reference {
    pub(super) fn read() -> Reference {
        let mut sections: Vec<Section> = Vec::new();
        let mut table = None;
        let mut in_paragraph = false;
        for line in PAGE.lines() {
            if let Some(heading) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
                sections.push(Section {
                    heading,
                    ..Section::default()
                });
                (table, in_paragraph) = (None, false);
                continue;
            }
            let Some(section) = sections.last_mut() else {
                continue;
            };
            match cells(line) {
                Some(cells) => read_row(&cells, &mut table, section),
                None => {
                    table = None;
                    let is_first = section.paragraph.is_empty() && section.rows.is_empty();
                    in_paragraph = !line.is_empty() && (in_paragraph || is_first);
                    if in_paragraph {
                        let space = if section.paragraph.is_empty() {
                            ""
                        } else {
                            " "
                        };
                        section.paragraph += &format!("{space}{}", plain(line));
                    }
                }
            }
        }
        Reference(sections)
    }

    /// The first paragraph of the section with that heading, which may name several things.
    pub(super) fn paragraph(&self, heading: &str) -> Option<&str> {
        let section = self.section(heading)?;
        Some(section.paragraph.as_str()).filter(|paragraph| !paragraph.is_empty())
    }

    /// What is said of a key, in a section, in the table of a mapping inside it (empty: of itself).
    pub(super) fn key(&self, heading: &str, mapping: &str, key: &str) -> Option<KeyText> {
        let rows = &self.section(heading)?.rows;
        let found = rows
            .iter()
            .find(|(of, names, ..)| *of == mapping && names.contains(&key));
        let (_, _, value, text) = *found?;
        let is_required = text.starts_with("Required");
        let elsewhere = (value == "see above")
            .then(|| self.paragraph(ON_ERROR))
            .flatten();
        Some(KeyText {
            value: if elsewhere.is_some() {
                String::new()
            } else {
                plain(value)
            },
            text: [elsewhere.unwrap_or_default(), &plain(text)]
                .join(" ")
                .trim()
                .to_owned(),
            is_required,
        })
    }

    /// All keys that a section describes: the mapping and the key.
    #[cfg(test)]
    pub(super) fn keys(&self, heading: &str) -> Vec<(&'static str, &'static str)> {
        let rows = self
            .section(heading)
            .into_iter()
            .flat_map(|section| &section.rows);
        let keys = rows.flat_map(|(of, names, ..)| names.iter().map(move |name| (*of, *name)));
        keys.collect()
    }

    fn section(&self, heading: &str) -> Option<&Section> {
        let has = |section: &&Section| section.heading.split(", ").any(|named| named == heading);
        self.0.iter().find(has)
    }
}

/// Where the key that every kind has is described.
const ON_ERROR: &str = "What happens to records that fail";

/// The cells of a line of a table, trimmed.
fn cells(line: &'static str) -> Option<Vec<&'static str>> {
    let inner = line.strip_prefix("| ")?.strip_suffix('|')?;
    Some(inner.split(" | ").map(str::trim).collect())
}

fn read_row(cells: &[&'static str], table: &mut Option<&'static str>, section: &mut Section) {
    let name = cells.first().copied().unwrap_or_default();
    if let Some(mapping) = name.strip_prefix("Key") {
        let mapping = mapping.trim_start_matches(" of ").trim_matches('`');
        *table = Some(mapping);
        return;
    }
    let (Some(mapping), [names, value, text]) = (*table, cells) else {
        return;
    };
    let quoted = names.split('`').skip(1).step_by(2);
    section.rows.push((mapping, quoted.collect(), value, text));
}

/// Without links.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        match after.split_once("](") {
            Some((label, behind)) if !label.contains('[') => {
                out.push_str(label);
                rest = behind.split_once(')').map_or("", |(_, behind)| behind);
            }
            _ => {
                out.push('[');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_kinds_and_keys_are() {
        let reference = Reference::read();
        assert_eq!(reference.paragraph("source"), Some("Reads topics."));
        assert_eq!(
            reference.paragraph("filter_not"),
            reference.paragraph("filter")
        );
        let grace = reference.key("aggregate", "window", "grace").unwrap();
        assert_eq!(grace.value, "length of time");
        assert!(grace.text.contains("stream time"), "{grace:?}");
        assert!(reference.key("filter", "", "where").unwrap().is_required);
        let on_error = reference.key("branch", "", "on_error").unwrap();
        assert!(
            on_error.text.starts_with("Every kind has the key"),
            "{on_error:?}"
        );
        assert!(
            on_error.text.ends_with("before one is true."),
            "{on_error:?}"
        );
        assert_eq!(reference.key("filter", "", "grace"), None);
    }

    #[test]
    fn links_become_their_labels() {
        assert_eq!(plain("see [below](#x) and [a, b]"), "see below and [a, b]");
        assert_eq!(plain("`[n, m)` [x](y)"), "`[n, m)` x");
    }
}
