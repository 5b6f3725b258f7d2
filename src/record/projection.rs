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
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Child {
    name: Name,
    branch: Branch,
}

/// The name of a field, which is compared with those of every event: by its length and first bytes, and only if
/// these agree by the rest.
#[derive(Clone, Debug)]
struct Name {
    first: u64,
    text: Box<str>,
}

impl Name {
    fn new(text: &str) -> Name {
        Name {
            first: first_bytes(text),
            text: text.into(),
        }
    }

    /// Whether it is `text`, which begins so.
    fn is(&self, text: &str, first: u64) -> bool {
        self.first == first
            && self.text.len() == text.len()
            && (text.len() <= size_of::<u64>() || *self.text == *text)
    }
}

/// The first bytes of a name; what it lacks of them is zero.
fn first_bytes(name: &str) -> u64 {
    let bytes = name.as_bytes();
    match bytes.first_chunk() {
        Some(first) => u64::from_le_bytes(*first),
        None => bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
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
        for Child { name, branch } in &self.children {
            let mut found = entries.unwrap_or_default().iter().rev();
            let found = found.find(|(known, _)| **known == *name.text);
            let below = found.map_or(Value::Missing, |(_, value)| *value);
            if let Some(slot) = branch.slot {
                fields[slot.index()] = below;
            }
            branch.pick(below, fields);
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
        self.children.iter().find_map(|Child { name, branch }| {
            let mut names = branch.way_to(slot)?;
            names.insert(0, &*name.text);
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
        let below = |child: &Child| {
            let name = child.name.clone();
            let branch = child.branch.only(slot)?;
            Some(Child { name, branch })
        };
        let children = vec![self.children.iter().find_map(below)?];
        Some(Branch {
            slot: None,
            children,
        })
    }

    /// The branch below `name`. Objects have few wanted names, so a scan beats a hash.
    pub(crate) fn child(&self, name: &str) -> Option<&Branch> {
        let first = first_bytes(name);
        let mut children = self.children.iter();
        let found = children.find(|child| child.name.is(name, first))?;
        Some(&found.branch)
    }

    fn child_mut(&mut self, name: &str) -> &mut Branch {
        let known = |child: &Child| *child.name.text == *name;
        let at = match self.children.iter().position(known) {
            Some(at) => at,
            None => {
                self.children.push(Child {
                    name: Name::new(name),
                    branch: Branch::default(),
                });
                self.children.len() - 1
            }
        };
        &mut self.children[at].branch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_any_of_their_bytes() {
        let names = [
            "",
            "a",
            "a\0",
            "wiki",
            "user",
            "parsedcomment",
            "parsedcommons",
            "parsedco",
        ];
        let paths = names[1..].iter().filter(|name| !name.contains('\0'));
        let paths: Vec<FieldPath> = paths.map(|name| FieldPath::new(name)).collect();
        let slots = paths.iter().zip(0..).map(|(path, slot)| (path, Slot(slot)));
        let projection = Projection::new(slots);
        for name in names {
            let found = projection.root.child(name).and_then(|branch| branch.slot);
            let expected = paths.iter().position(|path| path.as_str() == name);
            assert_eq!(found.map(Slot::index), expected, "{name:?}");
        }
    }

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
