//! Writes events down as JSON, with the fields in the order in which the real ones have them.
//!
//! Texts are escaped where they go (JSON, URL, HTML); everything else is written as it is, which
//! is what makes it fast.

use std::io::Write as _;

use rand::RngExt;
use rand_distr::{Distribution, StandardUniform, Zipf};

use super::{ACTIVE_TOPIC, Action, Generator, IDLE_TOPIC, Place, Request, YEAR_S, uuid_text};
use crate::ingest::generate::mix::{self, Logged};
use crate::ingest::generate::text::{Dice, add_title, push_html, push_json, push_link, push_url};
use crate::time::Timestamp;

/// The text of a second, kept until the next one.
#[derive(Debug)]
pub(super) struct DateText {
    second: i64,
    text: String,
}

impl Generator {
    pub(super) fn write_canary(&mut self, line: &mut Vec<u8>, time: i64) {
        let id = uuid_text(&mut self.rng);
        let idle = self.canaries_left == 0;
        let (topic, offset) = if idle {
            (IDLE_TOPIC, &mut self.idle_offset)
        } else {
            (ACTIVE_TOPIC, &mut self.offset)
        };
        line.extend_from_slice(br#"{"$schema":"/mediawiki/recentchange/1.0.1","meta":{"id":""#);
        line.extend_from_slice(&id);
        line.extend_from_slice(br#"","domain":"canary","stream":"mediawiki.recentchange","dt":""#);
        self.date.write(time, line);
        push_place(line, topic, *offset);
        line.push(b'}');
        *offset += 1;
    }

    pub(super) fn write(
        &mut self,
        line: &mut Vec<u8>,
        time: i64,
        request: &Request,
        action: &Action,
    ) {
        let namespace = self.make_texts(request, action);
        self.write_meta(line, time, request, action);
        let with_rcid = !matches!(
            action,
            Action::Log(Logged::AbuseFilter | Logged::Patrol | Logged::Review)
        );
        if with_rcid {
            let place = &mut self.places[request.place];
            place.rcid += 1;
            push_number(line, br#","id":"#, place.rcid as i64);
        }
        let kind = match action {
            Action::Edit => "edit",
            Action::New => "new",
            Action::Categorize => "categorize",
            Action::Log(_) => "log",
        };
        push_text(line, br#","type":""#, kind);
        push_number(line, br#"","namespace":"#, i64::from(namespace));
        push_text(line, br#","title":""#, &self.title);
        let host = &self.places[request.place].host;
        push_text(line, br#"","title_url":"https://"#, host);
        line.extend_from_slice(b"/wiki/");
        push_url(&self.title, line);
        push_text(line, br#"","comment":""#, &self.comment);
        push_number(line, br#"","timestamp":"#, self.timestamp(request, action));
        push_text(line, br#","user":""#, &request.user);
        line.extend_from_slice(if request.bot {
            br#"","bot":true"#
        } else {
            br#"","bot":false"#
        });
        match action {
            Action::Edit => self.write_change(line, request, true),
            Action::New => self.write_change(line, request, false),
            Action::Categorize => self.write_notify_url(line, request, false),
            Action::Log(logged) => self.write_log(line, request, *logged),
        }
        self.write_end(line, request, action);
    }

    /// Fills title, comment and parsed comment; returns the namespace.
    fn make_texts(&mut self, request: &Request, action: &Action) -> i32 {
        let Generator {
            title,
            comment,
            parsed,
            rng,
            places,
            ..
        } = self;
        [&mut *title, &mut *comment, &mut *parsed]
            .into_iter()
            .for_each(String::clear);
        let place = &places[request.place];
        let script = place.wiki.script;
        place.add_page(request.page, request.namespace, title);
        if let Action::Categorize = action {
            // The page is what the comment speaks of; the title is the category's.
            comment.push_str("[[:");
            comment.push_str(title);
            comment.push_str("]] added to category");
            push_link(title, parsed);
            parsed.push_str(" added to category");
            title.clear();
            let category: f64 = Zipf::new(3000.0, 0.9).expect("fixed").sample(rng);
            let mut dice = Dice::new(category as u64 * 7919 + request.place as u64);
            title.push_str("Category:");
            script.add_words(5 + dice.among(5), &mut dice, title);
            return 14;
        }
        let none = if request.bot { 0.0 } else { mix::NO_COMMENT };
        if rng.random_bool(none) {
            return request.namespace;
        }
        let mut length = mix::COMMENT.at(StandardUniform.sample(rng)) as usize;
        if let Action::Log(_) = action {
            // It comes twice, the second time as part of `log_action_comment`.
            length /= 2;
        }
        let mut dice = Dice::new(rng.random());
        if dice.among(5) == 0 {
            comment.push_str("/* ");
            let begin = comment.len();
            script.add_words(2, &mut dice, comment);
            parsed.push_str("\u{200e}<span dir=\"auto\"><span class=\"autocomment\">");
            push_html(&comment[begin..], parsed);
            parsed.push_str("</span></span>");
            comment.push_str(" */ ");
        }
        let begin = comment.len();
        script.add_sentence(length, &mut dice, comment);
        push_html(&comment[begin..], parsed);
        for _ in 0..dice.among(2) {
            let begin = comment.len();
            comment.push_str(" [[");
            script.add_words(3, &mut dice, comment);
            push_link(&comment[begin + 3..], parsed);
            comment.push_str("]]");
        }
        request.namespace
    }

    fn write_meta(&mut self, line: &mut Vec<u8>, time: i64, request: &Request, action: &Action) {
        let id = uuid_text(&mut self.rng);
        let place = &self.places[request.place];
        // New accounts are made on a host of their own, whatever wiki they are for.
        let host = match action {
            Action::Log(Logged::NewUser) => "auth.wikimedia.org",
            _ => &place.host,
        };
        line.extend_from_slice(
            br#"{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"uri":"https://"#,
        );
        line.extend_from_slice(host.as_bytes());
        line.extend_from_slice(b"/wiki/");
        push_url(&self.title, line);
        line.extend_from_slice(br#"","request_id":""#);
        line.extend_from_slice(&request.id);
        line.extend_from_slice(br#"","id":""#);
        line.extend_from_slice(&id);
        push_text(line, br#"","domain":""#, host);
        line.extend_from_slice(br#"","stream":"mediawiki.recentchange","dt":""#);
        self.date.write(time, line);
        push_place(line, ACTIVE_TOPIC, self.offset);
        self.offset += 1;
    }

    /// When the change was made: seconds before the event, but years for some uploads.
    fn timestamp(&mut self, request: &Request, action: &Action) -> i64 {
        let upload = matches!(action, Action::Log(Logged::Upload));
        if upload && self.rng.random_bool(mix::OLD_UPLOADS) {
            let years = self.rng.random_range(0.01..mix::OLDEST_UPLOAD_YEARS);
            return request.timestamp - (years * YEAR_S) as i64;
        }
        request.timestamp
    }

    fn write_notify_url(&mut self, line: &mut Vec<u8>, request: &Request, new: bool) {
        let place = &self.places[request.place];
        push_text(line, br#","notify_url":"https://"#, &place.host);
        let revision = place.revision as i64;
        if new {
            push_number(line, b"/w/index.php?oldid=", revision);
        } else {
            push_number(line, b"/w/index.php?diff=", revision);
            push_number(line, b"&oldid=", revision - 17);
        }
        push_number(line, b"&rcid=", place.rcid as i64);
        line.push(b'"');
    }

    /// The fields of edits and new pages.
    fn write_change(&mut self, line: &mut Vec<u8>, request: &Request, edit: bool) {
        self.places[request.place].revision += 1;
        self.write_notify_url(line, request, !edit);
        let minor = edit && self.rng.random_bool(mix::MINOR);
        line.extend_from_slice(if minor {
            br#","minor":true"#
        } else {
            br#","minor":false"#
        });
        // On enwiki only new pages are patrolled.
        let db = self.places[request.place].wiki.db;
        let patrol = db != "enwiki" && !db.ends_with("wiktionary");
        if !edit || patrol {
            let done = self.rng.random_bool(mix::PATROLLED);
            line.extend_from_slice(if done {
                br#","patrolled":true"#
            } else {
                br#","patrolled":false"#
            });
        }
        let revision = self.places[request.place].revision as i64;
        if edit {
            let old = self.draw(mix::PAGE_SIZE) as i64;
            let new = (old + self.draw(mix::DELTA) as i64).max(0);
            push_number(line, br#","length":{"old":"#, old);
            push_number(line, br#","new":"#, new);
            push_number(line, br#"},"revision":{"old":"#, revision - 17);
            push_number(line, br#","new":"#, revision);
        } else {
            let new = self.draw(mix::NEW_SIZE) as i64;
            push_number(line, br#","length":{"new":"#, new);
            push_number(line, br#"},"revision":{"new":"#, revision);
        }
        line.push(b'}');
    }

    fn write_log(&mut self, line: &mut Vec<u8>, request: &Request, logged: Logged) {
        let place = &mut self.places[request.place];
        place.log_id += 1;
        let log_id = if logged == Logged::AbuseFilter {
            0
        } else {
            place.log_id as i64
        };
        let n = place.log_id as i64;
        push_number(line, br#","log_id":"#, log_id);
        let (kind, action, verb) = match logged {
            Logged::Delete => ("delete", "delete", "deleted"),
            Logged::Upload => ("upload", "upload", "uploaded"),
            Logged::AbuseFilter => ("abusefilter", "hit", "triggered a filter on"),
            Logged::Patrol => ("patrol", "patrol", "marked as patrolled"),
            Logged::Review => ("review", "approve", "approved a revision of"),
            Logged::Block => ("block", "block", "blocked"),
            Logged::Move => ("move", "move", "moved"),
            Logged::NewUser => ("newusers", "create", "new user account:"),
            Logged::Thanks => ("thanks", "thank", "thanked"),
            Logged::Legacy => ("pagetranslation", "mark", "marked for translation"),
        };
        push_text(line, br#","log_type":""#, kind);
        push_text(line, br#"","log_action":""#, action);
        line.extend_from_slice(br#"","log_params":"#);
        let date = &self.date.text.as_bytes();
        match logged {
            Logged::Delete | Logged::Thanks => line.extend_from_slice(b"[]"),
            Logged::Upload => {
                line.extend_from_slice(br#"{"img_sha1":""#);
                line.extend_from_slice(&request.id[..8]);
                line.extend_from_slice(b"kq3v8z0m1c5x7b2n4s6d9");
                line.extend_from_slice(br#"","img_timestamp":""#);
                line.extend(date.iter().filter(|byte| byte.is_ascii_digit()));
                line.extend_from_slice(br#""}"#);
            }
            Logged::AbuseFilter => {
                push_number(line, br#"{"action":"edit","filter":"#, n % 300);
                push_number(line, br#","actions":"","log":"#, n);
                line.push(b'}');
            }
            Logged::Patrol => {
                push_number(line, br#"{"curid":"#, n + 1000);
                push_number(line, br#","previd":"#, n);
                line.extend_from_slice(br#","auto":0}"#);
            }
            Logged::Review => {
                push_number(line, b"[", n + 1000);
                push_number(line, b",", n);
                line.extend_from_slice(b",\"");
                line.extend(date.iter().filter(|byte| byte.is_ascii_digit()));
                line.extend_from_slice(b"\"]");
            }
            Logged::Block => {
                let rest =
                    br#"{"duration":"31 hours","flags":"nocreate","sitewide":true,"blockId":"#;
                push_number(line, rest, n);
                line.push(b'}');
            }
            Logged::Move => {
                push_text(line, br#"{"target":""#, &self.title);
                line.extend_from_slice(br#" (2)","noredir":"0"}"#);
            }
            Logged::NewUser => {
                push_number(line, br#"{"userid":"#, n);
                line.push(b'}');
            }
            Logged::Legacy => {
                push_number(line, b"\"", n);
                line.extend_from_slice(br#"\n1""#);
            }
        }
        push_text(line, br#","log_action_comment":""#, verb);
        line.extend_from_slice(b" &quot;[[");
        push_json(&self.title, line);
        push_text(line, b"]]&quot;: ", &self.comment);
        line.push(b'"');
    }

    fn write_end(&self, line: &mut Vec<u8>, request: &Request, action: &Action) {
        let place = &self.places[request.place];
        let host = match action {
            Action::Log(Logged::NewUser) => "auth.wikimedia.org",
            _ => &place.host,
        };
        push_text(line, br#","server_url":"https://"#, host);
        push_text(line, br#"","server_name":""#, host);
        push_text(
            line,
            br#"","server_script_path":"/w","wiki":""#,
            place.wiki.db,
        );
        push_text(line, br#"","parsedcomment":""#, &self.parsed);
        line.extend_from_slice(br#""}"#);
    }
}

impl Place {
    /// Adds the full title of a page.
    fn add_page(&self, page: u64, namespace: i32, title: &mut String) {
        let mut dice = Dice::new(page.wrapping_mul(1009).wrapping_add(self.index));
        match (self.wiki.db, namespace) {
            ("wikidatawiki", _) => {
                title.push('Q');
                title.push_str(&(1 + dice.among(130_000_000)).to_string());
                return;
            }
            ("commonswiki", _) => {
                title.push_str("File:");
                self.wiki
                    .script
                    .add_words(4 + dice.among(6), &mut dice, title);
                title.push_str(&format!(" ({}).jpg", dice.among(1_000_000)));
                return;
            }
            _ => {}
        }
        title.push_str(match namespace {
            1 => "Talk:",
            2 => "User:",
            3 => "User talk:",
            4 => "Project:",
            6 => "File:",
            10 => "Template:",
            14 => "Category:",
            828 => "Module:",
            _ => "",
        });
        add_title(self.wiki.script, &mut dice, title);
    }
}

impl Default for DateText {
    fn default() -> DateText {
        DateText {
            second: i64::MIN,
            text: String::new(),
        }
    }
}

impl DateText {
    /// `2026-05-05T11:17:40.822Z`
    fn write(&mut self, ms: i64, line: &mut Vec<u8>) {
        let second = ms.div_euclid(1000);
        if second != self.second {
            self.second = second;
            self.text = Timestamp(second * 1000).to_string();
            self.text.truncate(19);
        }
        let fraction = ms.rem_euclid(1000);
        line.extend_from_slice(self.text.as_bytes());
        let digit = |n: i64| b'0' + (n % 10) as u8;
        let digits = [digit(fraction / 100), digit(fraction / 10), digit(fraction)];
        line.push(b'.');
        line.extend_from_slice(&digits);
        line.push(b'Z');
    }
}

fn push_text(line: &mut Vec<u8>, before: &[u8], text: &str) {
    line.extend_from_slice(before);
    push_json(text, line);
}

fn push_number(line: &mut Vec<u8>, before: &[u8], number: i64) {
    line.extend_from_slice(before);
    write!(line, "{number}").expect("a vector takes everything");
}

/// Ends the `meta` object, from behind the date on.
fn push_place(line: &mut Vec<u8>, topic: &str, offset: i64) {
    push_text(line, br#"","topic":""#, topic);
    push_number(line, br#"","partition":0,"offset":"#, offset);
    line.push(b'}');
}
