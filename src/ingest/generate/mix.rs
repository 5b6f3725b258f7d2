//! What the real stream is made of, in figures.
//!
//! Measured on captures of 2026 (a complete one of 45 seconds, five short ones) and on published
//! figures of ten minutes: shares of wikis and types, the part of bots, lengths, delays. Where the
//! captures differ, the value lies between them. `tests` at the end of [`super`] check that what
//! is generated comes out like this.

/// Events per second, in the long run.
pub const EVENTS_PER_SECOND: f64 = 37.4;

/// How much the rate changes from second to second (sigma of a lognormal factor): together with
/// chance it makes the 95th percentile 1.6 times the mean.
pub const RATE_SIGMA: f64 = 0.25;

/// Part of the events whose `meta.dt` lies before that of an earlier one.
pub const BEHIND: f64 = 0.17;

/// By how much those lie behind, in milliseconds.
pub const BEHIND_MS: Quantiles = Quantiles(&[
    (0.0, 1.0),
    (0.5, 16.0),
    (0.9, 36.0),
    (0.95, 39.0),
    (0.99, 44.0),
    (1.0, 46.0),
]);

/// By how many seconds `timestamp` (the change) lies before `meta.dt` (the event).
pub const LAG_S: Quantiles = Quantiles(&[
    (0.0, 0.116),
    (0.05, 0.61),
    (0.25, 1.141),
    (0.5, 1.634),
    (0.75, 2.18),
    (0.9, 2.897),
    (0.95, 3.574),
    (0.99, 6.72),
    (0.999, 18.6),
    (1.0, 32.3),
]);

/// Part of the uploads whose `timestamp` is that of the file, years ago.
pub const OLD_UPLOADS: f64 = 0.03;
/// The oldest of them, in years.
pub const OLDEST_UPLOAD_YEARS: f64 = 19.0;

/// How often a canary event comes in each data centre, in milliseconds of event time.
pub const CANARY_EVERY_MS: i64 = 15 * 60 * 1000;

/// Change of a page's size by an edit, in bytes.
pub const DELTA: Quantiles = Quantiles(&[
    (0.0, -57_540.0),
    (0.01, -1572.0),
    (0.05, -219.0),
    (0.1, -63.0),
    (0.25, -2.0),
    (0.5, 18.0),
    (0.75, 147.0),
    (0.9, 502.0),
    (0.95, 939.0),
    (0.99, 3617.0),
    (0.999, 14_772.0),
    (1.0, 20_459.0),
]);

/// Size of an edited page before the edit, in bytes.
pub const PAGE_SIZE: Quantiles = Quantiles(&[
    (0.0, 300.0),
    (0.25, 2000.0),
    (0.5, 9000.0),
    (0.9, 60_000.0),
    (1.0, 900_000.0),
]);

/// Size of a new page, in bytes.
pub const NEW_SIZE: Quantiles = Quantiles(&[
    (0.0, 0.0),
    (0.05, 23.0),
    (0.25, 70.0),
    (0.5, 500.0),
    (0.75, 5000.0),
    (0.9, 12_279.0),
    (0.99, 25_129.0),
    (1.0, 26_248.0),
]);

/// Length of a comment that a person or a bot has written, in characters.
pub const COMMENT: Quantiles = Quantiles(&[
    (0.0, 1.0),
    (0.1, 16.0),
    (0.25, 38.0),
    (0.5, 62.0),
    (0.75, 123.0),
    (0.9, 210.0),
    (0.95, 237.0),
    (0.99, 300.0),
    (1.0, 500.0),
]);

/// Part of the edits by people that have no comment.
pub const NO_COMMENT: f64 = 0.08;
/// Part of the edits that are marked as minor.
pub const MINOR: f64 = 0.24;
/// Of the edits that can be patrolled, the part that is.
pub const PATROLLED: f64 = 0.92;
/// Part of the edits by people that come from temporary accounts.
pub const TEMPORARY: f64 = 0.08;
/// Part of the edits that go to a page edited shortly before.
pub const SAME_PAGE: f64 = 0.1;
/// Slope of edits over the rank of their authors, people only.
pub const AUTHORS_ZIPF: f64 = 0.7;
/// Requests that fill far more categories than others.
pub const MANY_CATEGORIES: f64 = 0.003;
/// The most events that one request has made.
pub const MOST_PER_REQUEST: u32 = 68;

/// A distribution given by some of its quantiles, straight between them.
#[derive(Clone, Copy, Debug)]
pub struct Quantiles(pub &'static [(f64, f64)]);

impl Quantiles {
    /// The value at `p`, from 0 to 1.
    pub fn at(self, p: f64) -> f64 {
        let above = self
            .0
            .iter()
            .position(|(q, _)| *q >= p)
            .unwrap_or(self.0.len() - 1);
        let (q1, v1) = self.0[above];
        let Some((q0, v0)) = above.checked_sub(1).map(|below| self.0[below]) else {
            return v1;
        };
        v0 + (v1 - v0) * (p - q0) / (q1 - q0)
    }
}

/// The script that a wiki's titles are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Letters with and without accents.
    Latin,
    /// Two bytes per letter.
    Cyrillic,
    /// Two bytes per letter, from right to left.
    Arabic,
    /// Two bytes per letter, from right to left.
    Hebrew,
    /// Three bytes per character, rare ones four.
    Han,
    /// Three bytes per character.
    Indic,
}

/// What is done on a wiki by people, or by bots.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Part of edits among what is done (the rest are logged actions).
    pub edit: f64,
    /// Part of new pages.
    pub new: f64,
    /// Category changes that follow each of those, on average.
    pub categories: f64,
    /// How many of those one request holds, on average.
    pub per_request: f64,
}

/// A wiki.
#[derive(Clone, Copy, Debug)]
pub struct Wiki {
    /// Its database's name, the `wiki` field.
    pub db: &'static str,
    /// Its part of all events.
    pub share: f64,
    /// The part of bots in its events.
    pub bots: f64,
    /// How many requests in a row bots make, or people, before that changes: bots come in bursts.
    pub burst: f64,
    /// The script of its titles.
    pub script: Script,
    /// How many people are active on it.
    pub people: u32,
    /// What people do.
    pub human: Work,
    /// What bots do.
    pub bot: Work,
}

const fn work(edit: f64, new: f64, categories: f64, per_request: f64) -> Work {
    Work {
        edit,
        new,
        categories,
        per_request,
    }
}

const HUMAN: Work = work(0.82, 0.05, 0.6, 1.05);
const BOT: Work = work(0.70, 0.15, 0.8, 1.6);

const fn wiki(db: &'static str, share: f64, bots: f64, script: Script) -> Wiki {
    Wiki {
        db,
        share,
        bots,
        burst: 40.0,
        script,
        people: 300,
        human: HUMAN,
        bot: BOT,
    }
}

use Script::{Arabic, Cyrillic, Han, Hebrew, Indic, Latin};

/// The wikis that make nine tenths of the stream.
pub const LARGE: [Wiki; 17] = [
    Wiki {
        burst: 3.0,
        people: 3000,
        human: work(0.86, 0.02, 1.0, 1.05),
        bot: work(0.60, 0.02, 3.0, 1.6),
        ..wiki("commonswiki", 0.425, 0.40, Latin)
    },
    Wiki {
        people: 2000,
        human: work(0.93, 0.06, 0.05, 1.05),
        bot: work(0.90, 0.10, 0.0, 1.6),
        ..wiki("wikidatawiki", 0.130, 0.20, Latin)
    },
    Wiki {
        bot: work(0.42, 0.55, 0.9, 1.6),
        ..wiki("zhwikisource", 0.090, 0.97, Han)
    },
    Wiki {
        people: 5000,
        human: work(0.85, 0.04, 0.55, 1.05),
        bot: work(0.95, 0.01, 0.6, 1.2),
        ..wiki("enwiki", 0.080, 0.087, Latin)
    },
    Wiki {
        bot: work(0.90, 0.10, 1.2, 1.6),
        ..wiki("cewiki", 0.060, 0.97, Cyrillic)
    },
    Wiki {
        people: 1000,
        ..wiki("frwiki", 0.016, 0.20, Latin)
    },
    Wiki {
        bot: work(0.20, 0.02, 0.4, 1.6),
        ..wiki("enwikinews", 0.015, 0.95, Latin)
    },
    wiki("ruwikinews", 0.014, 0.90, Cyrillic),
    wiki("urwiki", 0.0122, 0.40, Arabic),
    Wiki {
        people: 1500,
        ..wiki("dewiki", 0.0115, 0.02, Latin)
    },
    wiki("ptwikinews", 0.0106, 0.05, Latin),
    wiki("idwiktionary", 0.0091, 0.60, Latin),
    wiki("enwiktionary", 0.0077, 0.10, Latin),
    Wiki {
        people: 1000,
        ..wiki("eswiki", 0.0071, 0.03, Latin)
    },
    wiki("arwiki", 0.0064, 0.64, Arabic),
    wiki("zhwiki", 0.0064, 0.20, Han),
    wiki("arzwiki", 0.0055, 0.98, Arabic),
];

/// The others, in the order of their size; their part falls with their rank.
pub const SMALL: [(&str, f64, Script); 72] = [
    ("ptwiki", 0.05, Latin),
    ("jawiki", 0.05, Han),
    ("ruwiki", 0.10, Cyrillic),
    ("viwiki", 0.30, Latin),
    ("hewiki", 0.05, Hebrew),
    ("cywiki", 0.95, Latin),
    ("ruwiktionary", 0.30, Cyrillic),
    ("idwiki", 0.05, Latin),
    ("zhwiktionary", 0.10, Han),
    ("nlwiki", 0.05, Latin),
    ("knwiki", 0.05, Indic),
    ("srwiki", 0.30, Cyrillic),
    ("cawiki", 0.20, Latin),
    ("tawiki", 0.05, Indic),
    ("itwiki", 0.10, Latin),
    ("specieswiki", 0.00, Latin),
    ("bnwiki", 0.08, Indic),
    ("ruwikiquote", 0.20, Cyrillic),
    ("mgwiktionary", 0.90, Latin),
    ("fawiki", 0.10, Arabic),
    ("elwiki", 0.05, Cyrillic),
    ("ukwiki", 0.10, Cyrillic),
    ("trwiki", 0.10, Latin),
    ("idwikisource", 0.05, Latin),
    ("cswiki", 0.05, Latin),
    ("swwiki", 0.10, Latin),
    ("zh_min_nanwiki", 0.50, Latin),
    ("eowiki", 0.10, Latin),
    ("uzwiki", 0.50, Latin),
    ("thwiki", 0.05, Indic),
    ("hrwiki", 0.05, Latin),
    ("incubatorwiki", 0.00, Latin),
    ("euwiki", 0.20, Latin),
    ("metawiki", 0.30, Latin),
    ("plwiki", 0.10, Latin),
    ("svwiki", 0.10, Latin),
    ("kowiki", 0.20, Han),
    ("huwiki", 0.10, Latin),
    ("fiwiki", 0.10, Latin),
    ("nowiki", 0.10, Latin),
    ("rowiki", 0.10, Latin),
    ("dawiki", 0.10, Latin),
    ("bgwiki", 0.10, Cyrillic),
    ("simplewiki", 0.05, Latin),
    ("etwiki", 0.10, Latin),
    ("skwiki", 0.10, Latin),
    ("ltwiki", 0.10, Latin),
    ("slwiki", 0.10, Latin),
    ("glwiki", 0.10, Latin),
    ("hywiki", 0.20, Cyrillic),
    ("azwiki", 0.10, Latin),
    ("kawiki", 0.10, Indic),
    ("mswiki", 0.10, Latin),
    ("tlwiki", 0.10, Latin),
    ("mlwiki", 0.05, Indic),
    ("hiwiki", 0.05, Indic),
    ("mrwiki", 0.05, Indic),
    ("tewiki", 0.05, Indic),
    ("kkwiki", 0.20, Cyrillic),
    ("bewiki", 0.10, Cyrillic),
    ("mkwiki", 0.10, Cyrillic),
    ("sqwiki", 0.10, Latin),
    ("afwiki", 0.10, Latin),
    ("iswiki", 0.10, Latin),
    ("lawiki", 0.10, Latin),
    ("frwiktionary", 0.30, Latin),
    ("frwikisource", 0.20, Latin),
    ("enwikisource", 0.20, Latin),
    ("dewiktionary", 0.20, Latin),
    ("enwikivoyage", 0.05, Latin),
    ("enwikibooks", 0.05, Latin),
    ("mediawikiwiki", 0.10, Latin),
];

/// All wikis; their shares add up to 1.
pub fn wikis() -> Vec<Wiki> {
    let rest = 1.0 - LARGE.iter().map(|wiki| wiki.share).sum::<f64>();
    let weight = |rank: usize| 1.0 / (rank as f64 + 8.0);
    let all: f64 = (0..SMALL.len()).map(weight).sum();
    let small = SMALL
        .iter()
        .enumerate()
        .map(|(rank, (db, bots, script))| wiki(db, rest * weight(rank) / all, *bots, *script));
    LARGE.into_iter().chain(small).collect()
}

/// The host of a wiki: `zh_min_nanwiki` is at `zh-min-nan.wikipedia.org`.
pub fn host(db: &str) -> String {
    match db {
        "commonswiki" => return "commons.wikimedia.org".to_owned(),
        "wikidatawiki" => return "www.wikidata.org".to_owned(),
        "specieswiki" => return "species.wikimedia.org".to_owned(),
        "metawiki" => return "meta.wikimedia.org".to_owned(),
        "incubatorwiki" => return "incubator.wikimedia.org".to_owned(),
        "mediawikiwiki" => return "www.mediawiki.org".to_owned(),
        _ => {}
    }
    let families = [
        "wiktionary",
        "wikisource",
        "wikinews",
        "wikiquote",
        "wikibooks",
        "wikivoyage",
    ];
    let of_family = families
        .iter()
        .find_map(|family| Some((db.strip_suffix(family)?, *family)));
    let (language, family) =
        of_family.unwrap_or_else(|| (db.strip_suffix("wiki").unwrap_or(db), "wikipedia"));
    format!("{}.{family}.org", language.replace('_', "-"))
}

/// A logged action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// A page is deleted; `log_params` is an empty list.
    Delete,
    /// A file is uploaded; object.
    Upload,
    /// An edit has met a filter; no `id`, `log_id` 0, object.
    AbuseFilter,
    /// A revision is patrolled; no `id`, object.
    Patrol,
    /// A revision is approved; no `id`, list of numbers and a text.
    Review,
    /// A user is blocked; object.
    Block,
    /// A page is moved; object.
    Move,
    /// An account is made; the host is that of the log-in service.
    NewUser,
    /// A user is thanked; empty list.
    Thanks,
    /// A translation is marked; `log_params` is a text (legacy form).
    Legacy,
}

/// The logged actions and their parts.
pub const LOGGED: [(Logged, f64); 10] = [
    (Logged::Delete, 0.45),
    (Logged::Upload, 0.33),
    (Logged::AbuseFilter, 0.09),
    (Logged::Patrol, 0.02),
    (Logged::Review, 0.02),
    (Logged::Block, 0.025),
    (Logged::Move, 0.025),
    (Logged::NewUser, 0.02),
    (Logged::Thanks, 0.01),
    (Logged::Legacy, 0.01),
];

/// Namespaces of what people edit, except on Commons.
pub const NAMESPACES: [(i32, f64); 9] = [
    (0, 0.736),
    (2, 0.067),
    (3, 0.06),
    (1, 0.045),
    (4, 0.035),
    (6, 0.024),
    (14, 0.012),
    (10, 0.011),
    (828, 0.01),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_and_the_wikis_have_their_hosts() {
        let wikis = wikis();
        let total: f64 = wikis.iter().map(|wiki| wiki.share).sum();
        assert!((total - 1.0).abs() < 1e-9, "{total}");
        let logged: f64 = LOGGED.iter().map(|(_, share)| share).sum();
        let namespaces: f64 = NAMESPACES.iter().map(|(_, share)| share).sum();
        assert!((logged - 1.0).abs() < 1e-9 && (namespaces - 1.0).abs() < 1e-9);
        assert!(
            wikis
                .windows(2)
                .skip(17)
                .all(|pair| pair[0].share > pair[1].share)
        );
        for (db, expected) in [
            ("enwiki", "en.wikipedia.org"),
            ("zh_min_nanwiki", "zh-min-nan.wikipedia.org"),
            ("mgwiktionary", "mg.wiktionary.org"),
            ("zhwikisource", "zh.wikisource.org"),
            ("commonswiki", "commons.wikimedia.org"),
            ("mediawikiwiki", "www.mediawiki.org"),
        ] {
            assert_eq!(host(db), expected);
        }
    }

    #[test]
    fn between_two_quantiles_the_value_is_between_theirs() {
        let check = |p, expected: f64| assert!((LAG_S.at(p) - expected).abs() < 1e-9, "{p}");
        check(0.0, 0.116);
        check(0.5, 1.634);
        check(1.0, 32.3);
        check(0.375, (1.141 + 1.634) / 2.0);
    }
}
