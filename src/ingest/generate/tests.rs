//! The figures of what is generated, held against the published ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::*;

/// What a sample of events looks like.
#[derive(Default)]
struct Sample {
    events: f64,
    types: BTreeMap<String, f64>,
    wikis: BTreeMap<String, f64>,
    bots: f64,
    bots_of_type: BTreeMap<String, f64>,
    sizes: Vec<f64>,
    sizes_of_type: BTreeMap<String, Vec<f64>>,
    requests: HashMap<String, f64>,
    people_edits: f64,
    temporary: f64,
    edits: f64,
    pages: HashMap<(String, String), f64>,
    logs: f64,
    without_id: f64,
    params: BTreeSet<&'static str>,
    behind_ms: Vec<f64>,
    lag_s: Vec<f64>,
    canaries: f64,
    four_bytes: f64,
    ids: BTreeSet<String>,
    first_ms: i64,
    last_ms: i64,
}

fn sample(events: usize) -> Sample {
    let mut generator = Generator::new(Synthetic::default());
    let mut sample = Sample {
        first_ms: i64::MAX,
        last_ms: i64::MIN,
        ..Sample::default()
    };
    let (mut line, mut offsets) = (Vec::new(), BTreeMap::new());
    for _ in 0..events {
        let made = generator.next_event(&mut line);
        let event: Value = serde_json::from_slice(&line)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)));
        let topic = event["meta"]["topic"].as_str().unwrap().to_owned();
        let offset = event["meta"]["offset"].as_i64().unwrap();
        let before = offsets.insert(topic, offset);
        assert!(
            before.is_none_or(|before| before + 1 == offset),
            "offsets are contiguous"
        );
        sample.add(&event, made, line.len());
    }
    sample
}

impl Sample {
    fn add(&mut self, event: &Value, made: Made, size: usize) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ms = Timestamp::parse_rfc3339(event["meta"]["dt"].as_str().unwrap())
            .unwrap()
            .millis();
        assert_eq!(made.time.millis(), ms);
        assert_eq!(made.wiki, event["wiki"].as_str());
        assert!(
            self.ids.insert(text(&event["meta"]["id"])),
            "an id came twice"
        );
        self.events += 1.0;
        self.first_ms = self.first_ms.min(ms);
        if ms < self.last_ms {
            self.behind_ms.push((self.last_ms - ms) as f64);
        }
        self.last_ms = self.last_ms.max(ms);
        if event["meta"]["domain"] == "canary" {
            self.canaries += 1.0;
            let names: Vec<_> = event.as_object().unwrap().keys().collect();
            assert_eq!(names, ["$schema", "meta"]);
            return;
        }
        let (kind, wiki) = (text(&event["type"]), text(&event["wiki"]));
        let bot = event["bot"] == true;
        *self.types.entry(kind.clone()).or_default() += 1.0;
        *self.wikis.entry(wiki.clone()).or_default() += 1.0;
        *self.bots_of_type.entry(kind.clone()).or_default() += f64::from(u8::from(bot));
        self.bots += f64::from(u8::from(bot));
        self.sizes.push(size as f64);
        self.sizes_of_type
            .entry(kind.clone())
            .or_default()
            .push(size as f64);
        *self
            .requests
            .entry(text(&event["meta"]["request_id"]))
            .or_default() += 1.0;
        self.lag_s
            .push(ms as f64 / 1000.0 - event["timestamp"].as_f64().unwrap());
        let (user, title) = (text(&event["user"]), text(&event["title"]));
        let wide = |text: &str| text.chars().any(|char| char.len_utf8() == 4);
        self.four_bytes += f64::from(u8::from(wide(&user) || wide(&title)));
        if ["edit", "new"].contains(&kind.as_str()) {
            self.edits += 1.0;
            *self.pages.entry((wiki, title)).or_default() += 1.0;
            self.people_edits += f64::from(u8::from(!bot));
            self.temporary += f64::from(u8::from(user.starts_with("~2026-")));
        }
        if kind == "log" {
            self.logs += 1.0;
            self.without_id += f64::from(u8::from(event["id"].is_null()));
            self.params.insert(match &event["log_params"] {
                Value::Object(_) => "object",
                Value::Array(list) if list.is_empty() => "empty list",
                Value::Array(_) => "list",
                Value::String(_) => "text",
                _ => "none",
            });
        }
    }
}

fn quantile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * p) as usize]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn what_is_generated_has_the_published_statistics() {
    let s = sample(100_000);
    let mut wrong = Vec::new();
    let mut check = |what: &str, found: f64, least: f64, most: f64| {
        println!("{what}: {found:.4} ({least} to {most})");
        if !(least..=most).contains(&found) {
            wrong.push(format!(
                "{what}: expected {least} to {most}, found {found:.4}"
            ));
        }
    };
    let part =
        |map: &BTreeMap<String, f64>, key: &str| map.get(key).copied().unwrap_or(0.0) / s.events;
    // Types: 45/44/6/4 %; the captures lie between 38–56, 38–51, 5–8 and 2–5 %.
    check("edit", part(&s.types, "edit"), 0.40, 0.50);
    check("categorize", part(&s.types, "categorize"), 0.40, 0.49);
    check("log", part(&s.types, "log"), 0.045, 0.075);
    check("new", part(&s.types, "new"), 0.03, 0.06);
    // Wikis.
    check("commonswiki", part(&s.wikis, "commonswiki"), 0.38, 0.46);
    check("wikidatawiki", part(&s.wikis, "wikidatawiki"), 0.10, 0.165);
    check("enwiki", part(&s.wikis, "enwiki"), 0.06, 0.10);
    check("zhwikisource", part(&s.wikis, "zhwikisource"), 0.05, 0.14);
    check("cewiki", part(&s.wikis, "cewiki"), 0.04, 0.09);
    let mut by_size: Vec<f64> = s.wikis.values().copied().collect();
    by_size.sort_by(|a, b| b.total_cmp(a));
    check(
        "the ten largest wikis",
        by_size[..10].iter().sum::<f64>() / s.events,
        0.80,
        0.92,
    );
    check("wikis", by_size.len() as f64, 70.0, 100.0);
    // Bots.
    check("bots", s.bots / s.events, 0.34, 0.48);
    let of_type = |kind: &str| s.bots_of_type[kind] / s.types[kind];
    check("bots among edits", of_type("edit"), 0.18, 0.36);
    check("bots among categorize", of_type("categorize"), 0.42, 0.62);
    check("bots among new", of_type("new"), 0.55, 0.85);
    // Sizes: 0.85 to 5.6 KB, mean 1.4.
    check("mean size", mean(&s.sizes), 1250.0, 1500.0);
    check("1 % of the sizes", quantile(&s.sizes, 0.01), 800.0, 1000.0);
    check("median size", quantile(&s.sizes, 0.5), 1150.0, 1420.0);
    check(
        "95 % of the sizes",
        quantile(&s.sizes, 0.95),
        1650.0,
        2300.0,
    );
    check(
        "99.9 % of the sizes",
        quantile(&s.sizes, 0.999),
        2300.0,
        5600.0,
    );
    check("largest", quantile(&s.sizes, 1.0), 2500.0, 6500.0);
    for (kind, about) in [
        ("edit", 1311.0),
        ("categorize", 1428.0),
        ("log", 1356.0),
        ("new", 1531.0),
    ] {
        check(
            kind,
            mean(&s.sizes_of_type[kind]),
            about - 220.0,
            about + 220.0,
        );
    }
    // Requests: 2.2 events each, most of them one.
    let per_request: Vec<f64> = s.requests.values().copied().collect();
    check("events per request", mean(&per_request), 1.9, 2.5);
    check(
        "half of the requests",
        quantile(&per_request, 0.5),
        1.0,
        1.0,
    );
    check(
        "nine tenths of the requests",
        quantile(&per_request, 0.9),
        4.0,
        6.0,
    );
    check(
        "the largest request",
        quantile(&per_request, 1.0),
        20.0,
        80.0,
    );
    // People and pages.
    check(
        "temporary accounts",
        s.temporary / s.people_edits,
        0.05,
        0.12,
    );
    let once = s.pages.values().filter(|count| **count == 1.0).count() as f64;
    check("pages edited once", once / s.pages.len() as f64, 0.85, 0.97);
    // Logs.
    check("logs without id", s.without_id / s.logs, 0.098, 0.45);
    check("events without id", s.without_id / s.events, 0.006, 0.022);
    assert_eq!(
        s.params,
        BTreeSet::from(["empty list", "list", "object", "text"])
    );
    // Time.
    check("behind", s.behind_ms.len() as f64 / s.events, 0.10, 0.23);
    check(
        "half of those behind",
        quantile(&s.behind_ms, 0.5),
        11.0,
        21.0,
    );
    check("furthest behind", quantile(&s.behind_ms, 1.0), 40.0, 46.0);
    check("lag of timestamp", quantile(&s.lag_s, 0.5), 1.3, 2.4);
    check("99 % of the lags", quantile(&s.lag_s, 0.99), 5.0, 12.0);
    check(
        "oldest timestamp, years",
        quantile(&s.lag_s, 1.0) / 31_557_600.0,
        5.0,
        19.1,
    );
    let seconds = (s.last_ms - s.first_ms) as f64 / 1000.0;
    check("events per second", s.events / seconds, 35.0, 40.0);
    check(
        "canaries per hour",
        s.canaries / seconds * 3600.0,
        6.0,
        10.0,
    );
    check(
        "characters of four bytes",
        s.four_bytes / s.events,
        0.001,
        0.05,
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn bots_come_in_bursts() {
    let mut generator = Generator::new(Synthetic::default());
    let mut line = Vec::new();
    let mut who = Vec::new();
    while who.len() < 3000 {
        if generator.next_event(&mut line).wiki == Some("wikidatawiki") {
            who.push(memchr::memmem::find(&line, br#""bot":true"#).is_some());
        }
    }
    // In a stretch of 30 events nearly all or nearly none are made by bots.
    let mixed = who
        .chunks(30)
        .filter(|stretch| (4..=26).contains(&stretch.iter().filter(|bot| **bot).count()))
        .count();
    assert!(who.contains(&true) && who.contains(&false));
    assert!(
        mixed * 2 < who.len() / 30,
        "{mixed} of {} stretches are mixed",
        who.len() / 30
    );
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_one_others() {
    let lines = |seed| {
        let mut generator = Generator::new(Synthetic {
            seed,
            ..Synthetic::default()
        });
        let mut line = Vec::new();
        (0..500)
            .map(|_| {
                generator.next_event(&mut line);
                line.clone()
            })
            .collect::<Vec<_>>()
    };
    assert!(lines(7) == lines(7));
    assert!(lines(7) != lines(8));
}

#[test]
fn without_a_rate_the_events_end_now_and_with_one_they_begin_now() {
    let now = Timestamp(1_800_000_000_000);
    let mut options = GenerateOptions::new("t");
    assert_eq!(
        options.synthetic(now).start,
        now.plus_millis(-ENDLESS_SPAN_MS)
    );
    options.events = Some(374);
    assert_eq!(options.synthetic(now).start, now.plus_millis(-10_000));
    options.rate = Some(5000.0);
    assert_eq!(options.synthetic(now).start, now);
    assert_eq!(options.synthetic(now).events_per_second, 5000.0);
    options.start = Some(Timestamp(5));
    assert_eq!(options.synthetic(now).start, Timestamp(5));
}
