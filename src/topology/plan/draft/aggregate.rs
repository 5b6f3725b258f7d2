//! An aggregate in a sub-topology under construction, or a side of one that has two.

use super::super::aggregates::{
    content, deletion, fold_shape, functions, result_topic, result_types, results_scope, windows,
};
use super::super::{
    AggregatePlan, FoldPlan, FoldShape, Input, InternalTopic, Purpose, Reader, ResultSlots,
    ResultTopic, StorePlan, TimeNeed, TimeSource, Work,
};
use super::{Draft, Link, Outlet, PlanError, Scope};
use crate::topology::graph::{Aggregate, Emit, Node, NodeName};
use crate::value::ValueType;

impl<'l, 't> Draft<'l, 't> {
    /// An aggregate whose input is partitioned by its key.
    pub(in super::super) fn add_aggregate(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
    ) -> Result<(), PlanError> {
        let outlet = self.before_fold(node, aggregate)?;
        let (shape, by_types) = fold_shape(node, aggregate, &outlet.scope, self.graph)?;
        let types = result_types(aggregate);
        let results = results_scope(aggregate, self.layout, &by_types, &types);
        let Outlet { links, time, .. } = outlet;
        self.add_store(node, aggregate, shape, results, &links, time)
    }

    /// What is known in front of an aggregate. Rows that replace one another and do not say which ones
    /// are kept there, in a store of the aggregate's.
    fn before_fold(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
    ) -> Result<Outlet<'l>, PlanError> {
        let outlet = self.before(node)?;
        if !self.graph.keeps_input(aggregate) {
            return Ok(outlet);
        }
        let name = NodeName::new(&format!("{}-input", node.name));
        let from = self.graph.node(&aggregate.from);
        let prefixes = self.graph.shape(from).prefixes();
        Ok(self.keep_rows(&name, prefixes, aggregate.on_error, &outlet))
    }

    /// The side of an aggregate in front of its repartition topic.
    pub(in super::super) fn add_near(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
        sized_like: Vec<String>,
    ) -> Result<(), PlanError> {
        let outlet = self.before_fold(node, aggregate)?;
        let (shape, _) = fold_shape(node, aggregate, &outlet.scope, self.graph)?;
        let topic = self.graph.internal_topic(&node.name, "repartition");
        self.topics.push(InternalTopic {
            name: topic.clone(),
            purpose: Purpose::Repartition,
            sized_like,
        });
        let tells_time = self.graph.time_need(node, 0);
        let work = Work::Fold(FoldPlan {
            shape,
            topic,
            time: outlet.time,
            tells_time: tells_time.unwrap_or(TimeNeed::Retention),
            one_by_one: aggregate.delete_if.is_some(),
        });
        self.push(node, work, &outlet.links);
        Ok(())
    }

    /// The side of an aggregate behind its repartition topic. Partial results carry their key and
    /// accumulators; the expressions ran on the near side.
    pub(in super::super) fn add_far(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
    ) -> Result<(), PlanError> {
        self.inputs.push(Input {
            topics: vec![self.graph.internal_topic(&node.name, "repartition")],
            reader: Reader::Partials,
            with_headers: false,
            next: Vec::new(),
        });
        let shape = FoldShape {
            by: Vec::new(),
            partitioned_by: None,
            windows: windows(aggregate),
            calls: functions(aggregate)
                .map(|function| (function, Vec::new()))
                .collect(),
            on_late: aggregate.on_late,
            on_error: aggregate.on_error,
        };
        let by_types = vec![ValueType::Any; aggregate.by.len()];
        let types = vec![ValueType::Any; aggregate.set.len()];
        let results = results_scope(aggregate, self.layout, &by_types, &types);
        let input = self.inputs.len() - 1;
        let (links, time) = ([Link::Input(input)], self.time_of_input(input));
        self.add_store(node, aggregate, shape, results, &links, time)
    }

    fn add_store(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
        shape: FoldShape,
        (scope, slots): (Scope<'l>, ResultSlots),
        behind: &[Link],
        time: TimeSource,
    ) -> Result<(), PlanError> {
        let least_ms = shape.windows.least_retention_ms();
        let retention_ms = aggregate
            .window
            .map(|window| window.retention_ms.map_or(least_ms, |ms| ms.max(least_ms)));
        let store = self.stores.len();
        let changelog = self.own_topic(node, "changelog", Purpose::Changelog { retention_ms });
        let of_rows = self.graph.shape(self.graph.node(&aggregate.from)).replace();
        self.stores.push(StorePlan {
            name: node.name.to_string(),
            changelog,
            content: match of_rows {
                true => format!("{}; of rows that replace one another", content(aggregate)),
                false => content(aggregate),
            },
        });
        let writes_results = result_topic(aggregate) == ResultTopic::Results;
        let results_topic = (writes_results && self.graph.feeds_sql(node))
            .then(|| self.own_topic(node, "results", Purpose::Results));
        let work = Work::Aggregate(AggregatePlan {
            time: time.clone(),
            shape,
            store,
            emit: aggregate.emit,
            results_topic,
            slots,
            deletion: deletion(node, aggregate)?,
            retention_ms,
            idle_close_ms: aggregate.window.and_then(|window| window.idle_close_ms),
        });
        let id = self.push(node, work, behind);
        let outlet = Outlet {
            scope,
            links: vec![Link::Operator(id)],
            time: match aggregate.emit {
                Emit::Close => TimeSource::released(id),
                Emit::Updates => time.of_results(),
            },
        };
        self.outlets.insert(&node.name, outlet);
        Ok(())
    }
}
