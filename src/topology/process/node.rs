//! How a node that runs a processor is written.

use std::fmt;
use std::sync::Arc;

use super::Processor;
use crate::expr::Expression;
use crate::topology::graph::{NodeName, OnError};
use crate::value::{FieldPath, ValueType};

/// Runs a user's [`Processor`].
#[derive(Clone, Debug)]
pub struct Process {
    /// The input.
    pub from: NodeName,
    /// Makes one for each task.
    pub supplier: Supplier,
    /// What the processor sees of a record, by name.
    pub reads: Vec<(String, Expression)>,
    /// The fields that it gives.
    pub gives: Vec<(FieldPath, ValueType)>,
    /// Whether what it gives for a record has the record's own fields as well.
    pub keeps_fields: bool,
    /// Its stores.
    pub stores: Vec<StoreUse>,
    /// What happens to a record that it cannot handle.
    pub on_error: OnError,
}

/// A store of a processor: bytes by bytes, ordered by key. It is named in the whole topology, so that
/// its state is found again whatever becomes of the nodes that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUse {
    /// Its name: that of a node in form, and the name of no node.
    pub name: NodeName,
    /// Whether other processors use it as well.
    pub is_shared: bool,
}

/// Makes processors.
#[derive(Clone)]
pub struct Supplier(Arc<dyn Fn() -> Box<dyn Processor> + Send + Sync>);

impl Supplier {
    /// A new processor.
    pub fn supply(&self) -> Box<dyn Processor> {
        (self.0)()
    }
}

impl fmt::Debug for Supplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Supplier")
    }
}

impl Process {
    /// Runs the processors that `supply` makes, one for each task.
    pub fn new<P: Processor + 'static>(supply: impl Fn() -> P + Send + Sync + 'static) -> Process {
        Process {
            from: NodeName::new(""),
            supplier: Supplier(Arc::new(move || Box::new(supply()))),
            reads: Vec::new(),
            gives: Vec::new(),
            keeps_fields: false,
            stores: Vec::new(),
            on_error: OnError::default(),
        }
    }

    /// It reads these fields of a record.
    #[must_use]
    pub fn reads<'a>(self, paths: impl IntoIterator<Item = &'a str>) -> Process {
        let paths = paths.into_iter();
        paths.fold(self, |process, path| process.read(path, path))
    }

    /// It reads what an expression gives, under a name.
    #[must_use]
    pub fn read(mut self, name: &str, expression: &str) -> Process {
        let expression = Expression::parse(expression);
        self.reads.push((name.to_owned(), expression));
        self
    }

    /// What it sends on has this field.
    #[must_use]
    pub fn gives(mut self, field: &str, kind: ValueType) -> Process {
        self.gives.push((FieldPath::new(field), kind));
        self
    }

    /// What it sends on for a record has the record's own fields too. What it sends on at a
    /// punctuation has only those that it gives.
    #[must_use]
    pub fn keeps_fields(mut self) -> Process {
        self.keeps_fields = true;
        self
    }

    /// It has a store of its own.
    #[must_use]
    pub fn store(self, name: &str) -> Process {
        self.with_store(name, false)
    }

    /// It has a store together with other processors, each of which says so. They run in one task.
    #[must_use]
    pub fn shared_store(self, name: &str) -> Process {
        self.with_store(name, true)
    }

    fn with_store(mut self, name: &str, is_shared: bool) -> Process {
        let name = NodeName::new(name);
        self.stores.push(StoreUse { name, is_shared });
        self
    }

    /// What happens to a record that it cannot handle.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Process {
        self.on_error = reaction;
        self
    }
}
