//! Which fields of a record are read, and into which slots.
//!
//! The set is known before the first record: it is every path that any node behind the source
//! names. A tree over the names lets one pass over the bytes pick them all and skip the rest.

use crate::value::{FieldPath, Slot};

/// The wanted fields of a record, as a tree over their names.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    pub(super) root: Branch,
    slots: Vec<Slot>,
}

/// What is wanted below one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    /// The value itself is wanted here.
    pub(super) slot: Option<Slot>,
    /// Fields of it are wanted.
    pub(super) children: Vec<(Box<str>, Branch)>,
}

impl Projection {
    /// The projection of these paths into these slots.
    pub fn new<'p>(fields: impl IntoIterator<Item = (&'p FieldPath, Slot)>) -> Projection {
        let mut projection = Projection::default();
        for (path, slot) in fields {
            projection.slots.push(slot);
            let mut branch = &mut projection.root;
            for name in path.segments() {
                branch = branch.child_mut(name);
            }
            branch.slot = Some(slot);
        }
        projection
    }

    /// The slots that it fills.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

impl Branch {
    /// The branch below `name`. Objects have few wanted names, so a scan beats a hash.
    pub(super) fn child(&self, name: &str) -> Option<&Branch> {
        self.children
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, branch)| branch)
    }

    fn child_mut(&mut self, name: &str) -> &mut Branch {
        let at = match self.children.iter().position(|(known, _)| **known == *name) {
            Some(at) => at,
            None => {
                self.children.push((name.into(), Branch::default()));
                self.children.len() - 1
            }
        };
        &mut self.children[at].1
    }
}
