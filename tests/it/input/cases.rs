//! Records that nobody would want to get, and some that only look like it.
//!
//! Each is about a wiki of its own, `case000` and so on, so that whatever becomes of it can be told
//! from what becomes of the others.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::Raw;

/// A record and what it is.
pub struct Case {
    pub name: String,
    pub record: Raw,
}

/// The fields that the shipped topology declares, and the kind of each.
const DECLARED: &[(&str, &str)] = &[
    ("/meta/id", "string"),
    ("/meta/dt", "string"),
    ("/meta/domain", "string"),
    ("/meta/request_id", "string"),
    ("/meta/topic", "string"),
    ("/meta/partition", "int"),
    ("/meta/offset", "int"),
    ("/wiki", "string"),
    ("/server_name", "string"),
    ("/type", "string"),
    ("/id", "int"),
    ("/namespace", "int"),
    ("/title", "string"),
    ("/user", "string"),
    ("/bot", "bool"),
    ("/minor", "bool"),
    ("/patrolled", "bool"),
    ("/comment", "string"),
    ("/length/old", "int"),
    ("/length/new", "int"),
    ("/revision/old", "int"),
    ("/revision/new", "int"),
    ("/log_id", "int"),
    ("/log_type", "string"),
    ("/log_action", "string"),
];

/// A faultless edit of 7 bytes.
pub fn edit(wiki: &str) -> Value {
    json!({
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": {
            "id": wiki, "dt": "2026-05-05T11:17:40.822Z", "domain": "en.wikipedia.org",
            "request_id": "r", "topic": "eqiad.mediawiki.recentchange", "partition": 0, "offset": 7,
        },
        "wiki": wiki, "server_name": "en.wikipedia.org", "type": "edit", "id": 1, "namespace": 0,
        "title": "Tide mill", "user": "Ada", "bot": false, "minor": true, "patrolled": false,
        "comment": "a comment", "length": {"old": 3, "new": 10},
        "revision": {"old": 1, "new": 2}, "log_id": 1, "log_type": "", "log_action": "",
    })
}

/// All of them, in the order in which they are sent.
pub fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    cases.what_is_no_event();
    cases.what_is_missing();
    cases.wrong_types();
    cases.numbers();
    cases.shapes();
    cases.texts();
    cases.times();
    cases.keys();
    cases.sizes();
    cases.0
}

struct Cases(Vec<Case>);

impl Cases {
    /// The wiki of the next case.
    fn wiki(&self) -> String {
        format!("case{:03}", self.0.len())
    }

    /// Any bytes, under the key of an event.
    fn bytes(&mut self, name: &str, value: impl Into<Option<Vec<u8>>>) {
        let key = Some(self.wiki().into_bytes());
        self.keyed(name, key, value.into());
    }

    fn keyed(&mut self, name: &str, key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        self.0.push(Case {
            name: name.to_owned(),
            record: Raw {
                partition: None,
                key,
                value,
            },
        });
    }

    /// An edit with something changed; its key is what it says its wiki is.
    fn event(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut event = edit(&self.wiki());
        change(&mut event);
        let key = event["wiki"].as_str().map(|wiki| wiki.as_bytes().to_vec());
        self.keyed(name, key, Some(event.to_string().into_bytes()));
    }

    /// An edit with a text of it replaced, for what no JSON value can say.
    fn text(&mut self, name: &str, from: &str, to: &str) {
        let text = edit(&self.wiki()).to_string();
        assert!(text.contains(from), "{name}");
        self.bytes(name, text.replacen(from, to, 1).into_bytes());
    }

    fn what_is_no_event(&mut self) {
        self.bytes("a tombstone", None);
        self.bytes("no bytes", Vec::new());
        for (name, value) in [
            ("blanks", " \n"),
            ("no JSON", "hello"),
            ("half an object", "{\"meta\":{\"dt\":"),
            ("two objects", "{} {}"),
            ("single quotes", "{'wiki':'enwiki'}"),
            ("an empty object", "{}"),
            ("a list", "[]"),
            ("a text", "\"hello\""),
            ("a number", "1"),
            ("true", "true"),
            ("null", "null"),
        ] {
            self.bytes(name, value.as_bytes().to_vec());
        }
        self.text("a mark of the byte order", "{", "\u{feff}{");
        let mut broken = edit(&self.wiki()).to_string().into_bytes();
        let comment = broken.windows(9).position(|word| word == b"a comment");
        broken[comment.expect("it has one")] = 0xFF;
        self.bytes("no UTF-8 in a field that is read", broken);
        self.bytes("no UTF-8 at all", vec![0xFF, 0xFE, 0x00, 0x80]);
    }

    fn what_is_missing(&mut self) {
        for (field, _) in DECLARED {
            self.event(&format!("{field} missing"), |event| remove(event, field));
            self.event(&format!("{field} null"), |event| {
                *at(event, field) = Value::Null;
            });
        }
        for field in ["/meta", "/length", "/revision"] {
            self.event(&format!("{field} missing"), |event| remove(event, field));
            self.event(&format!("{field} is a list"), |event| {
                *at(event, field) = json!([{"dt": "2026-05-05T11:17:40.822Z"}]);
            });
        }
    }

    fn wrong_types(&mut self) {
        for (field, kind) in DECLARED {
            let wrong = [
                ("int", json!(5)),
                ("double", json!(1.5)),
                ("bool", json!(true)),
                ("string", json!("x")),
                ("list", json!(["x"])),
                ("map", json!({"x": 1})),
            ];
            for (found, value) in wrong {
                if found != *kind {
                    self.event(&format!("{field} as {found}"), |event| {
                        *at(event, field) = value;
                    });
                }
            }
        }
    }

    fn numbers(&mut self) {
        for (name, from, to) in [
            ("id is 2^63", "\"id\":1,", "\"id\":9223372036854775808,"),
            (
                "id has 30 digits",
                "\"id\":1,",
                "\"id\":123456789012345678901234567890,",
            ),
            ("id is 1e400", "\"id\":1,", "\"id\":1e400,"),
            ("id is NaN", "\"id\":1,", "\"id\":NaN,"),
            ("id is Infinity", "\"id\":1,", "\"id\":Infinity,"),
            ("id is -0.0", "\"id\":1,", "\"id\":-0.0,"),
            ("id is 7.0", "\"id\":1,", "\"id\":7.0,"),
            (
                "namespace is beyond its column",
                "\"namespace\":0",
                "\"namespace\":3000000000",
            ),
            (
                "length.new as large as can be",
                "\"new\":10",
                "\"new\":9223372036854775807",
            ),
            (
                "a difference beyond 64 bits",
                "{\"old\":3,\"new\":10}",
                "{\"old\":-1,\"new\":9223372036854775807}",
            ),
            (
                "a difference that cannot be negated",
                "{\"old\":3,\"new\":10}",
                "{\"old\":9223372036854775807,\"new\":-1}",
            ),
        ] {
            self.text(name, from, to);
        }
    }

    fn shapes(&mut self) {
        for (name, value) in [
            ("an object", json!({"action": "edit", "filter": [1, "a"]})),
            ("a list", json!([])),
            ("a mixed list", json!([1, "two", 3.5, null, {"4": []}])),
            ("a text", json!("params")),
            ("a number", json!(0)),
            ("null", Value::Null),
        ] {
            self.event(&format!("log_params are {name}"), |event| {
                event["type"] = json!("log");
                event["log_type"] = json!("abusefilter");
                event["log_params"] = value;
            });
        }
        self.event("a log entry without log_params", |event| {
            event["type"] = json!("log");
        });
        self.event("a type that nobody knows", |event| {
            event["type"] = json!("external");
        });
        self.event("a canary", |event| {
            event["meta"]["domain"] = json!("canary");
        });
        self.text(
            "a name twice",
            "\"title\":",
            "\"title\":\"first\",\"title\":",
        );
        self.text(
            "meta twice",
            "\"meta\":{",
            "\"meta\":{\"dt\":\"x\"},\"meta\":{",
        );
        self.text("blanks around it", "{", "  \n{");
        let deep = |count: usize, open: &str, close: &str| {
            format!("{}1{}", open.repeat(count), close.repeat(count))
        };
        for (count, shown) in [
            (2_000, "2,000"),
            (20_000, "20,000"),
            (1_000_000, "1,000,000"),
        ] {
            for (what, open, close) in [("lists", "[", "]"), ("objects", "{\"a\":", "}")] {
                self.text(
                    &format!("{shown} {what} in a field that nobody reads"),
                    "\"$schema\":",
                    &format!("\"log_params\":{},\"$schema\":", deep(count, open, close)),
                );
            }
        }
        let list = deep(10_000, "[", "]");
        self.text("10,000 lists as the title", "\"Tide mill\"", &list);
        self.text(
            "10,000 lists as length.old",
            "\"old\":3",
            &format!("\"old\":{list}"),
        );
        self.bytes(
            "10,000 lists that do not end",
            "[".repeat(10_000).into_bytes(),
        );
        self.bytes(
            "10,000 objects that do not end",
            "{\"meta\":".repeat(10_000).into_bytes(),
        );
    }

    fn texts(&mut self) {
        for field in ["/title", "/user", "/comment"] {
            self.event(&format!("{field} of four-byte characters"), |event| {
                *at(event, field) = json!("😀 𝔘𝔰𝔢𝔯 🏴󠁧󠁢󠁳󠁣󠁴󠁿");
            });
            self.event(&format!("{field} empty"), |event| {
                *at(event, field) = json!("");
            });
            self.event(&format!("{field} of control characters"), |event| {
                *at(event, field) = json!("a\u{0}b\r\n\t\u{7f}\\\"'`;--");
            });
        }
        self.text("an escaped character", "Tide mill", "\\u0054\\ud83d\\ude00");
        self.text("half an escaped character", "Tide mill", "\\ud83d");
        for (field, limit) in [
            ("/title", 1024),
            ("/user", 255),
            ("/type", 255),
            ("/server_name", 255),
            ("/comment", 65_535),
        ] {
            for over in [0, 1] {
                let text = "x".repeat(limit + over);
                let name = format!("{field} of {} bytes", text.len());
                self.event(&name, |event| *at(event, field) = json!(text));
            }
        }
        self.event("/title of 256 four-byte characters", |event| {
            event["title"] = json!("😀".repeat(256));
        });
        self.event("/title of 257 four-byte characters", |event| {
            event["title"] = json!("😀".repeat(257));
        });
        for over in [0, 1] {
            let wiki = format!("{}{}", self.wiki(), "w".repeat(248 + over));
            self.event(&format!("/wiki of {} bytes", wiki.len()), |event| {
                event["wiki"] = json!(wiki);
            });
        }
        for (name, user) in [
            ("an IPv4 address", "192.0.2.7"),
            ("an IPv6 address", "2001:DB8::7"),
            ("a temporary account", "~2026-12345-67"),
            ("no address", "1.2.3.4.5"),
        ] {
            self.event(&format!("/user is {name}"), |event| {
                event["user"] = json!(user)
            });
        }
    }

    fn times(&mut self) {
        for time in [
            "",
            "yesterday",
            "2026-13-05T11:17:40Z",
            "2026-05-05",
            "2026-05-05T11:17:40",
            "1777979860822",
            "2026-05-05T24:17:40Z",
            "2026-05-05T11:17:40.822+00:00",
            "2026-05-05T11:17:40.822999999Z",
            "2026-05-05t11:17:40z",
            "2015-09-12T00:46:58Z",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "0001-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "-009999-01-02T01:59:59Z",
        ] {
            self.event(&format!("meta.dt is {time:?}"), |event| {
                event["meta"]["dt"] = json!(time);
            });
        }
        for ms in [
            1_777_979_860_822,
            0,
            -1,
            1_777_979_860_822_000_000,
            i64::MAX,
            i64::MIN,
        ] {
            self.event(&format!("meta.dt is the number {ms}"), |event| {
                event["meta"]["dt"] = json!(ms);
            });
        }
    }

    fn keys(&mut self) {
        let event = |wiki: &str| Some(edit(wiki).to_string().into_bytes());
        let value = event(&self.wiki());
        self.keyed("no key", None, value);
        let value = event(&self.wiki());
        self.keyed("another wiki's key", Some(b"enwiki".to_vec()), value);
        let value = event(&self.wiki());
        self.keyed("an empty key", Some(Vec::new()), value);
        let value = event(&self.wiki());
        self.keyed("a key that is no UTF-8", Some(vec![0xFF]), value);
    }

    fn sizes(&mut self) {
        self.event("an event of 2 MB that nobody reads", |event| {
            event["parsedcomment"] = json!("x".repeat(2 << 20));
        });
        self.event("an event of 2 MB in its comment", |event| {
            event["comment"] = json!("x".repeat(2 << 20));
        });
        self.event("an event of 6 MB", |event| {
            event["parsedcomment"] = json!("x".repeat(6 << 20));
        });
        let mut random = StdRng::seed_from_u64(1);
        let mut noise = |bytes: usize| -> Vec<u8> {
            let noise = std::iter::repeat_with(|| random.random_range(b' '..=b'~'));
            noise.take(bytes).collect()
        };
        let (two, fifteen, seventeen) = (noise(2 << 20), noise(15_000_000), noise(17_000_000));
        self.bytes("noise of 2 MB", two);
        self.bytes("noise of 15 MB", fifteen);
        self.bytes("noise of more than a dead letter can hold", seventeen);
    }
}

fn at<'v>(event: &'v mut Value, field: &str) -> &'v mut Value {
    event.pointer_mut(field).expect("a field of an edit")
}

fn remove(event: &mut Value, field: &str) {
    let (above, name) = field.rsplit_once('/').expect("a pointer");
    let above = event.pointer_mut(above).and_then(Value::as_object_mut);
    above.expect("a field of an edit").shift_remove(name);
}
