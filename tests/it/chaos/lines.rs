//! The line to Kafka is cut, slow, or nearly dead: for the feed, the processes and what they start.

use std::time::Duration;

use super::{FEED, Job, SESSION, in_time};
use crate::harness::{Line, OwnServer, Run, Way, assert_tables, is_long, skip, stage};

/// What a line does for so long, in turn.
type Weather = [(Way, Duration)];

/// Plays the main job over a line with this weather, as often as that.
fn play(title: &str, rounds: u32, weather: &Weather) {
    let Some(stage) = stage(title) else {
        return;
    };
    let line = Line::new(7);
    let port = line.port().to_string();
    let settings = [("TIDEMILL_SERVICES_KAFKA_ADVERTISED_PORT", port.as_str())];
    let Some(kafka) = OwnServer::start_with("kafka", &settings) else {
        return skip(title, "Kafka is not ours");
    };
    line.leads_to(&kafka.address());
    let pair = stage.recent_changes()[0];
    let (name, url) = stage.server(0);
    let context = format!("{} on {name}, {title}", pair.name);
    in_time(&context, FEED * rounds, |feed| {
        let job = Job {
            run: Run::new(pair, &line.address(), url),
            pair,
            context: &context,
            feed,
        };
        let members = job.members(2, &SESSION);
        job.under(members, assert_tables, |_| {
            for round in 0..rounds {
                if job.is_done() {
                    return round as usize;
                }
                for (way, time) in weather {
                    line.goes(*way);
                    std::thread::sleep(*time);
                }
                line.goes(Way::Clear);
                job.recovers();
            }
            rounds as usize
        })
    });
    let (cuts, carried) = (line.cuts(), line.carried());
    eprintln!("{context}: {cuts} connections cut, {carried} bytes meanwhile");
    assert!(carried > 0, "{context}: nothing went over the line");
}

fn rounds() -> u32 {
    if is_long() { 10 } else { 1 }
}

#[test]
fn connections_to_kafka_that_are_cut_anywhere_cost_nothing() {
    let weather: Vec<_> = [100, 2_000, 40_000]
        .map(|most| (Way::Cut(most), Duration::from_secs(3)))
        .into();
    play("a line that is cut", rounds(), &weather);
}

#[test]
fn a_kafka_that_is_far_away_is_as_good_as_a_near_one() {
    let late = Way::Delayed(Duration::from_millis(300));
    play(
        "a line of 300 ms",
        rounds(),
        &[(late, Duration::from_secs(8))],
    );
}

#[test]
fn a_line_on_which_hardly_anything_comes_through_costs_nothing() {
    let weather =
        [(1, 8), (2_000, 4)].map(|(rate, time)| (Way::Throttled(rate), Duration::from_secs(time)));
    play("a line of a byte a second", rounds(), &weather);
}
