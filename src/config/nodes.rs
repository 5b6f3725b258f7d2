//! The kinds of nodes: which keys they have, and how they are built from them.
//!
//! To add a kind: a function here and its row in [`KINDS`].

use super::formats::{self, Use};
use super::keys::Keys;
use super::problem::MISSING_KEY;
use crate::topology::builder::{Builder, Rollup};
use crate::topology::duration::Millis;
use crate::topology::graph::{
    Branch, Deduplicate, Emit, Filter, FlatMap, GlobalTable, Join, JoinKind, KafkaSink, Log, Map,
    NodeKind, NodeName, NullValues, OnDuplicate, OnError, OnLate, SelectKey, SinkHeaders, Source,
    SqlSink, Suppress, Table, TableUse, WhenFull,
};
use crate::value::ValueType;
use crate::window::Period;

/// Reads the keys of a node of one kind and adds it to the builder.
pub(super) type Read = fn(&mut Keys<'_, '_>, &str, Builder) -> Builder;

/// The kinds by the word for them.
const KINDS: &[(&str, Read)] = &[
    ("source", source),
    ("filter", filter),
    ("filter_not", filter_not),
    ("map", map),
    ("flat_map", flat_map),
    ("select_key", select_key),
    ("branch", branch),
    ("merge", merge),
    ("log", log),
    ("to_stream", to_stream),
    ("table", table),
    ("global_table", global_table),
    ("join", join),
    ("aggregate", aggregate),
    ("suppress", suppress),
    ("deduplicate", deduplicate),
    ("sql", sql),
    ("kafka", kafka),
];

const ON_ERROR: &[(&str, OnError)] = &[
    ("dead_letter", OnError::DeadLetter),
    ("drop", OnError::Drop),
    ("stop", OnError::Stop),
];
const ON_LATE: &[(&str, OnLate)] = &[("drop", OnLate::Drop), ("dead_letter", OnLate::DeadLetter)];
const NULL_VALUES: &[(&str, NullValues)] =
    &[("refuse", NullValues::Refuse), ("pass", NullValues::Pass)];
const EMIT: &[(&str, Emit)] = &[("updates", Emit::Updates), ("close", Emit::Close)];
const PERIODS: &[(&str, Period)] = &[
    ("week", Period::Week),
    ("month", Period::Month),
    ("year", Period::Year),
];
const WINDOWS: [&str; 4] = ["tumbling", "hopping", "sliding", "session"];
const JOINS: &[(&str, JoinKind)] = &[
    ("inner", JoinKind::Inner),
    ("left", JoinKind::Left),
    ("outer", JoinKind::Outer),
];
const STORED: &[(&str, bool)] = &[("true", true), ("false", false)];
const SHARED: &[(&str, TableUse)] = &[("false", TableUse::Own), ("true", TableUse::Shared)];
const HEADERS: &[(&str, SinkHeaders)] = &[("pass", SinkHeaders::Pass), ("drop", SinkHeaders::Drop)];
const UNTIL: &[(&str, ())] = &[("close", ())];
const WHEN_FULL: &[(&str, WhenFull)] = &[("emit", WhenFull::Emit), ("stop", WhenFull::Stop)];
const ON_DUPLICATE: &[(&str, OnDuplicate)] = &[
    ("drop", OnDuplicate::Drop),
    ("dead_letter", OnDuplicate::DeadLetter),
];

/// Stands in for a length that cannot be read, which is reported.
const ANY_LENGTH: Millis = Millis(1);

/// The words for the kinds of nodes.
pub(super) fn words() -> impl Iterator<Item = &'static str> + Clone {
    KINDS.iter().map(|(word, _)| *word)
}

/// How the kind of that name is read.
pub(super) fn reader(word: &str) -> Option<Read> {
    KINDS
        .iter()
        .find(|(known, _)| *known == word)
        .map(|(_, read)| *read)
}

fn source(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let mut source = read_topics(keys);
    if let Some(format) = formats::read(keys, Use::Source) {
        source.format = format;
    }
    if let Some(null_values) = keys.choice("null_values", NULL_VALUES) {
        source = source.null_values(null_values);
    }
    if let Some(path) = keys.text("timestamp") {
        source = source.timestamp(path);
    }
    if let Some(path) = keys.text("key") {
        source = source.key(path);
    }
    if let Some(path) = keys.text("id") {
        source = source.id(path);
    }
    if keys.is_word("max_ahead", "none") {
        source = source.no_max_ahead();
    } else if let Some(lead) = keys.duration("max_ahead") {
        source = source.max_ahead(lead);
    }
    source = read_fields(keys, source);
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        source = source.on_error(reaction);
    }
    builder.source(name, source)
}

fn read_topics(keys: &mut Keys<'_, '_>) -> Source {
    keys.one_of(&["topic", "topics"]);
    let mut topics = keys.texts("topic");
    topics.extend(keys.texts("topics"));
    if keys.is_misspelt("topic") {
        keys.give_up("topics");
    }
    Source::json_topics(topics)
}

fn read_fields(keys: &mut Keys<'_, '_>, mut source: Source) -> Source {
    let types = ValueType::ALL.map(|kind| (kind.name(), kind));
    // T130 says what to declare instead.
    let is_of_json = |kind| {
        !matches!(
            kind,
            ValueType::Bytes | ValueType::Time | ValueType::Duration
        )
    };
    let (of_json, others): (Vec<_>, Vec<_>) =
        types.into_iter().partition(|(_, kind)| is_of_json(*kind));
    for (path, kind) in keys.choices("fields", "type", &of_json, &others) {
        source = source.field(path, kind);
    }
    source
}

fn filter(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let filter = read_filter(keys);
    builder.node(name, NodeKind::Filter(filter))
}

fn filter_not(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let filter = read_filter(keys).negated();
    builder.node(name, NodeKind::Filter(filter))
}

fn read_filter(keys: &mut Keys<'_, '_>) -> Filter {
    let filter = Filter::new(keys.required("from"), keys.required("where"));
    match keys.choice("on_error", ON_ERROR) {
        Some(reaction) => filter.on_error(reaction),
        None => filter,
    }
}

fn map(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let mut map = Map::new(keys.required("from"));
    for (field, expression) in keys.pairs("set") {
        map = map.set(field, expression);
    }
    if let Some(condition) = keys.text("tombstone_if") {
        map = map.tombstone_if(condition);
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        map = map.on_error(reaction);
    }
    builder.node(name, NodeKind::Map(map))
}

fn flat_map(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let mut flat_map = FlatMap::new(keys.required("each"), keys.required("as"));
    if let Some(field) = keys.text("position") {
        flat_map = flat_map.position(field);
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        flat_map = flat_map.on_error(reaction);
    }
    builder.flat_map(name, from, flat_map)
}

fn select_key(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let mut select = SelectKey::new(keys.required("key"));
    select.from = NodeName::new(keys.required("from"));
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        select = select.on_error(reaction);
    }
    builder.node(name, NodeKind::SelectKey(select))
}

fn branch(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let arms = keys.pairs("branches").into_iter();
    let mut branch = arms.fold(Branch::new(), |branch, (arm, condition)| {
        branch.arm(arm, condition)
    });
    if let Some(arm) = keys.text("default") {
        branch = branch.default_arm(arm);
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        branch = branch.on_error(reaction);
    }
    builder.branch(name, from, branch)
}

fn merge(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    builder.merge(name, keys.texts("from"))
}

fn log(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let mut log = Log::new();
    if let Some(text) = keys.text("text") {
        log = log.text(text);
    }
    if let Some(every) = keys.count("every") {
        log = log.every(every);
    }
    builder.log(name, from, log)
}

fn table(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let mut table = Table::new();
    if let Some(stored) = keys.choice("stored", STORED) {
        table.stored = stored;
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        table = table.on_error(reaction);
    }
    builder.table(name, from, table)
}

fn to_stream(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    builder.to_stream(name, from)
}

fn global_table(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let mut source = read_topics(keys);
    if let Some(format) = formats::read(keys, Use::Source) {
        source.format = format;
    }
    let mut table = GlobalTable::new(read_fields(keys, source));
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        table = table.on_error(reaction);
    }
    builder.global_table(name, table)
}

fn join(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let mut join = Join::with(keys.required("with"), keys.required("as"));
    if let Some(kind) = keys.choice("type", JOINS) {
        join = join.kind(kind);
    }
    if let Some(on) = keys.text("on") {
        join = join.on(on);
    }
    join = read_join_window(keys, join);
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        join = join.on_error(reaction);
    }
    builder.join(name, from, join)
}

fn read_join_window(keys: &mut Keys<'_, '_>, mut join: Join) -> Join {
    keys.exclude("within", "before");
    keys.exclude("within", "after");
    if let Some(length) = given_length(keys, "within") {
        join = join.within(length);
    }
    let (before, after) = (given_length(keys, "before"), given_length(keys, "after"));
    if before.is_some() || after.is_some() {
        join = join.before_and_after(before.unwrap_or_default(), after.unwrap_or_default());
    }
    if keys.entry("grace").is_some() && join.within.is_none() {
        let missing = MISSING_KEY.at(None, "the key `within` is missing");
        keys.report_missing(missing.help("add `within: …`, or `before` and `after`"));
    }
    if let Some(grace) = keys.duration("grace") {
        join = join.grace(grace);
    }
    join
}

fn aggregate(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let mut rollup = Rollup::by(keys.texts("by"));
    if keys.is_word("window", "none") {
        rollup = rollup.unbounded();
    } else if let Some(mut window) = keys.mapping("window") {
        rollup = read_window(&mut window, rollup);
        window.finish();
    }
    if let Some(emit) = keys.choice("emit", EMIT) {
        rollup = rollup.emit(emit);
    }
    if let Some(reaction) = keys.choice("on_late", ON_LATE) {
        rollup = rollup.on_late(reaction);
    }
    for (field, call) in keys.pairs("set") {
        rollup = rollup.set(field, call);
    }
    if let Some(condition) = keys.text("delete_if") {
        rollup = rollup.delete_if(condition);
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        rollup = rollup.on_error(reaction);
    }
    if keys.is_misspelt("window") {
        rollup = rollup.tumbling(ANY_LENGTH);
    }
    builder.aggregate(name, from, rollup)
}

/// What a kind of node is called here that others call by this word.
pub(super) fn called_elsewhere(word: &str) -> Option<&'static str> {
    let ours = match word.to_lowercase().replace(['_', '-'], "").as_str() {
        "stream" | "input" | "from" => "`source`",
        "sink" | "output" | "to" => "`kafka` for a topic, `sql` for a table",
        "peek" | "print" | "foreach" => "`log`",
        "mapvalues" | "select" | "transform" => "`map`",
        "flatmapvalues" | "explode" | "unnest" => "`flat_map`",
        "where" => "`filter`",
        "filternot" => "`filter_not`",
        "split" => "`branch`",
        "union" => "`merge`",
        "groupby" | "groupbykey" | "window" | "count" | "reduce" => {
            "`aggregate`, with `by` and `window`"
        }
        "distinct" | "dedupe" | "dedup" => "`deduplicate`",
        "changes" | "updates" | "changelog" => "`to_stream`",
        "cogroup" => "`merge`, and an `aggregate` behind it",
        "windowedby" => "`window` of an `aggregate`",
        "through" => "`kafka`, and a `source` of that topic",
        "rekey" | "partitionby" | "repartition" => "`select_key`",
        "ktable" => "`table`",
        "globalktable" => "`global_table`",
        "lookup" | "leftjoin" | "outerjoin" | "innerjoin" => "`join`, with `type`",
        _ => return None,
    };
    Some(ours)
}

/// A length of time, if there is one; any if it cannot be read, which has been reported.
fn given_length(keys: &mut Keys<'_, '_>, key: &'static str) -> Option<Millis> {
    let length = keys.duration(key);
    length.or_else(|| keys.entry(key).map(|_| ANY_LENGTH))
}

fn read_window(keys: &mut Keys<'_, '_>, mut rollup: Rollup) -> Rollup {
    keys.one_of(&WINDOWS);
    let mut periods = PERIODS.iter();
    if let Some((_, period)) = periods.find(|(word, _)| keys.is_word("tumbling", word)) {
        rollup = rollup.calendar(*period);
    } else if let Some(size) = given_length(keys, "tumbling") {
        rollup = rollup.tumbling(size);
    }
    if let Some(zone) = keys.text("time_zone") {
        rollup = rollup.time_zone(zone);
    }
    if keys.entry("hopping").is_some() {
        let size = keys.duration("hopping");
        keys.required("advance");
        let advance = keys.duration("advance");
        // What is missing has been reported.
        let size = size.or(advance).unwrap_or(ANY_LENGTH);
        rollup = rollup.hopping(size, advance.unwrap_or(size));
    }
    // Whatever else is wrong there, it is a key of windows.
    if !WINDOWS.iter().any(|word| keys.has(word)) {
        keys.duration("advance");
    }
    if let Some(difference) = given_length(keys, "sliding") {
        rollup = rollup.sliding(difference);
    }
    if let Some(gap) = given_length(keys, "session") {
        rollup = rollup.session(gap);
    }
    if let Some(grace) = keys.duration("grace") {
        rollup = rollup.grace(grace);
    }
    if let Some(silence) = keys.duration("idle_close") {
        rollup = rollup.idle_close(silence);
    }
    if let Some(retention) = keys.duration("retention") {
        rollup = rollup.retention(retention);
    }
    if WINDOWS.iter().any(|word| keys.is_misspelt(word)) {
        rollup = rollup.tumbling(ANY_LENGTH);
    }
    rollup
}

fn suppress(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    keys.exactly_one("until", "for");
    keys.choice("until", UNTIL);
    let mut suppress = match keys.entry("for") {
        None => Suppress::until_close(),
        Some(_) => Suppress::time_limit(keys.duration("for").unwrap_or(ANY_LENGTH)),
    };
    if let Some(rows) = keys.count("max_rows") {
        suppress = suppress.max_rows(rows);
    }
    if let Some(bytes) = keys.count("max_bytes") {
        suppress = suppress.max_bytes(bytes);
    }
    if let Some(reaction) = keys.choice("when_full", WHEN_FULL) {
        suppress = suppress.when_full(reaction);
    }
    builder.suppress(name, from, suppress)
}

fn deduplicate(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    keys.required("within");
    let within = keys.duration("within").unwrap_or(ANY_LENGTH);
    let mut deduplicate = Deduplicate::within(within).by(keys.texts("by"));
    if let Some(grace) = keys.duration("grace") {
        deduplicate = deduplicate.grace(grace);
    }
    if let Some(reaction) = keys.choice("on_duplicate", ON_DUPLICATE) {
        deduplicate = deduplicate.on_duplicate(reaction);
    }
    if let Some(reaction) = keys.choice("on_late", ON_LATE) {
        deduplicate = deduplicate.on_late(reaction);
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        deduplicate = deduplicate.on_error(reaction);
    }
    builder.deduplicate(name, from, deduplicate)
}

fn sql(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let mut sink = SqlSink::table(keys.required("table"));
    for (column, expression) in keys.pairs("columns") {
        sink = sink.column(column, expression);
    }
    sink = sink.key(keys.texts("key"));
    if let Some(table_use) = keys.choice("shared", SHARED) {
        sink = sink.table_use(table_use);
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        sink = sink.on_error(reaction);
    }
    builder.sql(name, from, sink)
}

fn kafka(keys: &mut Keys<'_, '_>, name: &str, builder: Builder) -> Builder {
    let from = keys.required("from");
    let mut sink = KafkaSink::topic(keys.required("topic"));
    if let Some(key) = keys.text("key") {
        sink = sink.key(key);
    }
    for (field, expression) in keys.pairs("fields") {
        sink = sink.field(field, expression);
    }
    sink.format = formats::read(keys, Use::Sink);
    if let Some(headers) = keys.choice("headers", HEADERS) {
        sink.headers = headers;
    }
    if let Some(reaction) = keys.choice("on_error", ON_ERROR) {
        sink = sink.on_error(reaction);
    }
    builder.kafka(name, from, sink)
}
