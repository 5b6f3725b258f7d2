//! T013: the topics that belong to the application itself are neither read nor written by nodes.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T013",
    severity: Severity::Error,
    title: "a topic has a name that belongs to the application itself",
    check,
};

/// What follows `<app>-<node>` in the names of internal topics.
const ENDINGS: [&str; 4] = ["-changelog", "-progress", "-repartition", "-results"];

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let written = cx.kafka_sinks();
    let written =
        written.map(|(number, sink)| (Place::node(number).key("topic"), sink.topic.as_str()));
    for (place, topic) in cx.source_topics().chain(written) {
        if !is_internal(topic, cx.app.as_str()) {
            continue;
        }
        let message = format!(
            "the topic `{topic}` belongs to the application `{}`",
            cx.app
        );
        let help = format!(
            "its internal topics are `{0}-dead-letters` and `{0}-…` with the ending `-changelog`, \
             `-progress`, `-repartition` or `-results`; choose another name",
            cx.app
        );
        out.push(RULE.finding(place, message).help(help));
    }
}

fn is_internal(topic: &str, app: &str) -> bool {
    let rest = topic
        .strip_prefix(app)
        .and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| {
        rest == "dead-letters" || ENDINGS.iter().any(|ending| rest.ends_with(ending))
    })
}
