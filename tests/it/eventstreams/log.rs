//! What the service's Kafka clusters hold, and how it finds the place to read from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

/// An event in a cluster's log.
#[derive(Clone, Debug)]
pub struct Entry {
    pub offset: i64,
    /// Log time: `meta.dt` in milliseconds.
    pub time: i64,
    /// Place in the order in which events were published, over all topics.
    pub order: usize,
    /// The JSON text as a client gets it, with this cluster's offset.
    pub json: Arc<str>,
}

/// The log of one data centre's cluster, partition 0 of each topic.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    topics: BTreeMap<String, Vec<Entry>>,
    /// What is added to an event's offset here.
    shift: i64,
    published: usize,
}

/// In which order a connection gets the events of several topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were published.
    Published,
    /// All of one topic, then all of the next, as a consumer does that works off a backlog.
    TopicByTopic,
}

/// Where each topic of a connection is read, in the order of the id's entries.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub topic: String,
    /// The next event to be sent.
    pub next: i64,
    /// The entry in the id.
    pub id: Value,
}

/// A request that the service refuses: status and body.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub u16, pub String);

impl Cluster {
    pub fn with_shift(topics: &[String], shift: i64) -> Cluster {
        let topics = topics
            .iter()
            .map(|topic| (topic.clone(), Vec::new()))
            .collect();
        Cluster {
            topics,
            shift,
            published: 0,
        }
    }

    /// Adds an event; its own `meta` says to which topic and at which offset.
    pub fn publish(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap_or(Value::Null);
        let meta = &event["meta"];
        let text = |name: &str| {
            meta[name]
                .as_str()
                .unwrap_or_else(|| panic!("meta.{name}: {line}"))
        };
        let time = tidemill::time::Timestamp::parse_rfc3339(text("dt"))
            .unwrap()
            .millis();
        let offset = meta["offset"].as_i64().expect("meta.offset");
        self.publish_at(text("topic"), offset, time, line);
    }

    /// Adds anything, at a place that is given.
    pub fn publish_at(&mut self, topic: &str, offset: i64, time: i64, line: &str) {
        let here = offset + self.shift;
        let json = line.replacen(
            &format!("\"offset\":{offset}"),
            &format!("\"offset\":{here}"),
            1,
        );
        let order = self.published;
        self.published += 1;
        let log = self
            .topics
            .get_mut(topic)
            .unwrap_or_else(|| panic!("no topic {topic}"));
        assert!(
            log.last().is_none_or(|last| last.offset < here),
            "offsets must go up: {line}"
        );
        log.push(Entry {
            offset: here,
            time,
            order,
            json: json.into(),
        });
    }

    /// Forgets what is before an offset, as retention does.
    pub fn forget(&mut self, topic: &str, before: i64) {
        let before = before + self.shift;
        self.topics
            .get_mut(topic)
            .expect("a topic")
            .retain(|entry| entry.offset >= before);
    }

    fn end(&self, topic: &str) -> i64 {
        self.topics[topic].last().map_or(0, |last| last.offset + 1)
    }

    /// Where a reader begins that is told this offset (−1: at the end).
    fn start_at(&self, topic: &str, offset: i64) -> i64 {
        let first = self.topics[topic].first().map_or(0, |first| first.offset);
        let end = self.end(topic);
        // Out of range: the client library's default is the end.
        if (first..=end).contains(&offset) {
            offset
        } else {
            end
        }
    }

    /// The first offset with that time or a later one; −1 when there is none.
    fn offset_for_time(&self, topic: &str, time: i64) -> i64 {
        let found = self.topics[topic].iter().find(|entry| entry.time >= time);
        found.map_or(-1, |entry| entry.offset)
    }

    /// Turns a request into places to read from.
    pub fn assign(
        &self,
        stream_topics: &[String],
        last_event_id: Option<&str>,
        since: Option<i64>,
    ) -> Result<Vec<Assignment>, Refused> {
        let entries = match last_event_id {
            Some(id) => asked_for(id, stream_topics)?,
            None => stream_topics
                .iter()
                .map(|topic| match since {
                    Some(time) => json!({"topic": topic, "partition": 0, "timestamp": time}),
                    None => json!({"topic": topic, "partition": 0, "offset": -1}),
                })
                .collect(),
        };
        let by_time =
            |entry: &&Value| entry.get("timestamp").is_some() && entry.get("offset").is_none();
        let times: Vec<&Value> = entries.iter().filter(by_time).collect();
        let resolved: Vec<Value> = if times.is_empty() {
            entries.clone()
        } else {
            let by_offset = entries
                .iter()
                .filter(|entry| entry.get("timestamp").is_none() && entry.get("offset").is_some());
            let found = times.iter().map(|entry| {
                let topic = entry["topic"].as_str().expect("checked");
                let time = entry["timestamp"].as_i64().expect("checked");
                let offset = self.offset_for_time(topic, time);
                json!({"topic": topic, "partition": entry["partition"], "offset": offset})
            });
            by_offset.cloned().chain(found).collect()
        };
        let assignment = |id: Value| {
            let topic = id["topic"].as_str().expect("checked").to_owned();
            let offset = id["offset"].as_i64().unwrap_or(-1);
            Assignment {
                next: self.start_at(&topic, offset),
                topic,
                id,
            }
        };
        Ok(resolved.into_iter().map(assignment).collect())
    }

    /// The next event of a connection; advances its place. Updates the id's entry.
    pub fn next(&self, places: &mut [Assignment], order: Order) -> Option<Entry> {
        let waiting = |place: &Assignment| {
            let log = &self.topics[&place.topic];
            let index = log.partition_point(|entry| entry.offset < place.next);
            log.get(index).cloned()
        };
        let (index, entry) = places
            .iter()
            .enumerate()
            .filter_map(|(index, place)| Some((index, waiting(place)?)))
            .min_by_key(|(index, entry)| match order {
                Order::Published => (0, entry.order),
                Order::TopicByTopic => (*index, entry.order),
            })?;
        let place = &mut places[index];
        place.next = entry.offset + 1;
        place.id = json!({"topic": place.topic, "partition": 0, "timestamp": entry.time + 1});
        Some(entry)
    }
}

/// The entries of a `Last-Event-ID`.
fn asked_for(id: &str, stream_topics: &[String]) -> Result<Vec<Value>, Refused> {
    let bad = |detail: &str| Refused(400, format!("{detail}: {id}"));
    let entries: Vec<Value> = serde_json::from_str(id).map_err(|_| bad("not a JSON array"))?;
    let valid = |entry: &Value| {
        entry["topic"].is_string()
            && entry["partition"].is_i64()
            && (entry["offset"].is_i64() || entry["timestamp"].is_i64())
    };
    if entries.is_empty() || !entries.iter().all(valid) {
        return Err(bad(
            "entries need topic, partition, and offset or timestamp",
        ));
    }
    let known = |entry: &Value| {
        stream_topics
            .iter()
            .any(|topic| entry["topic"] == topic.as_str())
    };
    if !entries.iter().all(known) {
        return Err(Refused(
            404,
            format!("topics are not available for consumption: {id}"),
        ));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "eqiad.x";
    const B: &str = "codfw.x";

    fn cluster() -> (Cluster, Vec<String>) {
        let topics = vec![A.to_owned(), B.to_owned()];
        let mut cluster = Cluster::with_shift(&topics, 100);
        for (offset, time) in [(0, 1000), (1, 1005), (2, 1003), (3, 1005), (4, 1010)] {
            let line = format!(r#"{{"meta":{{"topic":"{A}","partition":0,"offset":{offset}}}}}"#);
            cluster.publish_at(A, offset, time, &line);
        }
        (cluster, topics)
    }

    fn places(last_event_id: &str) -> Vec<(String, i64)> {
        let (cluster, topics) = cluster();
        let places = cluster.assign(&topics, Some(last_event_id), None).unwrap();
        places
            .into_iter()
            .map(|place| (place.topic, place.next))
            .collect()
    }

    fn entry(topic: &str, at: &str) -> String {
        format!(r#"{{"topic":"{topic}","partition":0,{at}}}"#)
    }

    #[test]
    fn a_time_is_answered_with_the_first_event_of_that_time_or_a_later_one() {
        for (time, expected) in [(0, 100), (1001, 101), (1005, 101), (1006, 104), (1011, 105)] {
            let id = format!("[{}]", entry(A, &format!("\"timestamp\":{time}")));
            assert_eq!(places(&id), [(A.to_owned(), expected)], "{time}");
        }
    }

    #[test]
    fn an_offset_is_taken_as_it_is_and_one_outside_the_log_is_the_end() {
        for (offset, expected) in [
            (100, 100),
            (103, 103),
            (105, 105),
            (106, 105),
            (7, 105),
            (-1, 105),
        ] {
            let id = format!("[{}]", entry(A, &format!("\"offset\":{offset}")));
            assert_eq!(places(&id), [(A.to_owned(), expected)], "{offset}");
        }
    }

    #[test]
    fn an_entry_with_both_is_lost_as_soon_as_another_has_a_time_alone() {
        let both = entry(A, "\"timestamp\":1000,\"offset\":102");
        assert_eq!(places(&format!("[{both}]")), [(A.to_owned(), 102)]);
        let time = entry(B, "\"timestamp\":1000");
        assert_eq!(places(&format!("[{both},{time}]")), [(B.to_owned(), 0)]);
    }

    #[test]
    fn topics_of_other_streams_and_texts_that_are_no_ids_are_refused() {
        let (cluster, topics) = cluster();
        let refused = |id: &str| cluster.assign(&topics, Some(id), None).unwrap_err().0;
        assert_eq!(
            refused(&format!("[{}]", entry("eqiad.y", "\"offset\":1"))),
            404
        );
        assert_eq!(refused("[]"), 400);
        assert_eq!(refused("x"), 400);
        assert_eq!(refused(&format!("[{}]", entry(A, "\"offset\":\"1\""))), 400);
    }

    #[test]
    fn the_id_has_the_time_plus_one_for_who_has_spoken_and_an_offset_for_who_has_not() {
        let (cluster, topics) = cluster();
        let id = |places: &[Assignment]| {
            places
                .iter()
                .map(|place| place.id.to_string())
                .collect::<Vec<_>>()
        };
        let mut live = cluster.assign(&topics, None, None).unwrap();
        assert_eq!(
            id(&live),
            [entry(A, "\"offset\":-1"), entry(B, "\"offset\":-1")]
        );
        assert!(cluster.next(&mut live, Order::Published).is_none());
        let mut past = cluster.assign(&topics, None, Some(1010)).unwrap();
        let event = cluster.next(&mut past, Order::Published).unwrap();
        assert_eq!((event.offset, event.time), (104, 1010));
        assert!(event.json.contains("\"offset\":104"), "{}", event.json);
        assert_eq!(
            id(&past),
            [entry(A, "\"timestamp\":1011"), entry(B, "\"offset\":-1")]
        );
    }
}
