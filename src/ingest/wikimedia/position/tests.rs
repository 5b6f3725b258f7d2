//! Each rule as a story: what arrives, and what is asked for next.

use super::*;
use crate::ingest::wikimedia::event_id::read_id;

const A: &str = "eqiad.mediawiki.recentchange";
const B: &str = "codfw.mediawiki.recentchange";
const BEGAN: i64 = 1_000_000;
const MARGIN: i64 = 10_000;
/// The log time of the first event of the stories, and the wall clock far behind all of them.
const T: i64 = 2_000_000;
const NOW: Timestamp = Timestamp(1_000_000_000);

fn story() -> Position {
    let settings = PositionSettings {
        margin_ms: MARGIN,
        ids_per_topic: 1000,
    };
    let mut position = Position::new(Timestamp(BEGAN), settings);
    let _ = position.resume();
    position
}

fn event(topic: &str, offset: i64, time: i64) -> Arrival {
    Arrival {
        place: TopicPartition::new(topic, 0),
        offset: Some(offset),
        time: Some(Timestamp(time)),
        id: EventId::of(&format!("{topic} {offset}")),
    }
}

/// The same event as in another cluster, where it has another offset.
fn elsewhere(event: &Arrival, offset: i64) -> Arrival {
    Arrival {
        offset: Some(offset),
        ..event.clone()
    }
}

impl Position {
    #[track_caller]
    fn sees(&mut self, event: &Arrival, expected: &Verdict) {
        assert_eq!(self.arrive(event, NOW), *expected, "{event:?}");
    }

    #[track_caller]
    fn sees_new(&mut self, events: &[Arrival]) {
        for event in events {
            self.sees(event, &Verdict::New(None));
        }
    }

    #[track_caller]
    fn sees_again(&mut self, events: &[Arrival]) {
        for event in events {
            self.sees(event, &Verdict::Repeat(None));
        }
    }

    fn names(&mut self, id: &str) {
        self.name_topics(&read_id(id).expect("an id"));
    }

    /// Ends the connection, and checks what the next one asks for.
    #[track_caller]
    fn asks(&mut self, expected: &[(&str, &str, i64)]) {
        self.ended();
        let entries: Vec<_> = expected
            .iter()
            .map(|(topic, at, n)| format!(r#"{{"topic":"{topic}","partition":0,"{at}":{n}}}"#))
            .collect();
        let expected = Resume::LastEventId(format!("[{}]", entries.join(",")));
        assert_eq!(self.resume(), expected);
    }
}

fn gap(verdict: &Verdict) -> Option<(GapKind, i64, i64, i64)> {
    match verdict {
        Verdict::New(Some(gap)) | Verdict::Repeat(Some(gap)) => {
            Some((gap.kind, gap.expected, gap.found, gap.missing))
        }
        _ => None,
    }
}

#[test]
fn before_anything_is_known_the_stream_is_asked_for_since_the_beginning_of_the_run() {
    let mut position = story();
    for _ in 0..3 {
        position.ended();
        assert_eq!(position.resume(), Resume::Since(Timestamp(BEGAN)));
    }
}

#[test]
fn the_resume_is_at_the_highest_time_less_the_margin_and_never_at_the_last_events_id() {
    let mut position = story();
    // The last event is 40 ms older than the one before it.
    position.sees_new(&[event(A, 1, T), event(A, 2, T + 50), event(A, 3, T + 10)]);
    position.asks(&[(A, "timestamp", T + 50 - MARGIN)]);
}

#[test]
fn every_topic_that_an_id_names_is_resumed_and_an_offset_in_it_becomes_a_time() {
    let mut position = story();
    let id = |offset: i64| {
        format!(
            r#"[{{"topic":"{A}","partition":0,"timestamp":{}}},
                {{"topic":"{B}","partition":0,"offset":{offset}}}]"#,
            T + 1
        )
    };
    position.names(&id(-1));
    position.sees_new(&[event(A, 1, T)]);
    let silent = (B, "timestamp", BEGAN - MARGIN);
    position.asks(&[silent, (A, "timestamp", T - MARGIN)]);
    // After a resume the server puts the offset that it has found for the silent topic.
    position.names(&id(4711));
    position.sees_new(&[event(A, 2, T + 1)]);
    position.asks(&[silent, (A, "timestamp", T + 1 - MARGIN)]);
    // Once it speaks, it has a time of its own, not a common one.
    position.sees_new(&[event(B, 900, T - 500_000)]);
    position.asks(&[
        (B, "timestamp", T - 500_000 - MARGIN),
        (A, "timestamp", T + 1 - MARGIN),
    ]);
}

#[test]
fn repeats_are_dropped_and_contiguous_offsets_are_no_gap() {
    let mut position = story();
    let events = [event(A, 1, T), event(A, 2, T), event(A, 3, T - 46)];
    position.sees_new(&events);
    position.asks(&[(A, "timestamp", T - MARGIN)]);
    position.sees_again(&events);
    position.sees_new(&[event(A, 4, T + 1)]);
}

#[test]
fn missing_offsets_are_reported_exactly_and_once() {
    let mut position = story();
    let first = event(A, 10, T);
    let second = event(A, 14, T + 5);
    position.sees_new(std::slice::from_ref(&first));
    let verdict = position.arrive(&second, NOW);
    assert_eq!(gap(&verdict), Some((GapKind::Gap, 11, 14, 3)));
    let Verdict::New(Some(report)) = verdict else {
        unreachable!()
    };
    assert_eq!(
        (report.after, report.before),
        (Some(Timestamp(T)), Some(Timestamp(T + 5)))
    );
    // When the margin brings both again, the gap is not a second one.
    position.asks(&[(A, "timestamp", T + 5 - MARGIN)]);
    position.sees_again(&[first, second]);
    position.sees_new(&[event(A, 15, T + 6)]);
}

#[test]
fn events_that_the_server_has_forgotten_are_a_gap_and_a_number_that_no_rate_explains_is_a_jump() {
    let day = 86_400_000;
    for (found, time, kind, missing) in [
        (3_000_010, T + day, GapKind::Gap, 2_999_999),
        (3_000_010, T + 1000, GapKind::Jump, 0),
        (5, T + 1000, GapKind::Jump, 0),
        (10, T, GapKind::Jump, 0),
    ] {
        let mut position = story();
        position.sees_new(&[event(A, 10, T)]);
        let strange = Arrival {
            id: EventId::of("other"),
            ..event(A, found, time)
        };
        let verdict = position.arrive(&strange, NOW);
        assert_eq!(gap(&verdict), Some((kind, 11, found, missing)), "{found}");
        position.sees_new(&[event(A, found + 1, time)]);
    }
}

#[test]
fn a_connection_that_brought_nothing_new_halves_the_margin_and_something_new_restores_it() {
    let mut position = story();
    let old = [event(A, 1, T - 5), event(A, 2, T)];
    position.sees_new(&old);
    for margin in [10_000, 5000, 2500, 1250, 625, 0] {
        position.asks(&[(A, "timestamp", T - margin)]);
        position.sees_again(&old[1..]);
    }
    // The last event is asked for once more; with it alone the connection has brought too little.
    position.asks(&[(A, "offset", 2)]);
    position.sees_again(&old[1..]);
    position.asks(&[(A, "offset", 3)]);
    position.sees_new(&[event(A, 3, T + 1)]);
    position.asks(&[(A, "timestamp", T + 1 - MARGIN)]);
}

/// Brings a story to where the last event, event 1 of A and the only one, is asked for by offset.
fn at_the_last(position: &mut Position) -> Arrival {
    let only = event(A, 1, T);
    position.sees_new(std::slice::from_ref(&only));
    down_to_offsets(position, &only);
    position.asks(&[(A, "offset", 1)]);
    only
}

/// And further, to where the event behind it is.
fn at_offsets(position: &mut Position) -> Arrival {
    let only = at_the_last(position);
    position.sees_again(std::slice::from_ref(&only));
    position.asks(&[(A, "offset", 2)]);
    only
}

fn down_to_offsets(position: &mut Position, repeat: &Arrival) {
    for _ in 0..6 {
        position.ended();
        position.resume();
        position.sees_again(std::slice::from_ref(repeat));
    }
}

#[test]
fn an_offset_is_used_only_for_a_topic_whose_repeats_came_where_they_were_seen() {
    let mut position = story();
    let (a, b) = (event(A, 1, T), event(B, 7, T + 100));
    position.sees_new(&[a.clone(), b.clone()]);
    down_to_offsets(&mut position, &a);
    // Nothing has confirmed that B's offsets still mean the same.
    position.asks(&[(B, "timestamp", T + 100), (A, "offset", 1)]);
    position.sees_again(std::slice::from_ref(&b));
    // Now something has. Each connection brings one of the last events, and in the end both can
    // go on.
    position.asks(&[(B, "offset", 7), (A, "offset", 1)]);
    position.sees_again(std::slice::from_ref(&a));
    position.asks(&[(B, "offset", 7), (A, "offset", 2)]);
    position.sees_again(std::slice::from_ref(&b));
    position.asks(&[(B, "offset", 8), (A, "offset", 2)]);
}

/// ```text
///   before:  … 1 │ 2 3 4
///   now:     … 1 2 3 │ 4        offsets are lower by two
///                    └ event 4 lies at 2, where the next one is expected
/// ```
#[test]
fn another_clusters_event_in_the_last_ones_place_is_refused_however_often_it_comes() {
    let mut position = story();
    let only = at_the_last(&mut position);
    let third = elsewhere(&event(A, 3, T + 2), 1);
    position.sees(&third, &Verdict::NotContinued);
    // The clusters answer in turn.
    down_to_offsets(&mut position, &only);
    position.asks(&[(A, "offset", 1)]);
    position.sees(&third, &Verdict::NotContinued);
    position.asks(&[(A, "timestamp", T - MARGIN)]);
}

#[test]
fn an_event_that_cannot_be_read_is_still_the_last_one() {
    let mut position = story();
    let unreadable = Arrival {
        offset: None,
        ..event(A, 2, T)
    };
    let first = event(A, 1, T);
    position.sees_new(&[first.clone(), unreadable.clone()]);
    down_to_offsets(&mut position, &first);
    position.asks(&[(A, "offset", 2)]);
    position.sees_again(std::slice::from_ref(&unreadable));
    position.asks(&[(A, "offset", 3)]);
}

#[test]
fn after_a_resume_by_offset_that_brought_nothing_at_all_the_time_is_asked_for_again() {
    let mut position = story();
    at_offsets(&mut position);
    position.asks(&[(A, "timestamp", T)]);
}

#[test]
fn a_first_event_that_does_not_continue_is_refused_and_the_full_margin_comes_back() {
    let far = |offset, time| Arrival {
        id: EventId::of("far"),
        ..event(A, offset, time)
    };
    // Beyond the end of another cluster's log the server begins at the end; another cluster's
    // event of that number is of another time.
    for found in [far(900, T + 1), far(2, T - 3_600_000), far(1, T + 1)] {
        let mut position = story();
        at_offsets(&mut position);
        position.sees(&found, &Verdict::NotContinued);
        position.asks(&[(A, "timestamp", T - MARGIN)]);
    }
}

#[test]
fn offsets_that_do_not_exist_any_more_are_a_gap_once_the_same_was_found_twice() {
    let mut position = story();
    let only = at_offsets(&mut position);
    let next = event(A, 5, T + 1);
    position.sees(&next, &Verdict::NotContinued);
    down_to_offsets(&mut position, &only);
    position.asks(&[(A, "offset", 1)]);
    position.sees_again(std::slice::from_ref(&only));
    position.asks(&[(A, "offset", 2)]);
    assert_eq!(
        gap(&position.arrive(&next, NOW)),
        Some((GapKind::Gap, 2, 5, 3))
    );
}

#[test]
fn another_cluster_is_recognised_by_two_repeats_at_other_offsets() {
    let mut position = story();
    let events = [event(A, 1, T), event(A, 2, T + 1), event(A, 3, T + 2)];
    position.sees_new(&events);
    position.asks(&[(A, "timestamp", T + 2 - MARGIN)]);
    position.sees_again(&[elsewhere(&events[0], 501)]);
    let second = position.arrive(&elsewhere(&events[1], 502), NOW);
    assert_eq!(gap(&second), Some((GapKind::Jump, 4, 502, 0)));
    position.sees_again(&[elsewhere(&events[2], 503)]);
    // From here the other cluster's numbers count, and a gap in them is a gap.
    let next = event(A, 506, T + 3);
    assert_eq!(
        gap(&position.arrive(&next, NOW)),
        Some((GapKind::Gap, 504, 506, 2))
    );
    down_to_offsets(&mut position, &elsewhere(&events[0], 501));
    position.asks(&[(A, "offset", 506)]);
    position.sees_again(&[next]);
    position.asks(&[(A, "offset", 507)]);
}

#[test]
fn a_new_event_behind_one_strange_repeat_is_a_jump_and_no_gap() {
    let mut position = story();
    let only = event(A, 1, T);
    position.sees_new(std::slice::from_ref(&only));
    position.asks(&[(A, "timestamp", T - MARGIN)]);
    position.sees_again(&[elsewhere(&only, 50)]);
    let next = event(A, 51, T + 1);
    assert_eq!(
        gap(&position.arrive(&next, NOW)),
        Some((GapKind::Jump, 2, 51, 0))
    );
}

#[test]
fn an_event_that_lies_in_the_log_twice_is_a_repeat_and_not_another_cluster() {
    let mut position = story();
    let twice = event(A, 1, T);
    let second = event(A, 2, T);
    position.sees_new(&[twice.clone(), second.clone()]);
    position.sees_again(&[elsewhere(&twice, 3)]);
    position.sees_new(&[event(A, 4, T)]);
    // The same once more, when the margin brings them again.
    position.asks(&[(A, "timestamp", T - MARGIN)]);
    position.sees_again(&[twice.clone(), second, elsewhere(&twice, 3), event(A, 4, T)]);
    position.sees_new(&[event(A, 5, T)]);
}

#[test]
fn an_event_from_the_future_does_not_carry_the_position_away() {
    let mut position = story();
    let year = 31_536_000_000;
    position.arrive(&event(A, 1, NOW.0 + year), NOW);
    position.asks(&[(A, "timestamp", NOW.0 + AHEAD_OF_CLOCK_MS - MARGIN)]);
}

#[test]
fn an_event_without_an_offset_takes_the_next_one() {
    let mut position = story();
    position.sees_new(&[event(A, 1, T)]);
    let unreadable = Arrival {
        offset: None,
        ..event(A, 2, T)
    };
    position.sees_new(std::slice::from_ref(&unreadable));
    position.sees_new(&[event(A, 3, T)]);
    position.asks(&[(A, "timestamp", T - MARGIN)]);
    position.sees_again(&[unreadable, event(A, 3, T)]);
}

#[test]
fn other_streams_than_before_are_learned_first_and_keep_what_is_known() {
    let mut before = story();
    before.sees_new(&[event(A, 1, T), event("gone", 1, T)]);
    let topics = before.topics().clone();
    let mut position = Position::restored(Timestamp(T + 100_000), before.settings, topics, true);
    assert_eq!(position.resume(), Resume::Learn(Timestamp(T - MARGIN)));
    let id = format!(
        r#"[{{"topic":"{A}","partition":0,"timestamp":{}}},{{"topic":"{B}","partition":0,"offset":9}}]"#,
        T + 200_000
    );
    position.learned(&read_id(&id).expect("an id"));
    let expected = [
        (B, "timestamp", T + 100_000 - MARGIN),
        (A, "timestamp", T - MARGIN),
    ];
    let mut other = position.clone();
    other.connection.new = 1; // A connection for learning is not a bad one.
    other.asks(&expected);
    // The server does not know one of our topics any more.
    position.topics_refused();
    assert_eq!(position.resume(), Resume::Learn(Timestamp(T - MARGIN)));
}
