//! Which fields of a record are read, and into which slots.
//!
//! The set is known before the first record: it is every path that any node behind the source
//! names. A tree over the names lets one pass over the bytes pick them all and skip the rest.

use crate::value::{FieldPath, Slot, Value};

/// The wanted fields of a record, as a tree over their names.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    pub(crate) root: Branch,
    slots: Vec<Slot>,
}

/// What is wanted below one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    /// The value itself is wanted here.
    pub(crate) slot: Option<Slot>,
    /// Fields of it are wanted.
    pub(crate) children: Vec<(Box<str>, Branch)>,
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

    /// The path that goes into this slot.
    pub fn path_of(&self, slot: Slot) -> Option<FieldPath> {
        let names = self.root.way_to(slot)?;
        Some(FieldPath::new(&names.join(".")))
    }

    /// The projection of the path that goes into this slot alone, into the first one.
    ///
    /// # Panics
    /// When none goes there.
    pub fn only(&self, slot: Slot) -> Projection {
        let root = self.root.only(slot);
        Projection {
            root: root.expect("a path goes into the slot"),
            slots: vec![Slot(0)],
        }
    }

    /// Fills the slots among `fields` from those of an event that was read whole; of repeated names the
    /// last counts. Those whose path is not there become [`Value::Missing`].
    pub fn pick<'a>(&self, event: &[(&'a str, Value<'a>)], fields: &mut [Value<'a>]) {
        self.root.pick_below(Some(event), fields);
    }
}

impl Branch {
    /// Takes the wanted fields below a value that was read whole.
    pub(crate) fn pick<'a>(&self, value: Value<'a>, fields: &mut [Value<'a>]) {
        match value {
            Value::Map(entries) => self.pick_below(Some(entries), fields),
            _ => self.pick_below(None, fields),
        }
    }

    fn pick_below<'a>(&self, entries: Option<&[(&'a str, Value<'a>)]>, fields: &mut [Value<'a>]) {
        for (name, child) in &self.children {
            let mut found = entries.unwrap_or_default().iter().rev();
            let found = found.find(|(known, _)| **known == **name);
            let below = found.map_or(Value::Missing, |(_, value)| *value);
            if let Some(slot) = child.slot {
                fields[slot.index()] = below;
            }
            child.pick(below, fields);
        }
    }

    /// Forgets what is in the slots below.
    pub(crate) fn clear(&self, fields: &mut [Value<'_>]) {
        self.pick_below(None, fields);
    }

    /// The names on the way to this slot.
    fn way_to(&self, slot: Slot) -> Option<Vec<&str>> {
        if self.slot == Some(slot) {
            return Some(Vec::new());
        }
        self.children.iter().find_map(|(name, child)| {
            let mut names = child.way_to(slot)?;
            names.insert(0, name);
            Some(names)
        })
    }

    /// The way to this slot, which is the first one there.
    fn only(&self, slot: Slot) -> Option<Branch> {
        if self.slot == Some(slot) {
            return Some(Branch {
                slot: Some(Slot(0)),
                children: Vec::new(),
            });
        }
        let below = |(name, child): &(Box<str>, Branch)| Some((name.clone(), child.only(slot)?));
        let children = vec![self.children.iter().find_map(below)?];
        Some(Branch {
            slot: None,
            children,
        })
    }

    /// The branch below `name`. Objects have few wanted names, so a scan beats a hash.
    pub(crate) fn child(&self, name: &str) -> Option<&Branch> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_is_picked_by_itself() {
        let paths = ["a", "a.b", "a.c.d", "e"].map(FieldPath::new);
        let all = Projection::new(paths.iter().zip(0..).map(|(path, slot)| (path, Slot(slot))));
        let inner = Value::Map(&[("d", Value::Int(7))]);
        let entries = [("b", Value::Int(5)), ("c", inner)];
        let event = [("a", Value::Map(&entries)), ("e", Value::Bool(true))];
        let only = |slot| {
            let mut fields = [Value::Missing];
            let projection = all.only(Slot(slot));
            projection.pick(&event, &mut fields);
            assert_eq!(projection.slots(), [Slot(0)]);
            assert_eq!(
                all.path_of(Slot(slot)),
                Some(paths[Slot(slot).index()].clone())
            );
            fields[0]
        };
        assert_eq!(only(0), event[0].1);
        assert_eq!(only(1), Value::Int(5));
        assert_eq!(only(2), Value::Int(7));
        assert_eq!(only(3), Value::Bool(true));
    }
}
