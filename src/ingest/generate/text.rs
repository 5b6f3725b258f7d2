//! Titles, names and comments that look like those of the stream, and how they are written:
//! as JSON, in URLs, in HTML. All made up here, from lists of words and a number.

use super::mix::Script;

const LATIN: [&str; 32] = [
    "river",
    "bridge",
    "station",
    "church",
    "castle",
    "school",
    "museum",
    "garden",
    "island",
    "mountain",
    "village",
    "harbour",
    "painting",
    "portrait",
    "railway",
    "market",
    "Zürich",
    "São",
    "Ångström",
    "Čapek",
    "d'Orsay",
    "O'Neill",
    "league",
    "season",
    "history",
    "people",
    "football",
    "album",
    "species",
    "district",
    "tower",
    "archive",
];
const CYRILLIC: [&str; 16] = [
    "город",
    "река",
    "станция",
    "школа",
    "история",
    "область",
    "район",
    "музей",
    "мост",
    "село",
    "улица",
    "завод",
    "футбол",
    "война",
    "остров",
    "народ",
];
const ARABIC: [&str; 16] = [
    "مدينة",
    "نهر",
    "تاريخ",
    "مدرسة",
    "جسر",
    "متحف",
    "قرية",
    "جزيرة",
    "كتاب",
    "محطة",
    "سوق",
    "جبل",
    "حديقة",
    "جامعة",
    "لاعب",
    "فيلم",
];
const HEBREW: [&str; 16] = [
    "עיר",
    "נהר",
    "תחנה",
    "בית",
    "ספר",
    "גשר",
    "הר",
    "אי",
    "גן",
    "שוק",
    "מגדל",
    "כפר",
    "רחוב",
    "עונה",
    "ליגה",
    "אלבום",
];
const INDIC: [&str; 16] = [
    "নদী",
    "শহর",
    "গ্রাম",
    "ইতিহাস",
    "বিদ্যালয়",
    "সেতু",
    "দ্বীপ",
    "পাহাড়",
    "বাজার",
    "জাদুঘর",
    "বাগান",
    "স্টেশন",
    "জেলা",
    "উৎসব",
    "ভাষা",
    "লেখক",
];
/// Characters, not words. The last ones lie outside the basic plane: four bytes in UTF-8.
const HAN: [&str; 32] = [
    "安", "徽", "农", "村", "商", "业", "银", "行", "股", "份", "有", "限", "公", "司", "事", "判",
    "决", "书", "河", "山", "城", "市", "学", "校", "历", "史", "铁", "路", "京", "文", "𠮷", "𪜈",
];

/// A source of small choices that is fixed by a number: the same page has the same title, however
/// often it comes.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Of this number.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next choice among `n`. (SplitMix64: Steele, Lea, Flood, 2014.)
    pub fn among(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn of<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.among(words.len() as u64) as usize]
    }
}

impl Script {
    fn words(self) -> &'static [&'static str] {
        match self {
            Script::Latin => &LATIN,
            Script::Cyrillic => &CYRILLIC,
            Script::Arabic => &ARABIC,
            Script::Hebrew => &HEBREW,
            Script::Indic => &INDIC,
            Script::Han => &HAN,
        }
    }

    /// Adds `count` words.
    pub fn add_words(self, count: u64, dice: &mut Dice, text: &mut String) {
        for index in 0..count {
            if self == Script::Han {
                // Characters stand together; the rare ones are rare.
                let common = dice.among(8) > 0;
                let words = if common { &HAN[..30] } else { &HAN[..] };
                (0..3).for_each(|_| text.push_str(dice.of(words)));
                continue;
            }
            if index > 0 {
                text.push(' ');
            }
            text.push_str(dice.of(self.words()));
        }
    }

    /// Adds words until the text has about `chars` characters more.
    pub fn add_sentence(self, chars: usize, dice: &mut Dice, text: &mut String) {
        let mut length = 0;
        while length < chars {
            if length > 0 && self != Script::Han {
                text.push(' ');
            }
            let before = text.len();
            self.add_words(1, dice, text);
            length += text[before..].chars().count() + 1;
            match dice.among(64) {
                0 => text.push_str(" \"§ 2\""),
                1 => text.push_str(" C:\\x"),
                2 => text.push_str(" & 🎉"),
                3 => text.push('\t'),
                _ => {}
            }
        }
    }
}

/// Adds the title of an article-like page, without namespace.
pub fn add_title(script: Script, dice: &mut Dice, title: &mut String) {
    let words = 2 + dice.among(3);
    script.add_words(words, dice, title);
    match dice.among(40) {
        0 => title.push_str(" \"No. 1\""),
        1 => title.push('\u{200e}'),
        2..=9 => {
            title.push_str(" (");
            script.add_words(1, dice, title);
            title.push(')');
        }
        _ => {}
    }
    // Numbers keep titles apart, as years and catalogue numbers do.
    title.push_str(&format!(" {}", dice.among(1_000_000)));
}

/// Adds the name of the person with this rank.
pub fn add_person(script: Script, rank: u64, salt: u64, name: &mut String) {
    let mut dice = Dice::new(salt.wrapping_mul(1_000_003).wrapping_add(rank));
    script.add_words(1 + dice.among(2), &mut dice, name);
    match dice.among(50) {
        0 => name.push_str(" 🦊"),
        1..=9 => {}
        _ => name.push_str(&rank.to_string()),
    }
}

/// Adds a text as part of a JSON string.
pub fn push_json(text: &str, line: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        line.extend_from_slice(&bytes[done..index]);
        done = index + 1;
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            _ => line.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    line.extend_from_slice(&bytes[done..]);
}

/// Adds a title as part of a URL, as MediaWiki writes it. The result needs no JSON escapes.
pub fn push_url(title: &str, line: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in title.bytes() {
        match byte {
            b' ' => line.push(b'_'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => line.push(byte),
            b'-' | b'_' | b'.' | b'~' | b';' | b'@' | b'$' | b'!' | b'*' | b'(' | b')' | b','
            | b'/' | b':' => line.push(byte),
            _ => line.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}

/// Adds a text to HTML.
pub fn push_html(text: &str, html: &mut String) {
    for char in text.chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#039;"),
            other => html.push(other),
        }
    }
}

/// Adds a link to a page of the same wiki to HTML.
pub fn push_link(title: &str, html: &mut String) {
    html.push_str("<a href=\"/wiki/");
    let mut url = Vec::with_capacity(title.len() * 3);
    push_url(title, &mut url);
    html.push_str(std::str::from_utf8(&url).expect("a URL is ASCII"));
    html.push_str("\" title=\"");
    push_html(title, html);
    html.push_str("\">");
    push_html(title, html);
    html.push_str("</a>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_survives_json() {
        let nasty = "a\"b\\c\td\ne\u{1}f\u{200e}𠮷🎉é";
        let mut line = vec![b'"'];
        push_json(nasty, &mut line);
        line.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), nasty);
    }

    #[test]
    fn urls_are_written_as_mediawiki_does() {
        let mut url = Vec::new();
        push_url("File:Ferrari 550 - Prévot (3)'s \"x\".jpg", &mut url);
        let expected = "File:Ferrari_550_-_Pr%C3%A9vot_(3)%27s_%22x%22.jpg";
        assert_eq!(String::from_utf8(url).unwrap(), expected);
    }

    #[test]
    fn a_link_escapes_what_html_needs_escaped() {
        let mut html = String::new();
        push_link("A & \"B\"", &mut html);
        let expected = r#"<a href="/wiki/A_%26_%22B%22" title="A &amp; &quot;B&quot;">A &amp; &quot;B&quot;</a>"#;
        assert_eq!(html, expected);
    }

    #[test]
    fn the_same_number_gives_the_same_title_and_others_differ() {
        let title = |seed| {
            let mut title = String::new();
            add_title(Script::Latin, &mut Dice::new(seed), &mut title);
            title
        };
        assert_eq!(title(1), title(1));
        let all: std::collections::BTreeSet<_> = (0..1000).map(title).collect();
        assert_eq!(all.len(), 1000);
    }
}
