//! Help for a name that does not exist.

pub use crate::expr::nearest;

/// Words of SQL, Kafka Streams and ksqlDB, and those that are meant here, if they are among the candidates.
const SYNONYMS: &[(&str, &str)] = &[
    // Keys of nodes.
    ("advance_by", "advance"),
    ("aggregates", "set"),
    ("aggregations", "set"),
    ("application.id", "app"),
    ("application_id", "app"),
    ("columns", "fields"),
    ("condition", "where"),
    ("else", "default"),
    ("event_time", "timestamp"),
    ("exactly_once_v2", "exactly_once"),
    ("full", "outer"),
    ("full_outer", "outer"),
    ("gap", "session"),
    ("group_by", "by"),
    ("hop", "hopping"),
    ("input", "from"),
    ("inputs", "from"),
    ("keyed_by", "key"),
    ("left", "from"),
    ("length", "tumbling"),
    ("otherwise", "default"),
    ("predicate", "where"),
    ("primary_key", "key"),
    ("processing.guarantee", "guarantee"),
    ("right", "with"),
    ("select", "set"),
    ("session_gap", "session"),
    ("size", "tumbling"),
    ("slide", "sliding"),
    ("source", "from"),
    ("time_difference", "sliding"),
    ("topics", "topic"),
    ("tumble", "tumbling"),
    ("tz", "time_zone"),
    ("window_by", "window"),
    ("window_size", "tumbling"),
    ("windowed_by", "window"),
    // Aggregate functions.
    ("approx_count_distinct", "distinct"),
    ("array_agg", "collect_list"),
    ("average", "avg"),
    ("cardinality", "distinct"),
    ("count_distinct", "distinct"),
    ("earliest_by_offset", "first"),
    ("latest_by_offset", "last"),
    ("mean", "avg"),
    ("percentile", "quantile"),
    ("percentiles", "quantiles"),
    ("std", "stddev_samp"),
    ("stddev", "stddev_samp"),
    ("topk", "top_k"),
    // Types.
    ("bigint", "int"),
    ("boolean", "bool"),
    ("date", "timestamp"),
    ("datetime", "timestamp"),
    ("decimal", "double"),
    ("float", "double"),
    ("integer", "int"),
    ("long", "int"),
    ("number", "double"),
    ("str", "string"),
    ("text", "string"),
    ("time", "timestamp"),
    ("varchar", "string"),
];

/// The word of ours that is meant by one of others, or by one that is misspelt.
pub fn word_meant<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let lower = word.to_lowercase();
    let ours = SYNONYMS.iter().filter(|(theirs, _)| *theirs == lower);
    let is_here = |ours: &&str| candidates.contains(ours);
    let meant = ours.map(|(_, ours)| *ours).find(is_here);
    meant.or_else(|| nearest(word, candidates))
}

/// The same as [`did_you_mean`] for the words of topology files.
pub fn did_you_mean_word<'a>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    match word_meant(word, candidates.clone()) {
        Some(meant) => Some(format!("did you mean `{meant}`?")),
        None => did_you_mean(word, what, candidates),
    }
}

/// A help text: the nearest candidate, or all of them while they are few.
pub fn did_you_mean<'a>(
    name: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(near) = nearest(name, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all: Vec<&str> = candidates.into_iter().collect();
    match all.len() {
        0 => None,
        1..=24 => Some(format!("the {what}: {}", all.join(", "))),
        count => Some(format!(
            "there are {count} {what}, none of them with a similar name"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, candidates: &[&str], expected: Option<&str>) {
        let help = did_you_mean(name, "nodes", candidates.iter().copied());
        assert_eq!(help.as_deref(), expected, "{name}");
    }

    #[test]
    fn a_word_of_others_means_one_of_ours_where_that_stands() {
        let keys = ["from", "by", "window", "set"];
        assert_eq!(word_meant("group_by", keys), Some("by"));
        assert_eq!(word_meant("GROUP_BY", keys), Some("by"));
        assert_eq!(word_meant("size", keys), None);
        assert_eq!(word_meant("windwo", keys), Some("window"));
        assert_eq!(word_meant("mean", ["sum", "avg"]), Some("avg"));
    }

    #[test]
    fn the_nearest_name_is_offered_or_else_all_of_them() {
        check(
            "chnages",
            &["changes", "edits"],
            Some("did you mean `changes`?"),
        );
        check(
            "wiki",
            &["changes", "edits"],
            Some("the nodes: changes, edits"),
        );
        check("wiki", &[], None);
        check(
            "wiki",
            &["changes"; 25],
            Some("there are 25 nodes, none of them with a similar name"),
        );
    }
}
