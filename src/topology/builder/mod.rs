//! Building a topology in Rust.
//!
//! Nodes are added by name in any order; [`Builder::build`] then reports everything that is wrong
//! at once. The config layer lowers YAML by calling the same methods, so there is one graph and one
//! checker.
//!
//! ```
//! use std::time::Duration;
//! use tidemill::topology::builder::{Rollup, Source, SqlSink};
//! use tidemill::topology::graph::Topology;
//!
//! let topology = Topology::builder("wikimedia")
//!     .source("changes", Source::json("wikimedia.recentchange").timestamp("meta.dt").key("wiki"))
//!     .filter("edits", "changes", "type in ['edit', 'new']")
//!     .aggregate(
//!         "per_wiki",
//!         "edits",
//!         Rollup::by(["wiki"]).tumbling(Duration::from_secs(60)).set("edits", "count()"),
//!     )
//!     .sql("wiki_table", "per_wiki", SqlSink::table("edits_per_wiki_minute"))
//!     .build()?;
//! assert_eq!(topology.nodes.len(), 4);
//! # Ok::<(), tidemill::topology::finding::Findings>(())
//! ```

mod kinds;
mod rollup;

pub use rollup::Rollup;

use super::aggregation::AggregationError;
use super::check;
use super::duration::Millis;
use super::finding::{Finding, Findings, Place, Severity};
use super::graph::{
    AppId, Arm, Guarantee, Merge, Node, NodeKind, NodeName, Side, ToStream, Topology,
};
use crate::window::Period;

pub use super::graph::{
    Branch, Deduplicate, Filter, FlatMap, GlobalTable, Join, JoinKind, KafkaSink, Log, Map,
    Process, SelectKey, Source, SqlSink, Suppress, Table,
};

/// A topology in the making; see the [module](self).
#[derive(Clone, Debug)]
pub struct Builder {
    draft: Draft,
    reported: Vec<Place>,
}

/// What the checker looks at: a topology that may be wrong.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub app: AppId,
    pub guarantee: Guarantee,
    pub nodes: Vec<DraftNode>,
    /// What could not be turned into a node's parts.
    pub problems: Vec<(Place, Problem)>,
}

/// A node that may be wrong.
#[derive(Clone, Debug)]
pub(super) struct DraftNode {
    pub name: NodeName,
    /// None when only its name could be read.
    pub kind: Option<NodeKind>,
    /// Whether parts are left out, so that its records may have fields that cannot be seen here.
    pub has_gaps: bool,
}

/// A part of a node that could not be made.
#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// An aggregate says nothing about its window.
    NoWindow,
    /// There is no time zone of that name.
    UnknownZone(String),
    /// Windows in a time zone are of this length, which is not a number of days.
    NoDays(Millis),
    /// Windows of this kind, or none, are in a time zone.
    ZoneOf(&'static str),
    /// Windows of the calendar are in no time zone.
    NoZone(Period),
    /// A result of an aggregate is not a call of an aggregate function.
    Aggregation(AggregationError),
}

impl Problem {
    /// Whether the node's records have a field that the node, as it could be made, does not show.
    fn leaves_a_gap(&self) -> bool {
        matches!(self, Problem::Aggregation(_))
    }
}

impl Topology {
    /// A topology without nodes; `app` names the Kafka group and prefixes all internal topics.
    pub fn builder(app: &str) -> Builder {
        let draft = Draft {
            app: AppId::new(app),
            guarantee: Guarantee::default(),
            nodes: Vec::new(),
            problems: Vec::new(),
        };
        Builder {
            draft,
            reported: Vec::new(),
        }
    }
}

impl Builder {
    /// Exactly once (the default) or at least once.
    #[must_use]
    pub fn guarantee(mut self, guarantee: Guarantee) -> Builder {
        self.draft.guarantee = guarantee;
        self
    }

    /// Adds a node that reads topics.
    #[must_use]
    pub fn source(self, name: &str, source: Source) -> Builder {
        self.node(name, NodeKind::Source(source))
    }

    /// Adds a node that lets pass the records of `from` for which `condition` is true.
    #[must_use]
    pub fn filter(self, name: &str, from: &str, condition: &str) -> Builder {
        self.node(name, NodeKind::Filter(Filter::new(from, condition)))
    }

    /// Adds a node that lets pass the records of `from` for which `condition` is false.
    #[must_use]
    pub fn filter_not(self, name: &str, from: &str, condition: &str) -> Builder {
        let filter = Filter::new(from, condition).negated();
        self.node(name, NodeKind::Filter(filter))
    }

    /// Adds a node that sets fields in the records of `from`: name and expression, in this order.
    #[must_use]
    pub fn map<'a>(
        self,
        name: &str,
        from: &str,
        set: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Builder {
        let map = set
            .into_iter()
            .fold(Map::new(from), |map, (field, text)| map.set(field, text));
        self.node(name, NodeKind::Map(map))
    }

    /// Adds a node that makes a record of each element of a list in the records of `from`.
    #[must_use]
    pub fn flat_map(self, name: &str, from: &str, mut flat_map: FlatMap) -> Builder {
        flat_map.from = NodeName::new(from);
        self.node(name, NodeKind::FlatMap(flat_map))
    }

    /// Adds a node that replaces the key of the records of `from`.
    #[must_use]
    pub fn select_key(self, name: &str, from: &str, key: &str) -> Builder {
        let mut select = SelectKey::new(key);
        select.from = NodeName::new(from);
        self.node(name, NodeKind::SelectKey(select))
    }

    /// Adds a node that sends each record of `from` one way; others read from `name.arm`.
    #[must_use]
    pub fn branch(mut self, name: &str, from: &str, mut branch: Branch) -> Builder {
        let at = NodeName::new(name);
        branch.from = NodeName::new(from);
        let names = branch
            .arms
            .iter()
            .map(|(arm, _)| arm)
            .chain(&branch.default);
        let arms: Vec<NodeName> = names.map(|arm| at.arm(arm)).collect();
        self = self.node(name, NodeKind::Branch(branch));
        for (number, arm) in arms.iter().enumerate() {
            let from = at.clone();
            self = self.node(arm.as_str(), NodeKind::Arm(Arm { from, number }));
        }
        self
    }

    /// Adds a node with the records of several others.
    #[must_use]
    pub fn merge<'a>(self, name: &str, from: impl IntoIterator<Item = &'a str>) -> Builder {
        let from = from.into_iter().map(NodeName::new).collect();
        self.node(name, NodeKind::Merge(Merge { from }))
    }

    /// Adds a node that takes each update of a row of `from` for a record of a stream.
    #[must_use]
    pub fn to_stream(self, name: &str, from: &str) -> Builder {
        let from = NodeName::new(from);
        self.node(name, NodeKind::ToStream(ToStream { from }))
    }

    /// Adds a node that takes the records of `from` for the rows of a table.
    #[must_use]
    pub fn table(self, name: &str, from: &str, mut table: Table) -> Builder {
        table.from = NodeName::new(from);
        self.node(name, NodeKind::Table(table))
    }

    /// Adds a node that reads topics for the rows of a table that each process has whole.
    #[must_use]
    pub fn global_table(self, name: &str, table: GlobalTable) -> Builder {
        self.node(name, NodeKind::GlobalTable(table))
    }

    /// Adds a node that puts the records of `from` together with the rows of a table.
    #[must_use]
    pub fn join(self, name: &str, from: &str, mut join: Join) -> Builder {
        join.inputs[Side::Left as usize] = NodeName::new(from);
        self.node(name, NodeKind::Join(join))
    }

    /// Adds a node that writes the records of `from` into the log of the process.
    #[must_use]
    pub fn log(self, name: &str, from: &str, mut log: Log) -> Builder {
        log.from = NodeName::new(from);
        self.node(name, NodeKind::Log(log))
    }

    /// Adds a node that folds the records of `from` by key and window.
    #[must_use]
    pub fn aggregate(mut self, name: &str, from: &str, rollup: Rollup) -> Builder {
        let place = Place::node(self.draft.nodes.len());
        let (aggregate, problems) = rollup.lower(from, &place);
        let has_gaps = problems.iter().any(|(_, problem)| problem.leaves_a_gap());
        self.draft.problems.extend(problems);
        self.push(name, Some(NodeKind::Aggregate(aggregate)), has_gaps)
    }

    /// Adds a node that holds back the updates of the results of `from`.
    #[must_use]
    pub fn suppress(self, name: &str, from: &str, mut suppress: Suppress) -> Builder {
        suppress.from = NodeName::new(from);
        self.node(name, NodeKind::Suppress(suppress))
    }

    /// Adds a node that lets pass the first of equal records of `from`.
    #[must_use]
    pub fn deduplicate(self, name: &str, from: &str, mut deduplicate: Deduplicate) -> Builder {
        deduplicate.from = NodeName::new(from);
        self.node(name, NodeKind::Deduplicate(deduplicate))
    }

    /// Adds a node that runs a user's own processor on the records of `from`.
    #[must_use]
    pub fn process(self, name: &str, from: &str, mut process: Process) -> Builder {
        process.from = NodeName::new(from);
        self.node(name, NodeKind::Process(process))
    }

    /// Adds a node that writes the records of `from` into a table.
    #[must_use]
    pub fn sql(self, name: &str, from: &str, mut sink: SqlSink) -> Builder {
        sink.from = NodeName::new(from);
        self.node(name, NodeKind::Sql(sink))
    }

    /// Adds a node that writes the records of `from` to a topic.
    #[must_use]
    pub fn kafka(self, name: &str, from: &str, mut sink: KafkaSink) -> Builder {
        sink.from = NodeName::new(from);
        self.node(name, NodeKind::Kafka(sink))
    }

    /// Adds a node of any kind, for those with settings that the short forms above do not have.
    #[must_use]
    pub fn node(self, name: &str, kind: NodeKind) -> Builder {
        self.push(name, Some(kind), false)
    }

    /// The topology, if nothing is wrong with it. Warnings are dropped; [`Builder::check`] has
    /// them.
    ///
    /// # Errors
    /// All that is wrong with it, when one of the findings is an error.
    pub fn build(self) -> Result<Topology, Findings> {
        match self.check() {
            (Some(topology), _) => Ok(topology),
            (None, findings) => Err(findings),
        }
    }

    /// The topology, if no finding is an error, and all findings.
    pub fn check(self) -> (Option<Topology>, Findings) {
        let mut findings = check::check(&self.draft);
        let refused = !self.reported.is_empty()
            || findings
                .iter()
                .any(|finding| finding.severity == Severity::Error);
        findings.retain(|finding| !self.is_reported(finding));
        let topology = if refused {
            None
        } else {
            Some(self.draft.finish())
        };
        (topology, Findings(findings))
    }

    fn is_reported(&self, finding: &Finding) -> bool {
        self.reported
            .iter()
            .any(|place| finding.place.lies_in(place))
    }

    fn push(mut self, name: &str, kind: Option<NodeKind>, has_gaps: bool) -> Builder {
        self.draft.nodes.push(DraftNode {
            name: NodeName::new(name),
            kind,
            has_gaps,
        });
        self
    }
}

/// For the config layer, which may have found mistakes of its own.
impl Builder {
    /// How many nodes there are: the number of the next one in a [`Place`].
    pub(crate) fn len(&self) -> usize {
        self.draft.nodes.len()
    }

    /// Adds a node of which only the name could be read.
    #[must_use]
    pub(crate) fn unreadable(self, name: &str) -> Builder {
        let place = Place::node(self.len());
        self.push(name, None, true).already_reported(place)
    }

    /// The last node that was added lacks parts that could not be read.
    #[must_use]
    pub(crate) fn with_gaps(mut self) -> Builder {
        if let Some(node) = self.draft.nodes.last_mut() {
            node.has_gaps = true;
        }
        self
    }

    /// What is found at this place or inside it follows from a mistake that has been reported.
    #[must_use]
    pub(crate) fn already_reported(mut self, place: Place) -> Builder {
        self.reported.push(place);
        self
    }
}

impl Draft {
    /// The topology, once nothing is wrong with it.
    fn finish(self) -> Topology {
        let node = |node: DraftNode| {
            let kind = node
                .kind
                .expect("a draft without errors has readable nodes only");
            Node {
                name: node.name,
                kind,
            }
        };
        let nodes = self.nodes.into_iter().map(node).collect();
        Topology {
            app: self.app,
            guarantee: self.guarantee,
            nodes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::topology::graph::{Emit, OnError, Window, WindowKind};

    fn rollup() -> Rollup {
        Rollup::by(["wiki"])
            .tumbling(Duration::from_secs(60))
            .set("edits", "count()")
    }

    #[test]
    fn a_topology_holds_the_nodes_as_they_were_added() {
        let source = Source::json("changes").key("wiki").timestamp("meta.dt");
        let topology = Topology::builder("wikimedia")
            .guarantee(Guarantee::AtLeastOnce)
            .source("changes", source)
            .filter("edits", "changes", "type == 'edit'")
            .map("sized", "edits", [("delta", "length.new - length.old")])
            .aggregate("per_wiki", "sized", rollup().emit(Emit::Close))
            .sql("table", "per_wiki", SqlSink::table("edits"))
            .kafka("topic", "per_wiki", KafkaSink::topic("edits").key("wiki"))
            .build()
            .expect("nothing is wrong");
        let names: Vec<&str> = topology
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(
            names,
            ["changes", "edits", "sized", "per_wiki", "table", "topic"]
        );
        let inputs = |node: &Node| {
            node.kind
                .inputs()
                .first()
                .map(|from| from.as_str().to_owned())
        };
        let inputs: Vec<_> = topology.nodes.iter().filter_map(inputs).collect();
        assert_eq!(
            inputs,
            ["changes", "edits", "sized", "per_wiki", "per_wiki"]
        );
        let NodeKind::Aggregate(aggregate) = &topology.nodes[3].kind else {
            panic!("an aggregate")
        };
        let expected = Window {
            kind: WindowKind::Tumbling { size_ms: 60_000 },
            grace_ms: 0,
            idle_close_ms: None,
            retention_ms: None,
        };
        assert_eq!(aggregate.window, Some(expected));
        assert_eq!(aggregate.emit, Emit::Close);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_and_without_a_file() {
        let findings = Topology::builder("wiki media")
            .source("changes", Source::json("changes"))
            .node(
                "edits",
                NodeKind::Filter(Filter::new("chagnes", "a = b").on_error(OnError::Drop)),
            )
            .aggregate("per_wiki", "changes", rollup().set("n", "cuont()"))
            .sql("table", "per_wiki", SqlSink::table("edits"))
            .build()
            .expect_err("four mistakes");
        assert_eq!(
            findings.to_string(),
            "\
error[T001] app: `wiki media` cannot be the name of an application: it contains ' '; use letters, digits, `.`, `_` and `-`; the name prefixes groups and topics
error[T004] edits, from: there is no node `chagnes`; did you mean `changes`?
error[T030] edits, where: unexpected `=`; `==` compares
error[T047] per_wiki, set.n: there is no aggregate function `cuont`; did you mean `count`?"
        );
    }

    #[test]
    fn warnings_do_not_refuse_a_topology() {
        let builder = Topology::builder("a").source("s", Source::json("t"));
        let (topology, findings) = builder.clone().check();
        assert!(topology.is_some());
        assert_eq!(findings.0.len(), 1, "{findings}");
        assert!(!findings.has_errors());
        assert!(builder.build().is_ok());
    }
}
