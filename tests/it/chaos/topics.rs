//! Topics are deleted, and given more partitions, while they are used.

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

/// New partitions are seen soon.
const ARGUMENTS: [&str; 4] = [
    "--http",
    "off",
    "--kafka",
    "topic.metadata.refresh.interval.ms=500",
];

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
    scene.write(0, SALE);
    scene.wait_for(&scene.topic("out"), 1);
    let letters = format!("{}-dead-letters", scene.run.name);
    scene.topics.delete(&letters);
    scene.write(0, "nonsense");
    scene.write(0, SALE);
    scene.wait_for(&letters, 1);
    let reason = header(&scene.topics.read(&letters)[0], "tidemill.reason").map(str::to_owned);
    assert_eq!(reason.as_deref(), Some("unreadable"));
    scene.wait_for(&scene.topic("out"), 2);
    member.stop();
    assert!(member.log().contains("made anew"), "{}", member.log());
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
