//! What to do about a finding, where its rule has nothing better to say about the case at hand.

/// The usual fix of a mistake with that code.
pub(super) fn usual(code: &str) -> Option<&'static str> {
    Some(match code {
        "T003" => "give one of them another name",
        "T005" => "name the node that the sink reads from",
        "T006" => "let one of them read from somewhere else",
        "T007" => "add a node `name: { source: { topic: … } }`",
        "T008" => "add a `sql` or `kafka` node, or nothing leaves the topology",
        "T010" => "add `topic: …`, the topic to read",
        "T011" => "use letters, digits, `.`, `_` and `-`; at most 249",
        "T012" => "read it once; several nodes can read from one source",
        "T013" => "use a name that does not begin with that of the application",
        "T022" => "name it once",
        "T023" => "name a field that can be there, or take this one from the object that holds it",
        "T025" => "declare the one or the other",
        "T026" => "declare it as `timestamp`, `string` or `int`, or name another field",
        "T027" => "write a length of time, `0s` or more, or `none`",
        "T030" => "docs/EXPRESSIONS.md lists the operators and functions, with an example of each",
        "T031" => {
            "docs/EXPRESSIONS.md says what each operator and function takes; `int(x)`, `double(x)`, `string(x)` and `timestamp(x)` convert"
        }
        "T040" => "add `by: [field, …]`, the fields of the key",
        "T041" => "add `set: { name: count() }`, one entry for each result",
        "T043" => "write a length of time above 0, such as `1m`",
        "T044" => "write a length of time, `0s` or more",
        "T045" => "write a longer one, or leave it out: by default it is as long as is needed",
        "T046" => "write a length of time above 0, such as `30s`",
        "T048" => "docs/TOPOLOGY.md lists the aggregate functions and what they take",
        "T049" => "name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`",
        "T050" => "give the result another name",
        "T052" => "write an `advance` above 0 that is no longer than the window",
        "T060" => {
            "use letters, digits and `_`, at most 64, beginning with none of the reserved names"
        }
        "T061" => "add `columns: { name: expression }`, one entry for each column",
        "T062" => "add `key: [column, …]`, the columns that tell rows apart",
        "T063" => "give each node a table of its own",
        "T064" => "name one of the columns",
        "T065" => "use letters, digits and `_`, at most 64, not beginning with a digit",
        "T066" => "name another column, or convert it: `string(x)`, `json(x)`",
        "T067" => "add the missing field to `key`",
        "T068" => "write fewer columns; `raw()` keeps the whole record in one",
        "T070" => "convert it: `string(x)`, or `json([a, b])` for several fields",
        _ => return None,
    })
}
