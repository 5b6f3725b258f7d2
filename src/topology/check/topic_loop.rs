//! T014: records that are written are not read again by the same application, unless it is meant.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::analysis::reaches;

pub(super) const RULE: Rule = Rule {
    code: "T014",
    severity: Severity::Warning,
    title: "a topic leads records back to where they came from",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut consumers = cx.analysis.consumers.clone();
    for (number, sink) in cx.kafka_sinks() {
        let readers = cx
            .sources()
            .filter(|(_, source)| source.topics.contains(&sink.topic));
        consumers[number].extend(readers.map(|(reader, _)| reader));
    }
    for (number, sink) in cx.kafka_sinks() {
        if !reaches(number, number, &consumers) {
            continue;
        }
        let topic = &sink.topic;
        let message = format!("records written to `{topic}` are read again and come back here");
        let help = "without a condition that ends it, the loop runs for ever";
        let mut finding = RULE
            .finding(Place::node(number).key("topic"), message)
            .help(help);
        for (place, read) in cx.source_topics() {
            if read == topic {
                finding = finding.related(place, "it is read here");
            }
        }
        out.push(finding);
    }
}
