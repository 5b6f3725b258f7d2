//! Amounts of memory as a user types them.

/// Reads `64MiB`, `1GiB`, `512KiB`, `4MB` or a number of bytes.
pub(super) fn parse(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let text = text.trim();
    let wrong = || format!("expected an amount of memory such as 64MiB, found {text:?}");
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, size) = match unit {
        Some((unit, size)) => (text[..text.len() - unit.len()].trim_end(), *size),
        None => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(size).ok_or_else(wrong)?;
    usize::try_from(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units_or_are_bytes() {
        let check = |text, expected| assert_eq!(parse(text).ok(), expected, "{text}");
        check("64MiB", Some(64 << 20));
        check("1 GiB", Some(1 << 30));
        check("4MB", Some(4_000_000));
        check("4096", Some(4096));
        check("12B", Some(12));
        check("MiB", None);
        check("-1", None);
        check("99999999999GiB", None);
    }
}
