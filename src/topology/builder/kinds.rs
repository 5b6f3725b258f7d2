//! How each kind of node is written in Rust: a constructor with what it cannot do without, and one
//! method per setting.

use crate::expr::Expression;
use crate::topology::duration::Millis;
use crate::topology::graph::{
    Branch, Filter, FlatMap, Format, Join, JoinKind, JoinWindow, KafkaSink, Log, Map, NodeName,
    NullValues, OnError, SelectKey, SinkHeaders, Source, SqlSink, Table, TableUse,
};
use crate::value::{FieldPath, ValueType};

impl Source {
    /// Reads JSON objects from one topic.
    pub fn json(topic: &str) -> Source {
        Source::json_topics([topic])
    }

    /// Reads JSON objects from several topics of the same shape.
    pub fn json_topics<'a>(topics: impl IntoIterator<Item = &'a str>) -> Source {
        Source {
            topics: topics.into_iter().map(str::to_owned).collect(),
            format: Format::default(),
            timestamp: None,
            key: None,
            id: None,
            fields: Vec::new(),
            null_values: NullValues::default(),
            max_ahead_ms: Some(Source::MAX_AHEAD_MS),
            on_error: OnError::default(),
        }
    }

    /// Reads values of this format from one topic.
    ///
    /// ```
    /// use tidemill::format::{Format, Schema};
    /// use tidemill::topology::builder::Source;
    ///
    /// let schema = Schema::avro(r#"{"type": "record", "name": "Order", "fields": [{"name": "shop", "type": "string"}]}"#);
    /// let orders = Source::of("orders", Format::avro(schema)).key("shop");
    /// let lines = Source::of("lines", Format::Text); // the field `value`
    /// ```
    pub fn of(topic: &str, format: Format) -> Source {
        Source {
            format,
            ..Source::json(topic)
        }
    }

    /// What becomes of records without a value; they cannot be read unless set.
    #[must_use]
    pub fn null_values(mut self, null_values: NullValues) -> Source {
        self.null_values = null_values;
        self
    }

    /// How far ahead of the wall clock an event time may be; an hour unless set. A record from
    /// further ahead would close windows that others still belong to, and is an error.
    #[must_use]
    pub fn max_ahead(mut self, lead: impl Into<Millis>) -> Source {
        self.max_ahead_ms = Some(lead.into().0);
        self
    }

    /// Event times may be however far ahead of the wall clock.
    #[must_use]
    pub fn no_max_ahead(mut self) -> Source {
        self.max_ahead_ms = None;
        self
    }

    /// The field that holds the event time.
    #[must_use]
    pub fn timestamp(mut self, path: &str) -> Source {
        self.timestamp = Some(FieldPath::new(path));
        self
    }

    /// The field by which the topic is keyed and partitioned.
    #[must_use]
    pub fn key(mut self, path: &str) -> Source {
        self.key = Some(FieldPath::new(path));
        self
    }

    /// The field that identifies an event.
    #[must_use]
    pub fn id(mut self, path: &str) -> Source {
        self.id = Some(FieldPath::new(path));
        self
    }

    /// Declares the type of a field.
    #[must_use]
    pub fn field(mut self, path: &str, kind: ValueType) -> Source {
        self.fields.push((FieldPath::new(path), kind));
        self
    }

    /// What happens to a record that cannot be read.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Source {
        self.on_error = reaction;
        self
    }
}

impl Filter {
    /// Lets pass the records of `from` for which `condition` is true.
    pub fn new(from: &str, condition: &str) -> Filter {
        Filter {
            from: NodeName::new(from),
            condition: Expression::parse(condition),
            passes_when: true,
            on_error: OnError::default(),
        }
    }

    /// Lets pass those for which it is false instead.
    #[must_use]
    pub fn negated(mut self) -> Filter {
        self.passes_when = !self.passes_when;
        self
    }

    /// What happens to a record for which the condition fails.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Filter {
        self.on_error = reaction;
        self
    }
}

impl Map {
    /// Passes on the records of `from` as they are, until [`Map::set`] says more.
    pub fn new(from: &str) -> Map {
        Map {
            from: NodeName::new(from),
            set: Vec::new(),
            tombstone_if: None,
            on_error: OnError::default(),
        }
    }

    /// Records for which this is true lose their value.
    #[must_use]
    pub fn tombstone_if(mut self, condition: &str) -> Map {
        self.tombstone_if = Some(Expression::parse(condition));
        self
    }

    /// Sets a field; later ones see this one.
    #[must_use]
    pub fn set(mut self, field: &str, expression: &str) -> Map {
        self.set
            .push((FieldPath::new(field), Expression::parse(expression)));
        self
    }

    /// What happens to a record for which an expression fails.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Map {
        self.on_error = reaction;
        self
    }
}

impl FlatMap {
    /// Makes a record of each element of the list that `each` gives, with the element as field
    /// `element`.
    pub fn new(each: &str, element: &str) -> FlatMap {
        FlatMap {
            from: NodeName::new(""),
            each: Expression::parse(each),
            element: FieldPath::new(element),
            position: None,
            on_error: OnError::default(),
        }
    }

    /// The field that holds the element's place in the list, counted from 0.
    #[must_use]
    pub fn position(mut self, field: &str) -> FlatMap {
        self.position = Some(FieldPath::new(field));
        self
    }

    /// What happens to a record for which the expression fails or gives no list.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> FlatMap {
        self.on_error = reaction;
        self
    }
}

impl SelectKey {
    /// Replaces the key by what the expression gives.
    pub fn new(key: &str) -> SelectKey {
        SelectKey {
            from: NodeName::new(""),
            key: Expression::parse(key),
            on_error: OnError::default(),
        }
    }

    /// What happens to a record for which the expression fails.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> SelectKey {
        self.on_error = reaction;
        self
    }
}

impl Table {
    /// Keeps the last record of each key.
    pub fn new() -> Table {
        Table {
            from: NodeName::new(""),
            stored: true,
            on_error: OnError::default(),
        }
    }

    /// Keeps nothing: only says that records replace one another.
    #[must_use]
    pub fn not_stored(mut self) -> Table {
        self.stored = false;
        self
    }

    /// What happens to a record without a key.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Table {
        self.on_error = reaction;
        self
    }
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

impl Join {
    /// Puts the rows of a table, or the records of another stream, together with those of the input
    /// that have the same key; the paths of their fields begin with `prefix` and a dot.
    pub fn with(right: &str, prefix: &str) -> Join {
        Join {
            inputs: [NodeName::new(""), NodeName::new(right)],
            within: None,
            on: None,
            kind: JoinKind::default(),
            prefix: FieldPath::new(prefix),
            on_error: OnError::default(),
        }
    }

    /// Takes the right row whose key this expression gives, such as a field of the left input; without
    /// it, that of the same key. With a table on either side it is a foreign key, and a right row may be
    /// joined to many left ones; in a global table it is what is looked up.
    #[must_use]
    pub fn on(mut self, key: &str) -> Join {
        self.on = Some(Expression::parse(key));
        self
    }

    /// Makes pairs of the records of two streams whose times are at most so far apart.
    #[must_use]
    pub fn within(self, length: impl Into<Millis>) -> Join {
        let length = length.into();
        self.before_and_after(length, length)
    }

    /// Makes pairs of the records of two streams: the right one is at most `before` earlier or at most
    /// `after` later than the left one.
    #[must_use]
    pub fn before_and_after(mut self, before: impl Into<Millis>, after: impl Into<Millis>) -> Join {
        let grace_ms = self.within.map_or(0, |within| within.grace_ms);
        self.within = Some(JoinWindow {
            before_ms: before.into().0,
            after_ms: after.into().0,
            grace_ms,
        });
        self
    }

    /// For how much longer, in stream time, a record waits for another one that is out of order; to
    /// be said after how near they have to be.
    #[must_use]
    pub fn grace(mut self, grace: impl Into<Millis>) -> Join {
        if let Some(within) = &mut self.within {
            within.grace_ms = grace.into().0;
        }
        self
    }

    /// Which keys have a result; those that both inputs have unless set.
    #[must_use]
    pub fn kind(mut self, kind: JoinKind) -> Join {
        self.kind = kind;
        self
    }

    /// What happens to a record without a key or a value.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Join {
        self.on_error = reaction;
        self
    }
}

impl Branch {
    /// Without arms, until [`Branch::arm`] says more.
    pub fn new() -> Branch {
        Branch::default()
    }

    /// Adds an arm for records for which the condition is true and no earlier one was.
    #[must_use]
    pub fn arm(mut self, name: &str, condition: &str) -> Branch {
        self.arms
            .push((name.to_owned(), Expression::parse(condition)));
        self
    }

    /// The arm of records for which no condition is true; without it they end there.
    #[must_use]
    pub fn default_arm(mut self, name: &str) -> Branch {
        self.default = Some(name.to_owned());
        self
    }

    /// What happens to a record for which a condition fails.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> Branch {
        self.on_error = reaction;
        self
    }
}

impl Default for Branch {
    fn default() -> Branch {
        Branch {
            from: NodeName::new(""),
            arms: Vec::new(),
            default: None,
            on_error: OnError::default(),
        }
    }
}

impl Log {
    /// Writes every record as it came.
    pub fn new() -> Log {
        Log::default()
    }

    /// Writes what the expression gives instead.
    #[must_use]
    pub fn text(mut self, expression: &str) -> Log {
        self.text = Some(Expression::parse(expression));
        self
    }

    /// Writes one of so many records.
    #[must_use]
    pub fn every(mut self, records: u64) -> Log {
        self.every = records;
        self
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            from: NodeName::new(""),
            text: None,
            every: 1,
        }
    }
}

impl SqlSink {
    /// Writes into the table of that name.
    pub fn table(name: &str) -> SqlSink {
        SqlSink {
            from: NodeName::new(""),
            table: name.to_owned(),
            columns: Vec::new(),
            key: Vec::new(),
            table_use: TableUse::default(),
            on_error: OnError::default(),
        }
    }

    /// Adds a column and the expression that fills it.
    #[must_use]
    pub fn column(mut self, name: &str, expression: &str) -> SqlSink {
        self.columns
            .push((name.to_owned(), Expression::parse(expression)));
        self
    }

    /// The columns of the primary key.
    #[must_use]
    pub fn key<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> SqlSink {
        self.key = columns.into_iter().map(str::to_owned).collect();
        self
    }

    /// Who else may write the table; nobody unless set.
    #[must_use]
    pub fn table_use(mut self, table_use: TableUse) -> SqlSink {
        self.table_use = table_use;
        self
    }

    /// What happens to a record for which an expression fails, or whose row is refused.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> SqlSink {
        self.on_error = reaction;
        self
    }
}

impl KafkaSink {
    /// Writes to the topic of that name.
    pub fn topic(name: &str) -> KafkaSink {
        KafkaSink {
            from: NodeName::new(""),
            topic: name.to_owned(),
            key: None,
            fields: Vec::new(),
            format: None,
            headers: SinkHeaders::default(),
            on_error: OnError::default(),
        }
    }

    /// How values are written; as JSON unless set.
    #[must_use]
    pub fn format(mut self, format: Format) -> KafkaSink {
        self.format = Some(format);
        self
    }

    /// Written records have no headers; unless this is said, they have those of the record that came.
    #[must_use]
    pub fn without_headers(mut self) -> KafkaSink {
        self.headers = SinkHeaders::Drop;
        self
    }

    /// The expression that gives the record's key, a text.
    #[must_use]
    pub fn key(mut self, expression: &str) -> KafkaSink {
        self.key = Some(Expression::parse(expression));
        self
    }

    /// Adds a field of what is written and the expression that fills it.
    #[must_use]
    pub fn field(mut self, name: &str, expression: &str) -> KafkaSink {
        self.fields
            .push((name.to_owned(), Expression::parse(expression)));
        self
    }

    /// What happens to a record for which an expression fails.
    #[must_use]
    pub fn on_error(mut self, reaction: OnError) -> KafkaSink {
        self.on_error = reaction;
        self
    }
}
