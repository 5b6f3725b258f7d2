//! Help for a name that does not exist.

pub use crate::expr::nearest;

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
