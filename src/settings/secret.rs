//! A text that does not show.

use std::fmt;

/// A text that neither `Debug` nor any error shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one place that sends or compares it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the secret; takes the same time wherever they differ.
    pub fn is(&self, given: &str) -> bool {
        let differing =
            std::iter::zip(self.0.bytes(), given.bytes()).fold(0, |d, (a, b)| d | (a ^ b));
        self.0.len() == given.len() && differing == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_but_not_shown() {
        let secret = Secret::new("hush");
        assert!(secret.is("hush"));
        assert!(!secret.is("husk") && !secret.is("hus") && !secret.is("") && !secret.is("hushh"));
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
