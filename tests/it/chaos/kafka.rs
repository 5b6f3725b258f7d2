//! Kafka is killed, and stands still.

use std::time::Duration;

use super::{FEED, Job, PATIENCE, SESSION, in_time};
use crate::harness::{
    OwnServer, Pair, Run, Tidemill, assert_tables, is_long, lines, skip, stage, wait_for_tables,
    wait_until,
};

/// Plays the main job on a Kafka of its own, to which `harm` is done; `title` says what.
fn play(
    title: &str,
    feed: Duration,
    arguments: &[&str],
    harm: impl Fn(&Job<'_>, &OwnServer) -> usize,
) {
    let Some(stage) = stage(title) else {
        return;
    };
    // The controller lives on. Where it dies with its only broker, Kafka itself may lose a part of a
    // transaction that is being committed; see docs/RELIABILITY.md.
    let settings = [("TIDEMILL_SERVICES_KAFKA_CONTROLLER", "apart")];
    let Some(kafka) = OwnServer::start_with("kafka", &settings) else {
        return skip(title, "Kafka is not ours");
    };
    let pair = stage.recent_changes()[0];
    let (name, url) = stage.server(0);
    let context = format!("{} on {name}, {title}", pair.name);
    in_time(&context, feed, |feed| {
        let job = Job {
            run: Run::new(pair, &kafka.address(), url),
            pair,
            context: &context,
            feed,
        };
        job.run.make_topic_of_log_time(6);
        let members = job.members(2, arguments);
        job.under(members, check, |_| harm(&job, &kafka))
    });
}

/// What was replayed is in the topic once, too.
fn check(run: &Run, pair: &Pair, context: &str) {
    let (mut sent, mut found) = (lines(&pair.events), run.topic());
    sent.sort_unstable();
    found.sort_unstable();
    assert_eq!(found.len(), sent.len(), "{context}: events in Kafka");
    assert!(found == sent, "{context}: other events in Kafka");
    assert_tables(run, pair, context);
}

/// The requests to join of a standing Kafka are sent again by the client library, and the second one
/// fences the member that sent the first.
#[test]
fn a_kafka_that_stands_still_for_longer_than_sessions_last_costs_no_process_and_no_row() {
    let session = ["--session-timeout", "6s", "--http", "off"];
    play("Kafka stands still", FEED, &session, |job, kafka| {
        if job.is_done() {
            return 0;
        }
        kafka.pause();
        std::thread::sleep(Duration::from_secs(14));
        kafka.resume();
        job.recovers();
        1
    });
}

/// The log forgets who writes in transactions when nothing was written for long (by default a week): the next
/// commit is refused, and done again by a new producer.
#[test]
fn a_member_that_the_log_has_forgotten_goes_on() {
    let title = "transactional ids expire";
    let Some(stage) = stage(title) else {
        return;
    };
    let expiring = "transactional.id.expiration.ms=2000
transaction.remove.expired.transaction.cleanup.interval.ms=500
producer.id.expiration.ms=2000
producer.id.expiration.check.interval.ms=500";
    let settings = [("TIDEMILL_SERVICES_KAFKA_PROPERTIES", expiring)];
    let Some(kafka) = OwnServer::start_with("kafka", &settings) else {
        return skip(title, "Kafka is not ours");
    };
    let pair = stage.recent_changes()[0];
    let (name, url) = stage.server(0);
    let run = Run::new(pair, &kafka.address(), url);
    run.make_topic(6);
    let mut members = [run.member("member")];
    run.replay(&pair.events, 6);
    wait_for_tables(&run, pair, &mut members);
    assert_tables(&run, pair, &format!("{} on {name}, {title}", pair.name));
    std::thread::sleep(Duration::from_secs(5));
    let before = run.raw_rows();
    run.generate(&["--events", "300"]).succeed();
    let groups = run.groups();
    wait_until("the rest", PATIENCE, || {
        run.raw_rows() > before && groups.behind().is_empty()
    });
    members.iter_mut().for_each(Tidemill::stop);
}

#[test]
fn a_kafka_that_is_killed_and_comes_back_costs_no_process_and_no_row() {
    let kills = if is_long() { 20 } else { 2 };
    play(
        "Kafka is killed",
        FEED * kills * 3 / 2,
        &SESSION,
        |job, kafka| {
            for kill in 0..kills {
                std::thread::sleep(Duration::from_millis(700));
                if job.is_done() {
                    return kill as usize;
                }
                kafka.kill();
                kafka.restart();
                job.recovers();
            }
            kills as usize
        },
    );
}
