//! The example of a user's own processor, driven without Kafka.

#[path = "../../docs/examples/custom_processor.rs"]
mod example;

use std::time::Duration;

use serde_json::{Value as Json, json};
use tidemill::testkit::TopologyTestDriver;
use tidemill::time::Timestamp;

fn edit(driver: &mut TopologyTestDriver, wiki: &str, time: &str) {
    let edit = json!({"wiki": wiki, "type": "edit", "meta": {"dt": time}});
    driver.pipe("wikimedia.recentchange", Some(wiki), &edit.to_string());
}

fn look(driver: &mut TopologyTestDriver) -> Vec<Json> {
    driver
        .advance_wall_clock_time(Duration::from_secs(10))
        .expect("it goes on");
    driver.read_json("wikimedia.silent")
}

/// ```text
///   event time   11:00      :01      :02                            :07        :08
///   dewiki         ●         ●                                      (silent at 11:06)
///   enwiki         ●                  ●     ↯ the machine is lost    ●           ●
/// ```
#[test]
fn the_example_says_when_a_wiki_falls_silent() {
    let topology = example::topology().expect("a good topology");
    let mut driver = TopologyTestDriver::new(&topology).expect("it starts");
    edit(&mut driver, "dewiki", "2026-05-05T11:00:00Z");
    edit(&mut driver, "enwiki", "2026-05-05T11:00:00Z");
    edit(&mut driver, "dewiki", "2026-05-05T11:01:00Z");
    edit(&mut driver, "enwiki", "2026-05-05T11:02:00Z");
    assert!(look(&mut driver).is_empty());
    assert_eq!(driver.processor_store("wikis").len(), 2);

    driver.lose_state();
    driver.restart().expect("it starts again");
    assert_eq!(driver.processor_store("wikis").len(), 2);
    assert!(look(&mut driver).is_empty());

    edit(&mut driver, "enwiki", "2026-05-05T11:07:00Z");
    let silent = json!({"wiki": "dewiki", "silent_since": "2026-05-05T11:01:00.000Z", "edits": 2});
    assert_eq!(look(&mut driver), [silent]);
    edit(&mut driver, "enwiki", "2026-05-05T11:08:00Z");
    assert!(look(&mut driver).is_empty(), "it is said once");
    let left = driver.processor_store("wikis");
    assert_eq!(left.keys().collect::<Vec<_>>(), [b"enwiki"]);
}

#[test]
fn each_punctuation_is_of_the_time_of_the_wall_clock() {
    let topology = example::topology().expect("a good topology");
    let mut driver = TopologyTestDriver::new(&topology).expect("it starts");
    edit(&mut driver, "dewiki", "2026-05-05T11:00:00Z");
    edit(&mut driver, "enwiki", "2026-05-05T11:10:00Z");
    driver
        .advance_wall_clock_time(Duration::from_secs(10))
        .expect("it goes on");
    let written = driver.read("wikimedia.silent");
    let times: Vec<Timestamp> = written.iter().map(|record| record.timestamp).collect();
    assert_eq!(times, [driver.wall_clock()]);
}
