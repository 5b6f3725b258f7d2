//! Makes an application, or one of its SQL sinks, begin anew: what it has kept, committed and written into
//! tables is taken away. Source topics, the topics of Kafka sinks and dead letters stay.
//!
//! The order of the steps decides what happens to somebody who starts the application after one that broke off:
//!
//! | step | if it breaks off behind it |
//! | --- | --- |
//! | topics of its own are deleted | state that is still on a disk has no changelog: the task refuses to begin |
//! | groups are deleted | the same |
//! | the state on this machine is deleted | the application begins anew, but its sinks go on where the ledger says |
//! | ledger and rows of each sink, in one transaction | all is done |
//!
//! Each step can be repeated, and whoever executes them says so when they break off.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{Broker, BrokerError, Offset, TopicPartition};
use crate::topology::graph::TableUse;
use crate::topology::plan::{Plan, SubTopology};

/// What is to be taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The application.
    pub app: String,
    /// Consumer groups.
    pub groups: Vec<String>,
    /// Topics of the application's own.
    pub topics: Vec<String>,
    /// What SQL sinks have written.
    pub sinks: Vec<SinkReset>,
    /// Whether the state on disk goes too.
    pub has_state: bool,
    /// The topics that are read again from their beginnings.
    pub inputs: Vec<String>,
    /// The topics of Kafka sinks, into which results are written once more.
    pub outputs: Vec<String>,
}

/// A SQL sink that begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkReset {
    /// The sink.
    pub node: String,
    /// Its table.
    pub table: String,
    /// Whether others write into the table as well, so that its rows have to stay.
    pub is_shared: bool,
}

/// Somebody is at work in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The group.
    pub group: String,
    /// What it calls itself.
    pub name: String,
}

/// A node cannot be reset by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// There is none of that name.
    #[error("the topology has no node {node}{}", suggestion(sinks))]
    NoNode {
        /// The name.
        node: String,
        /// The nodes that can be reset.
        sinks: Vec<String>,
    },
    /// It shares its position with others.
    #[error(
        "{node} goes through its input together with other nodes of {app}, so it cannot begin anew without \
         them: reset the whole application{}",
        suggestion(sinks)
    )]
    Shared {
        /// The node.
        node: String,
        /// The application.
        app: String,
        /// The nodes that can be reset.
        sinks: Vec<String>,
    },
}

fn suggestion(sinks: &[String]) -> String {
    match sinks {
        [] => String::new(),
        sinks => format!(
            ". By themselves SQL sinks can be reset: {}",
            sinks.join(", ")
        ),
    }
}

impl Reset {
    /// Of a whole application.
    pub fn of_app(plan: &Plan) -> Reset {
        let groups = plan.sinks.iter().map(|sink| sink.group.clone());
        let own = (!plan.processing.is_empty()).then(|| plan.group());
        Reset {
            app: plan.app.to_string(),
            groups: own.into_iter().chain(groups).collect(),
            topics: owned(plan.private_topics()),
            sinks: plan
                .sinks
                .iter()
                .filter_map(|sink| sink_reset(sink))
                .collect(),
            has_state: true,
            inputs: owned(plan.source_topics()),
            outputs: owned(plan.output_topics()),
        }
    }

    /// Of one SQL sink: it reads what it reads once more, and writes its table anew.
    ///
    /// # Errors
    /// When there is no such sink.
    pub fn of_node(plan: &Plan, node: &str) -> Result<Reset, ResetError> {
        let mut sinks = plan.sinks.iter();
        let is_it = |sink: &SubTopology| sink_reset(sink).is_some_and(|sink| sink.node == node);
        let Some(sink) = sinks.find(|sink| is_it(sink)) else {
            return Err(refusal(plan, node));
        };
        let topics: BTreeSet<&str> = sink.topics().collect();
        Ok(Reset {
            app: plan.app.to_string(),
            groups: vec![sink.group.clone()],
            topics: Vec::new(),
            sinks: sink_reset(sink).into_iter().collect(),
            has_state: false,
            inputs: owned(topics),
            outputs: Vec::new(),
        })
    }

    /// Who is at work in any of the groups.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub fn members(&self, broker: &dyn Broker) -> Result<Vec<Member>, BrokerError> {
        let mut members = Vec::new();
        for group in &self.groups {
            let names = broker.members(group)?.into_iter();
            members.extend(names.map(|name| Member {
                group: group.clone(),
                name,
            }));
        }
        Ok(members)
    }

    /// Those of the topics that exist.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub fn existing_topics(&self, broker: &dyn Broker) -> Result<Vec<String>, BrokerError> {
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        Ok(broker.partition_counts(&names)?.into_keys().collect())
    }

    /// Where inputs do not begin with their first record any more, and the offset of what they begin with:
    /// nothing is made again of what came before.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub fn gone(
        &self,
        broker: &dyn Broker,
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        let names: Vec<&str> = self.inputs.iter().map(String::as_str).collect();
        let counts = broker.partition_counts(&names)?;
        let partitions = counts.iter().flat_map(|(topic, count)| {
            (0..*count as i32).map(|partition| TopicPartition::new(topic.as_str(), partition))
        });
        let partitions: Vec<TopicPartition> = partitions.collect();
        let mut starts = broker.start_offsets(&partitions)?;
        starts.retain(|_, start| *start > 0);
        Ok(starts)
    }

    /// Deletes topics and groups.
    ///
    /// # Errors
    /// When the log cannot be reached or refuses, as it does when a group has members.
    pub fn forget(&self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let topics = self.existing_topics(broker)?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        broker.delete_topics(&names)?;
        self.groups
            .iter()
            .try_for_each(|group| broker.delete_group(group))
    }
}

fn owned<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn sink_reset(sink: &SubTopology) -> Option<SinkReset> {
    let (node, sql) = sink.sql()?;
    Some(SinkReset {
        node: node.to_string(),
        table: sql.table.clone(),
        is_shared: sql.table_use == TableUse::Shared,
    })
}

fn refusal(plan: &Plan, node: &str) -> ResetError {
    let subs = plan.processing.iter().chain(&plan.sinks);
    let mut operators = subs.flat_map(|sub| &sub.operators);
    let is_there = operators.any(|operator| operator.node.as_str() == node);
    let sinks = plan.sinks.iter().filter_map(|sink| sink_reset(sink));
    let sinks = sinks.map(|sink| sink.node).collect();
    let node = node.to_owned();
    match is_there {
        true => ResetError::Shared {
            node,
            app: plan.app.to_string(),
            sinks,
        },
        false => ResetError::NoNode { node, sinks },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::memory::MemoryBroker;
    use crate::broker::{Isolation, MemberOptions, Outgoing, ProducerOptions, TopicSpec};
    use crate::time::{ManualClock, Timestamp};
    use crate::topology::plan::plan;

    const TOPOLOGY: &str = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, fields: { id: int, till: int } } }
  raw: { sql: { from: orders, table: orders, key: id, columns: { id: id } } }
  tills: { aggregate: { from: orders, by: till, window: none, set: { n: count() } } }
  sums: { sql: { from: tills, table: tills, shared: true } }
  out: { kafka: { from: tills, topic: results } }
";

    fn planned() -> Plan {
        let topology = crate::config::parse(TOPOLOGY, "shop.yaml");
        plan(&topology.unwrap_or_else(|report| panic!("{report}"))).unwrap()
    }

    #[test]
    fn what_an_application_owns_goes_and_what_others_use_stays() {
        let reset = Reset::of_app(&planned());
        assert_eq!(reset.groups, ["shop", "shop-raw", "shop-sums"]);
        assert_eq!(
            reset.topics,
            [
                "shop-orders-progress",
                "shop-tills-changelog",
                "shop-tills-repartition"
            ]
        );
        let shared: Vec<(&str, bool)> = reset
            .sinks
            .iter()
            .map(|sink| (sink.table.as_str(), sink.is_shared))
            .collect();
        assert_eq!(shared, [("orders", false), ("tills", true)]);
        assert_eq!(
            (reset.inputs, reset.outputs),
            (vec!["orders".to_owned()], vec!["results".to_owned()])
        );
    }

    #[test]
    fn a_sink_goes_alone_and_other_nodes_do_not() {
        let plan = planned();
        let raw = Reset::of_node(&plan, "raw").unwrap();
        assert_eq!(
            (raw.groups, raw.inputs),
            (vec!["shop-raw".to_owned()], vec!["orders".to_owned()])
        );
        assert!(raw.topics.is_empty() && !raw.has_state);
        let refused = |node: &str| Reset::of_node(&plan, node).unwrap_err().to_string();
        assert_eq!(
            refused("tills"),
            "tills goes through its input together with other nodes of shop, so it cannot begin anew without them: \
             reset the whole application. By themselves SQL sinks can be reset: raw, sums"
        );
        assert_eq!(
            refused("till"),
            "the topology has no node till. By themselves SQL sinks can be reset: raw, sums"
        );
    }

    /// ```text
    ///   orders-0   0 1 2 3 4      the first three are gone      a member of shop-raw: refused
    /// ```
    #[test]
    fn what_cannot_be_made_again_and_who_is_in_the_way_is_said() {
        let broker = MemoryBroker::new(Arc::new(ManualClock::new(Timestamp(0))));
        let spec = |name: &str| TopicSpec {
            name: name.to_owned(),
            partitions: 2,
            replication: -1,
            config: BTreeMap::new(),
        };
        broker
            .create_topics(&[spec("orders"), spec("shop-tills-changelog")])
            .unwrap();
        let mut producer = broker.producer(&ProducerOptions::default()).unwrap();
        for _ in 0..5 {
            let record = Outgoing {
                topic: "orders",
                partition: Some(0),
                timestamp: Timestamp(0),
                key: None,
                value: Some(b"{}"),
                headers: &[],
            };
            producer.send(record).unwrap();
        }
        let p0 = TopicPartition::new("orders", 0);
        let reset = Reset::of_app(&planned());
        assert!(reset.gone(&broker).unwrap().is_empty());
        broker.delete_records(&p0, 3);
        assert_eq!(reset.gone(&broker).unwrap(), BTreeMap::from([(p0, 3)]));

        let options = MemberOptions {
            group: "shop-raw".to_owned(),
            topics: vec!["orders".to_owned()],
            instance_id: None,
            session_timeout: std::time::Duration::from_secs(10),
            max_poll_interval: std::time::Duration::from_secs(60),
            isolation: Isolation::ReadCommitted,
        };
        let member = broker.member(&options).unwrap();
        let members = reset.members(&broker).unwrap();
        assert_eq!((members.len(), members[0].group.as_str()), (1, "shop-raw"));
        assert!(reset.forget(&broker).is_err());
        drop(member);
        reset.forget(&broker).unwrap();
        assert_eq!(reset.existing_topics(&broker).unwrap(), [] as [String; 0]);
        assert_eq!(broker.partition_counts(&["orders"]).unwrap().len(), 1);
        reset.forget(&broker).unwrap();
    }
}
