//! Makes events one after the other: decides what happens. [`render`] writes it down.
//!
//! As on the wikis, the unit is the *request*: one or several edits, new pages or logged actions
//! by one user on one wiki, each followed by the changes of categories that it causes. A few
//! requests are under way at the same time, so their events mix.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1, LogNormal, StandardUniform, Zipf};

use super::mix::{self, Logged, Quantiles, Wiki, Work};
use super::text::add_person;
use crate::time::Timestamp;

mod render;

use render::DateText;

/// The topic of the data centre that is active.
pub const ACTIVE_TOPIC: &str = "eqiad.mediawiki.recentchange";
/// The topic of the other one: it carries canary events only.
pub const IDLE_TOPIC: &str = "codfw.mediawiki.recentchange";

const UNDER_WAY: usize = 4;
const RECENT_PAGES: usize = 64;
const YEAR_S: f64 = 31_557_600.0;

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// The same seed gives the same events.
    pub seed: u64,
    /// The time of the first event.
    pub start: Timestamp,
    /// Events per second of event time; [`mix::EVENTS_PER_SECOND`] is the real stream's.
    pub events_per_second: f64,
    /// `meta.offset` of the first event.
    pub first_offset: i64,
}

/// What the log needs to know of an event that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The `wiki` field; none on canary events.
    pub wiki: Option<&'static str>,
    /// `meta.dt`.
    pub time: Timestamp,
}

/// Makes events for ever.
#[derive(Debug)]
pub struct Generator {
    synthetic: Synthetic,
    rng: StdRng,
    places: Vec<Place>,
    /// Index of the wiki whose turn ends at that part of all requests.
    turns: Vec<f64>,
    requests: [Option<Request>; UNDER_WAY],
    /// The latest time so far, in milliseconds with a fraction.
    latest: f64,
    /// The second for which `factor` holds.
    second: i64,
    factor: f64,
    next_canary: i64,
    canaries_left: u8,
    offset: i64,
    idle_offset: i64,
    date: DateText,
    title: String,
    comment: String,
    parsed: String,
}

/// A wiki as it stands.
#[derive(Debug)]
struct Place {
    index: u64,
    wiki: Wiki,
    host: String,
    people: Zipf<f64>,
    /// Part of the requests that bots make.
    bot_requests: f64,
    /// Requests until it is decided anew who is at work.
    burst_left: u32,
    bots_at_work: bool,
    bot: u64,
    rcid: u64,
    revision: u64,
    log_id: u64,
    page: u64,
    recent: [u64; RECENT_PAGES],
}

#[derive(Debug)]
struct Request {
    place: usize,
    bot: bool,
    user: String,
    id: [u8; 36],
    timestamp: i64,
    /// Edits, new pages or logged actions still to come.
    actions: u32,
    /// Changes of categories still to come for the last one.
    categories: u32,
    /// The page of the last one.
    page: u64,
    namespace: i32,
}

/// What an event is about.
enum Action {
    Edit,
    New,
    Categorize,
    Log(Logged),
}

impl Default for Synthetic {
    fn default() -> Synthetic {
        Synthetic {
            seed: 1,
            start: Timestamp(1_777_979_860_000),
            events_per_second: mix::EVENTS_PER_SECOND,
            first_offset: 6_200_000_000,
        }
    }
}

impl Generator {
    /// A generator that stands before its first event.
    pub fn new(synthetic: Synthetic) -> Generator {
        let places: Vec<Place> = mix::wikis()
            .into_iter()
            .enumerate()
            .map(|(n, wiki)| Place::new(n, wiki))
            .collect();
        let mut sum = 0.0;
        let mut turns: Vec<f64> = places
            .iter()
            .map(|place| {
                sum += place.wiki.share / place.events_per_request();
                sum
            })
            .collect();
        turns.iter_mut().for_each(|turn| *turn /= sum);
        Generator {
            synthetic,
            rng: StdRng::seed_from_u64(synthetic.seed),
            places,
            turns,
            requests: [const { None }; UNDER_WAY],
            latest: synthetic.start.millis() as f64,
            second: i64::MIN,
            factor: 1.0,
            next_canary: synthetic.start.millis() + mix::CANARY_EVERY_MS / 2,
            canaries_left: 0,
            offset: synthetic.first_offset,
            idle_offset: 2_100_000_000,
            date: DateText::default(),
            title: String::new(),
            comment: String::new(),
            parsed: String::new(),
        }
    }

    /// Makes the next event; its JSON replaces what is in `line`.
    pub fn next_event(&mut self, line: &mut Vec<u8>) -> Made {
        line.clear();
        let time = self.next_time();
        if time >= self.next_canary {
            self.next_canary += mix::CANARY_EVERY_MS;
            self.canaries_left = 2;
        }
        if self.canaries_left > 0 {
            self.canaries_left -= 1;
            self.write_canary(line, time);
            return Made {
                wiki: None,
                time: Timestamp(time),
            };
        }
        let slot = self.rng.random_range(0..UNDER_WAY);
        let mut request = match self.requests[slot].take() {
            Some(request) => request,
            None => self.new_request(time),
        };
        let action = self.next_action(&mut request);
        self.write(line, time, &request, &action);
        let wiki = self.places[request.place].wiki.db;
        if request.actions > 0 || request.categories > 0 {
            self.requests[slot] = Some(request);
        }
        Made {
            wiki: Some(wiki),
            time: Timestamp(time),
        }
    }

    /// Most events are later than all before them; some lie a little behind.
    fn next_time(&mut self) -> i64 {
        if self.rng.random_bool(mix::BEHIND) {
            let behind = self.draw(mix::BEHIND_MS) as i64;
            return (self.latest as i64 - behind.max(1)).max(self.synthetic.start.millis());
        }
        let second = (self.latest as i64).div_euclid(1000);
        if second != self.second {
            self.second = second;
            let sigma = mix::RATE_SIGMA;
            let factor = LogNormal::new(-sigma * sigma / 2.0, sigma).expect("a finite sigma");
            self.factor = factor.sample(&mut self.rng);
        }
        let per_ms = self.synthetic.events_per_second * self.factor * (1.0 - mix::BEHIND) / 1000.0;
        let gap: f64 = Exp1.sample(&mut self.rng);
        self.latest += gap / per_ms;
        self.latest as i64
    }

    fn draw(&mut self, quantiles: Quantiles) -> f64 {
        quantiles.at(StandardUniform.sample(&mut self.rng))
    }

    fn new_request(&mut self, time: i64) -> Request {
        let turn: f64 = StandardUniform.sample(&mut self.rng);
        let index = self
            .turns
            .partition_point(|end| *end < turn)
            .min(self.places.len() - 1);
        let place = &mut self.places[index];
        let bot = place.next_is_bot(&mut self.rng);
        let work = if bot {
            place.wiki.bot
        } else {
            place.wiki.human
        };
        let mut user = String::new();
        if bot {
            user.push_str(["Maintenance", "Category", "Archive"][place.bot as usize % 3]);
            user.push_str("Bot");
        } else if self.rng.random_bool(mix::TEMPORARY) {
            let (a, b) = (
                self.rng.random_range(10_000..99_999),
                self.rng.random_range(10..99),
            );
            user = format!("~2026-{a}-{b}");
        } else {
            let rank = place.people.sample(&mut self.rng) as u64;
            add_person(place.wiki.script, rank, index as u64, &mut user);
        }
        let actions = 1 + geometric(&mut self.rng, work.per_request - 1.0);
        let lag = mix::LAG_S.at(StandardUniform.sample(&mut self.rng));
        Request {
            place: index,
            bot,
            user,
            id: uuid_text(&mut self.rng),
            // Cutting off the fraction adds half a second on average.
            timestamp: (time as f64 / 1000.0 - (lag - 0.5).max(0.0)) as i64,
            actions,
            categories: 0,
            page: 0,
            namespace: 0,
        }
    }

    /// Decides what the request does next, and on which page.
    fn next_action(&mut self, request: &mut Request) -> Action {
        if request.categories > 0 {
            request.categories -= 1;
            return Action::Categorize;
        }
        request.actions -= 1;
        let place = &mut self.places[request.place];
        let work = if request.bot {
            place.wiki.bot
        } else {
            place.wiki.human
        };
        request.categories = work
            .categories(&mut self.rng)
            .min(mix::MOST_PER_REQUEST - 4);
        request.page = place.next_page(&mut self.rng);
        request.namespace = match place.wiki.db {
            "commonswiki" => 6,
            "wikidatawiki" => 0,
            _ => choose(&mut self.rng, &mix::NAMESPACES),
        };
        let what: f64 = StandardUniform.sample(&mut self.rng);
        if what < work.edit {
            Action::Edit
        } else if what < work.edit + work.new {
            Action::New
        } else {
            Action::Log(choose(&mut self.rng, &mix::LOGGED))
        }
    }
}

impl Place {
    fn new(index: usize, wiki: Wiki) -> Place {
        let (human, bot) = (
            wiki.human.events_per_request(),
            wiki.bot.events_per_request(),
        );
        let (bots, people) = (wiki.bots / bot, (1.0 - wiki.bots) / human);
        let large = match wiki.db {
            "commonswiki" => 3_300_000_000,
            "wikidatawiki" => 2_600_000_000,
            _ => 1_000_000 * (1 + index as u64),
        };
        Place {
            index: index as u64,
            host: mix::host(wiki.db),
            people: Zipf::new(f64::from(wiki.people), mix::AUTHORS_ZIPF).expect("fixed figures"),
            bot_requests: bots / (bots + people),
            burst_left: 0,
            bots_at_work: false,
            bot: 0,
            rcid: large,
            revision: large / 3 + 1_200_000,
            log_id: large / 9,
            page: 0,
            recent: [0; RECENT_PAGES],
            wiki,
        }
    }

    fn events_per_request(&self) -> f64 {
        let (human, bot) = (
            self.wiki.human.events_per_request(),
            self.wiki.bot.events_per_request(),
        );
        self.bot_requests * bot + (1.0 - self.bot_requests) * human
    }

    /// Bots come in bursts: for a while nearly all requests are theirs, then nearly none.
    fn next_is_bot(&mut self, rng: &mut StdRng) -> bool {
        if self.burst_left == 0 {
            self.burst_left = 1 + geometric(rng, self.wiki.burst - 1.0);
            self.bots_at_work = rng.random_bool(self.bot_requests);
            self.bot = rng.random_range(0..3);
        }
        self.burst_left -= 1;
        self.bots_at_work
    }

    fn next_page(&mut self, rng: &mut StdRng) -> u64 {
        let slot = rng.random_range(0..RECENT_PAGES);
        if self.recent[slot] == 0 || !rng.random_bool(mix::SAME_PAGE) {
            self.page += 1;
            self.recent[slot] = self.page;
        }
        self.recent[slot]
    }
}

impl Work {
    fn events_per_request(&self) -> f64 {
        self.per_request * (1.0 + self.categories)
    }

    /// How many categories an action changes: often none, sometimes several, rarely very many.
    fn categories(&self, rng: &mut StdRng) -> u32 {
        let some = (self.categories * 1.5).max(2.2);
        // The rare flood must not raise the average.
        let flood = 1.0 + mix::MANY_CATEGORIES * 7.0;
        if !rng.random_bool((self.categories / some / flood).min(1.0)) {
            return 0;
        }
        let count = 1 + geometric(rng, some - 1.0);
        if rng.random_bool(mix::MANY_CATEGORIES) {
            count * 8
        } else {
            count
        }
    }
}

fn choose<T: Copy>(rng: &mut StdRng, parts: &[(T, f64)]) -> T {
    let mut left: f64 = StandardUniform.sample(rng);
    for (item, part) in parts {
        left -= part;
        if left < 0.0 {
            return *item;
        }
    }
    parts[parts.len() - 1].0
}

/// A whole number from 0 on with this mean, the larger the rarer.
fn geometric(rng: &mut StdRng, mean: f64) -> u32 {
    if mean <= 0.0 {
        return 0;
    }
    let u: f64 = StandardUniform.sample(rng);
    ((1.0 - u).ln() / (mean / (1.0 + mean)).ln()) as u32
}

/// A random UUID (version 4) as text.
fn uuid_text(rng: &mut StdRng) -> [u8; 36] {
    let mut text = [0; 36];
    let uuid = uuid::Builder::from_random_bytes(rng.random()).into_uuid();
    uuid.hyphenated().encode_lower(&mut text);
    text
}
