//! Topics are deleted, and given more partitions, while they are used.

use std::time::Duration;

use super::PATIENCE;
use crate::harness::{Raw, Run, Tidemill, Topics, header, kafka, stage, wait_until};

const SUMS: &str = "
app: NAME
nodes:
  given: { source: { topic: NAME.in, fields: { shop: string } } }
  sums: { aggregate: { from: given, by: shop, window: none, set: { n: count() } } }
  out: { kafka: { from: sums, topic: NAME.out } }
";

const COPIES: &str = "
app: NAME
nodes:
  given: { source: { topic: NAME.in, fields: { shop: string } } }
  out: { kafka: { from: given, topic: NAME.out } }
";

const MERGED: &str = "
app: NAME
nodes:
  given: { source: { topic: NAME.in, fields: { shop: string } } }
  also: { source: { topic: NAME.also, fields: { shop: string } } }
  both: { merge: { from: [given, also] } }
  out: { kafka: { from: both, topic: NAME.out } }
";

const ROWS: &str = "
app: NAME
nodes:
  given: { source: { topic: NAME.in, fields: { shop: string } } }
  shops: { sql: { from: given, table: shops, key: [shop], columns: { shop: shop } } }
";

/// What has become of a topic is seen soon, and believed.
const ARGUMENTS: [&str; 6] = [
    "--http",
    "off",
    "--kafka",
    "topic.metadata.refresh.interval.ms=500",
    "--kafka",
    "topic.metadata.propagation.max.ms=1000",
];

/// Longer than it takes until a client knows that a topic is gone.
const UNTIL_KNOWN: Duration = Duration::from_secs(3);

/// An application, its member, and the topics that it uses.
struct Scene {
    run: Run,
    topics: Topics,
}

impl Scene {
    /// None, and a word about it, when there is no Kafka.
    fn new(test: &str, topology: &str) -> Option<Scene> {
        let (Some(stage), Some(bootstrap)) = (stage(test), kafka()) else {
            return None;
        };
        let scene = Scene {
            run: Run::of(topology, &bootstrap, stage.server(0).1),
            topics: Topics::connect(&bootstrap),
        };
        scene.topics.create(&scene.topic("in"), 2, 1 << 20);
        Some(scene)
    }

    fn dead_letters(&self) -> String {
        format!("{}-dead-letters", self.run.name)
    }

    /// Waits for so many dead letters, and gives their reasons.
    fn reasons(&self, count: usize) -> Vec<String> {
        let topic = self.dead_letters();
        self.wait_for(&topic, count);
        let letters = self.topics.read(&topic);
        let reason = |letter| {
            header(letter, "tidemill.reason")
                .expect("a reason")
                .to_owned()
        };
        letters.iter().map(reason).collect()
    }

    fn topic(&self, part: &str) -> String {
        format!("{}.{part}", self.run.name)
    }

    fn member(&self, name: &str) -> Tidemill {
        self.run.member_with(name, &ARGUMENTS, &[])
    }

    fn write(&self, partition: i32, value: &str) {
        let record = Raw {
            partition: Some(partition),
            key: None,
            value: Some(value.as_bytes().to_vec()),
        };
        self.topics.write(&self.topic("in"), &[record]);
    }

    fn wait_for(&self, topic: &str, count: usize) {
        wait_until(topic, PATIENCE, || {
            let is_there = self.topics.existing(&[topic.to_owned()]).len() == 1;
            is_there && self.topics.read(topic).len() == count
        });
    }
}

const SALE: &str = r#"{"shop":"a"}"#;

#[test]
fn a_deleted_topic_of_dead_letters_is_made_anew() {
    let Some(scene) = Scene::new("dead letters are deleted", SUMS) else {
        return;
    };
    let mut member = scene.member("member");
    scene.write(0, "nonsense");
    assert_eq!(scene.reasons(1), ["unreadable"]);
    for round in 1..3 {
        // The first time the client has just heard of the topic, and believes in it for a while.
        scene.topics.delete(&scene.dead_letters());
        std::thread::sleep(UNTIL_KNOWN * (round - 1));
        scene.write(0, "nonsense");
        scene.write(0, SALE);
        assert_eq!(scene.reasons(1), ["unreadable"], "round {round}");
        scene.wait_for(&scene.topic("out"), round as usize);
    }
    member.stop();
    assert!(member.log().contains("made anew"), "{}", member.log());
}

/// A SQL sink puts aside what it cannot read, and what the database refuses.
#[test]
fn a_sink_whose_topic_of_dead_letters_is_deleted_goes_on() {
    let Some(scene) = Scene::new("a sink's dead letters are deleted", ROWS) else {
        return;
    };
    let table = "CREATE TABLE shops (shop VARBINARY(3) PRIMARY KEY)";
    scene.run.database.run(table);
    let mut member = scene.member("member");
    let refused = r#"{"shop":"too long"}"#;
    scene.write(0, refused);
    assert_eq!(scene.reasons(1), ["refused"]);
    for (record, reason) in [(refused, "refused"), ("nonsense", "unreadable")] {
        scene.topics.delete(&scene.dead_letters());
        std::thread::sleep(UNTIL_KNOWN);
        scene.write(0, record);
        assert_eq!(scene.reasons(1), [reason]);
    }
    scene.write(0, SALE);
    wait_until("a row", PATIENCE, || {
        scene.run.database.number("SELECT COUNT(*) FROM shops") == Some(1)
    });
    member.stop();
}

#[test]
fn a_deleted_topic_of_results_stops_the_process_and_is_named() {
    let Some(scene) = Scene::new("results are deleted", SUMS) else {
        return;
    };
    let mut member = scene.member("member");
    scene.write(0, SALE);
    scene.wait_for(&scene.topic("out"), 1);
    scene.topics.delete(&scene.topic("out"));
    scene.write(0, SALE);
    let said = member.fails();
    let wanted = format!("{}: deleted while the application ran", scene.topic("out"));
    assert!(said.contains(&wanted), "{said}");
    // And started again it goes on, with what was not written.
    let mut member = scene.member("member-again");
    scene.wait_for(&scene.topic("out"), 1);
    member.stop();
}

#[test]
fn more_partitions_stop_an_application_with_state_and_say_what_to_do() {
    let Some(scene) = Scene::new("more partitions", SUMS) else {
        return;
    };
    let mut member = scene.member("member");
    scene.write(0, SALE);
    scene.wait_for(&scene.topic("out"), 1);
    scene.topics.grow(&scene.topic("in"), 3);
    let said = member.fails();
    assert!(said.contains("has been given more partitions"), "{said}");
    let said = scene.member("member-again").fails();
    assert!(said.contains("partition count was changed"), "{said}");
}

#[test]
fn more_partitions_are_read_by_an_application_without_state() {
    let Some(scene) = Scene::new("more partitions, without state", COPIES) else {
        return;
    };
    let mut member = scene.member("member");
    scene.write(0, SALE);
    scene.wait_for(&scene.topic("out"), 1);
    scene.topics.grow(&scene.topic("in"), 3);
    scene.write(2, SALE);
    scene.wait_for(&scene.topic("out"), 2);
    member.stop();
}

#[test]
fn more_partitions_of_one_of_two_topics_that_are_read_together_stop_the_application() {
    let Some(scene) = Scene::new("more partitions of one of two", MERGED) else {
        return;
    };
    scene.topics.create(&scene.topic("also"), 2, 1 << 20);
    let mut member = scene.member("member");
    scene.write(0, SALE);
    scene.wait_for(&scene.topic("out"), 1);
    scene.topics.grow(&scene.topic("in"), 3);
    let said = member.fails();
    assert!(said.contains("has been given more partitions"), "{said}");
}
