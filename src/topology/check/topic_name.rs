//! T011: Kafka's rules for the names of topics.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T011",
    severity: Severity::Error,
    title: "Kafka does not allow a topic of this name",
    check,
};

/// Kafka's own limit.
const LONGEST: usize = 249;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let written = cx.kafka_sinks();
    let written =
        written.map(|(number, sink)| (Place::node(number).key("topic"), sink.topic.as_str()));
    for (place, topic) in cx.source_topics().chain(written) {
        let Some(reason) = reason(topic) else {
            continue;
        };
        let message = format!("Kafka does not allow a topic `{topic}`: {reason}");
        let help = "use letters, digits, `.`, `_` and `-`, at most 249 of them";
        out.push(RULE.finding(place, message).help(help));
    }
}

fn reason(topic: &str) -> Option<String> {
    if topic.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if topic.len() > LONGEST {
        return Some(format!("the name has {} characters", topic.len()));
    }
    if topic == "." || topic == ".." {
        return Some("the name is reserved".to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    topic
        .chars()
        .find(|&c| !allowed(c))
        .map(|bad| format!("the name contains {bad:?}"))
}
