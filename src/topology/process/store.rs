//! A store as a processor uses it.

use std::ops::ControlFlow;

use super::Failure;
use super::context::Host;

/// A store of a processor: bytes by bytes, ordered by key. It holds what belongs to the task's
/// partition. What is written is seen at once, and becomes durable with the task's next commit,
/// together with everything else of it.
pub struct Store<'s> {
    host: &'s mut dyn Host,
    number: usize,
}

/// Keys and values, in the order of the keys.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

impl<'s> Store<'s> {
    pub(super) fn new(host: &'s mut dyn Host, number: usize) -> Store<'s> {
        Store { host, number }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the disk fails: the task then begins anew, whatever becomes of this error.
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<&[u8]>, Failure> {
        self.host.get(self.number, key.as_ref())
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let value = Some(value.as_ref());
        self.host.set(self.number, key.as_ref(), value);
    }

    /// Removes a key; nothing happens when it is not there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.host.set(self.number, key.as_ref(), None);
    }

    /// The entries from one key, included, to another, excluded.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn range(
        &mut self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
    ) -> Result<Entries, Failure> {
        self.collect(from.as_ref(), Some(to.as_ref()))
    }

    /// The entries whose keys begin like this.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn prefix(&mut self, prefix: impl AsRef<[u8]>) -> Result<Entries, Failure> {
        let prefix = prefix.as_ref();
        self.collect(prefix, successor(prefix).as_deref())
    }

    /// All entries.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn all(&mut self) -> Result<Entries, Failure> {
        self.collect(&[], None)
    }

    /// Visits the entries from one key, included, to another, excluded (none: to the end), until the
    /// visitor has seen enough.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn scan(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.host.scan(self.number, from, to, &mut visit)
    }

    fn collect(&mut self, from: &[u8], to: Option<&[u8]>) -> Result<Entries, Failure> {
        let mut found = Vec::new();
        self.scan(from, to, |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

/// The first key behind all that begin like this; none when there is no such key.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_comes_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xFF\xFF"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xFF"), None);
        assert_eq!(successor(b""), None);
    }
}
