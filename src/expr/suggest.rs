//! The name that was probably meant.

/// The nearest of the names, when one is near: a letter in three may be wrong.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = name.to_lowercase();
    let limit = match name.chars().count() {
        // Any two so short would be near.
        0..3 => 0,
        letters => letters / 3,
    };
    names
        .into_iter()
        .map(|other| {
            (
                strsim::damerau_levenshtein(&lower, &other.to_lowercase()),
                other,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_only_when_it_is_near() {
        let names = ["length.old", "length.new", "title", "user", "if"];
        for (name, expected) in [
            ("length.odl", Some("length.old")),
            ("tilte", Some("title")),
            ("USER", Some("user")),
            ("usr", Some("user")),
            ("wiki", None),
            ("x", None),
            ("f", None),
            ("is", None),
        ] {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }
}
