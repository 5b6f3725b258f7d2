//! The functions that expressions can call: one table. The bodies stand in the modules beside
//! this one, by subject; `docs/EXPRESSIONS.md` has an example of each, and a test that holds it to
//! that.

use bumpalo::Bump;

use super::calendar::Part;
use super::error::EvalError;
use super::kinds::Kinds;
use super::suggest::nearest;
use super::{convert, json, list, number, text};
use crate::value::{Value, ValueType};

/// A function, as the parser, the checker and the compiler need it.
pub(super) struct Function {
    pub name: &'static str,
    pub form: Form,
    /// What each argument may be; of a method, the first is what it is called on.
    pub parameters: &'static [Kinds],
    /// How many arguments must be there, of a method with what it is called on.
    pub at_least: usize,
    /// Whether the last parameter may stand any number of times.
    pub repeats: bool,
    pub gives: Gives,
    pub body: Body,
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `name(a, b)`.
    Global,
    /// `a.name(b)`.
    Method,
    /// Both.
    Either,
}

/// The type of a function's result.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    /// Always this one.
    Always(ValueType),
    /// That of the arguments, when all have the same and it is no list.
    LikeArguments,
}

/// What a function does.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// The result borrows nothing.
    Plain(for<'v> fn(&[Value<'v>]) -> Result<Value<'static>, EvalError>),
    /// The result borrows from the arguments or the arena.
    Borrowing(for<'a> fn(&[Value<'a>], &'a Bump) -> Result<Value<'a>, EvalError>),
    /// A pattern, compiled beforehand.
    Matches,
    /// A part of a time, in a zone that is known beforehand, or of a duration.
    Calendar(Part),
    /// The argument, with nothing known about its type.
    Dyn,
    /// The first argument that is there.
    Coalesce,
    /// Something about the record.
    Record(RecordPart),
    /// A header of the record.
    RecordHeader,
}

/// What a record knows beside its fields.
#[derive(Clone, Copy)]
pub(super) enum RecordPart {
    Key,
    Timestamp,
    Partition,
    Offset,
    Topic,
    Raw,
}

/// The function that asks for a header of the record.
pub(super) const RECORD_HEADER: &str = "record_header";

/// Other names of functions, so that what is written for other CEL libraries works.
const ALIASES: &[(&str, &str)] = &[
    ("least", "min"),
    ("greatest", "max"),
    ("math.least", "min"),
    ("math.greatest", "max"),
    ("math.abs", "abs"),
    ("math.ceil", "ceil"),
    ("math.floor", "floor"),
    ("math.round", "round"),
];

/// Functions of CEL that are left out on purpose, and those that other languages have, and what to write
/// instead.
const REFUSED: &[(&str, &str)] = &[
    ("type", "`type_of(x)` gives the type's name as a text"),
    ("uint", "whole numbers are signed: `int(x)`"),
    (
        "cast",
        "`int(x)`, `double(x)`, `string(x)` turn a value into another type",
    ),
    (
        "avg",
        "it folds records: it is for the `set` of an `aggregate`",
    ),
    (
        "count",
        "it folds records: it is for the `set` of an `aggregate`",
    ),
    (
        "count_if",
        "it folds records: it is for the `set` of an `aggregate`",
    ),
    (
        "distinct",
        "it folds records: it is for the `set` of an `aggregate`",
    ),
    (
        "sum",
        "it folds records: it is for the `set` of an `aggregate`",
    ),
    ("concat", "texts are put together with `a + b`"),
    ("float", "that is `double(x)`"),
    ("if", "that is `condition ? this : that`"),
    ("ifnull", "that is `coalesce(x, otherwise)`"),
    ("length", "that is `size(x)`"),
    ("len", "that is `size(x)`"),
    (
        "now",
        "a replay has to give the same again: `record_timestamp()` is the time of the record",
    ),
    ("nvl", "that is `coalesce(x, otherwise)`"),
    ("str", "that is `string(x)`"),
    ("substr", "that is `x.substring(from, to)`"),
    ("toLowerCase", "that is `x.lower()`"),
    ("toUpperCase", "that is `x.upper()`"),
];

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, name)| name);
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// What to write instead of a function that is left out on purpose, however its name is written.
pub(super) fn instead_of(name: &str) -> Option<&'static str> {
    let refused = REFUSED
        .iter()
        .find(|(refused, _)| refused.eq_ignore_ascii_case(name))?;
    Some(refused.1)
}

/// The same for a name that is almost that of such a function.
pub(super) fn instead_of_similar(name: &str) -> Option<&'static str> {
    instead_of(nearest(name, REFUSED.iter().map(|(refused, _)| *refused))?)
}

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let macros = ["has", "exists", "exists_one", "all", "filter", "map"];
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    FUNCTIONS
        .iter()
        .map(|function| function.name)
        .chain(aliases)
        .chain(macros)
}

/// True for a second name of a function.
#[cfg(test)]
pub(super) fn is_alias(name: &str) -> bool {
    ALIASES.iter().any(|(alias, _)| *alias == name)
}

const fn function(
    form: Form,
    name: &'static str,
    parameters: &'static [Kinds],
    gives: ValueType,
    body: Body,
) -> Function {
    Function {
        name,
        form,
        parameters,
        at_least: parameters.len(),
        repeats: false,
        gives: Gives::Always(gives),
        body,
    }
}

impl Function {
    const fn with_optional(mut self, count: usize) -> Function {
        self.at_least = self.parameters.len() - count;
        self
    }

    const fn repeating(mut self) -> Function {
        self.repeats = true;
        self
    }

    const fn like_arguments(mut self) -> Function {
        self.gives = Gives::LikeArguments;
        self
    }

    /// What the argument at that index may be.
    pub(super) fn parameter(&self, index: usize) -> Kinds {
        self.parameters
            .get(index)
            .or(self.parameters.last())
            .copied()
            .unwrap_or(Kinds::ANYTHING)
    }

    /// Whether it may be called with so many arguments.
    pub(super) fn takes(&self, count: usize) -> bool {
        count >= self.at_least && (self.repeats || count <= self.parameters.len())
    }

    /// `2`, `1 or 2`, `1 or more`: as the user counts them.
    pub(super) fn expected_count(&self, as_method: bool) -> String {
        let least = self.at_least - usize::from(as_method);
        let most = self.parameters.len() - usize::from(as_method);
        match (self.repeats, least == most) {
            (true, _) => format!("{least} or more arguments"),
            (false, true) if least == 1 => "1 argument".to_owned(),
            (false, true) => format!("{least} arguments"),
            (false, false) => format!("{least} or {most} arguments"),
        }
    }
}

const FUNCTIONS: &[Function] = {
    use Body::{Borrowing, Calendar, Plain, Record};
    use Form::{Either, Global, Method};
    use Kinds as K;
    use ValueType::{Any, Bool, Bytes, Duration, Float, Int, List, Str, Time};
    const SIZED: Kinds = K::TEXT.or(K::BYTES).or(K::LIST).or(K::MAP);
    const CLOCK: Kinds = K::TIME.or(K::DURATION);
    const TO_INT: Kinds = K::NUMBER.or(K::TEXT).or(K::TIME);
    const TO_TEXT: Kinds = K::NUMBER.or(K::TEXT).or(K::BOOL).or(K::BYTES).or(CLOCK);
    const TO_TIME: Kinds = K::TEXT.or(K::INT).or(K::TIME);
    const TO_DURATION: Kinds = K::TEXT.or(K::DURATION);
    const ORDERED: Kinds = K::NUMBER
        .or(K::TEXT)
        .or(K::BOOL)
        .or(K::BYTES)
        .or(CLOCK)
        .or(K::LIST);
    &[
        // Texts and lists.
        function(Either, "size", &[SIZED], Int, Plain(list::size)),
        function(
            Method,
            "contains",
            &[K::TEXT, K::TEXT],
            Bool,
            Plain(text::contains),
        ),
        function(
            Method,
            "startsWith",
            &[K::TEXT, K::TEXT],
            Bool,
            Plain(text::starts_with),
        ),
        function(
            Method,
            "endsWith",
            &[K::TEXT, K::TEXT],
            Bool,
            Plain(text::ends_with),
        ),
        function(Either, "matches", &[K::TEXT, K::TEXT], Bool, Body::Matches),
        function(
            Method,
            "indexOf",
            &[K::TEXT, K::TEXT, K::INT],
            Int,
            Plain(text::index_of),
        )
        .with_optional(1),
        function(
            Method,
            "substring",
            &[K::TEXT, K::INT, K::INT],
            Str,
            Borrowing(text::substring),
        )
        .with_optional(1),
        function(
            Method,
            "replace",
            &[K::TEXT, K::TEXT, K::TEXT, K::INT],
            Str,
            Borrowing(text::replace),
        )
        .with_optional(1),
        function(
            Method,
            "split",
            &[K::TEXT, K::TEXT, K::INT],
            List,
            Borrowing(text::split),
        )
        .with_optional(1),
        function(Global, "range", &[K::INT], List, Borrowing(list::range)),
        function(
            Method,
            "join",
            &[K::LIST, K::TEXT],
            Str,
            Borrowing(list::join),
        )
        .with_optional(1),
        function(Method, "trim", &[K::TEXT], Str, Borrowing(text::trim)),
        function(Method, "lower", &[K::TEXT], Str, Borrowing(text::lower)),
        function(Method, "upper", &[K::TEXT], Str, Borrowing(text::upper)),
        function(
            Method,
            "lowerAscii",
            &[K::TEXT],
            Str,
            Borrowing(text::lower_ascii),
        ),
        function(
            Method,
            "upperAscii",
            &[K::TEXT],
            Str,
            Borrowing(text::upper_ascii),
        ),
        // Conversions.
        function(Global, "int", &[TO_INT], Int, Plain(convert::int)),
        function(
            Global,
            "double",
            &[K::NUMBER.or(K::TEXT)],
            Float,
            Plain(convert::double),
        ),
        function(
            Global,
            "string",
            &[TO_TEXT],
            Str,
            Borrowing(convert::string),
        ),
        function(
            Global,
            "bool",
            &[K::BOOL.or(K::TEXT)],
            Bool,
            Plain(convert::boolean),
        ),
        function(
            Global,
            "bytes",
            &[K::BYTES.or(K::TEXT)],
            Bytes,
            Borrowing(convert::bytes),
        ),
        function(
            Global,
            "base64.encode",
            &[K::BYTES.or(K::TEXT)],
            Str,
            Borrowing(convert::base64_encode),
        ),
        function(
            Global,
            "timestamp",
            &[TO_TIME],
            Time,
            Plain(convert::timestamp),
        ),
        function(
            Global,
            "duration",
            &[TO_DURATION],
            Duration,
            Plain(convert::duration),
        ),
        function(Global, "dyn", &[K::ANYTHING], Any, Body::Dyn),
        function(
            Global,
            "type_of",
            &[K::ANYTHING],
            Str,
            Plain(convert::type_of),
        ),
        function(Global, "json", &[K::ANYTHING], Str, Borrowing(json::json)),
        // Numbers and order.
        function(Global, "abs", &[K::NUMBER], Any, Plain(number::abs)).like_arguments(),
        function(Global, "ceil", &[K::NUMBER], Any, Plain(number::ceil)).like_arguments(),
        function(Global, "floor", &[K::NUMBER], Any, Plain(number::floor)).like_arguments(),
        function(Global, "round", &[K::NUMBER], Any, Plain(number::round)).like_arguments(),
        function(Global, "min", &[ORDERED], Any, Borrowing(number::min))
            .repeating()
            .like_arguments(),
        function(Global, "max", &[ORDERED], Any, Borrowing(number::max))
            .repeating()
            .like_arguments(),
        // Times and durations.
        function(
            Method,
            "getFullYear",
            &[K::TIME, K::TEXT],
            Int,
            Calendar(Part::FullYear),
        )
        .with_optional(1),
        function(
            Method,
            "getMonth",
            &[K::TIME, K::TEXT],
            Int,
            Calendar(Part::Month),
        )
        .with_optional(1),
        function(
            Method,
            "getDate",
            &[K::TIME, K::TEXT],
            Int,
            Calendar(Part::Date),
        )
        .with_optional(1),
        function(
            Method,
            "getDayOfMonth",
            &[K::TIME, K::TEXT],
            Int,
            Calendar(Part::DayOfMonth),
        )
        .with_optional(1),
        function(
            Method,
            "getDayOfWeek",
            &[K::TIME, K::TEXT],
            Int,
            Calendar(Part::DayOfWeek),
        )
        .with_optional(1),
        function(
            Method,
            "getDayOfYear",
            &[K::TIME, K::TEXT],
            Int,
            Calendar(Part::DayOfYear),
        )
        .with_optional(1),
        function(
            Method,
            "getHours",
            &[CLOCK, K::TEXT],
            Int,
            Calendar(Part::Hours),
        )
        .with_optional(1),
        function(
            Method,
            "getMinutes",
            &[CLOCK, K::TEXT],
            Int,
            Calendar(Part::Minutes),
        )
        .with_optional(1),
        function(
            Method,
            "getSeconds",
            &[CLOCK, K::TEXT],
            Int,
            Calendar(Part::Seconds),
        )
        .with_optional(1),
        function(
            Method,
            "getMilliseconds",
            &[CLOCK, K::TEXT],
            Int,
            Calendar(Part::Milliseconds),
        )
        .with_optional(1),
        // Tidemill's own.
        function(Global, "coalesce", &[K::ANYTHING], Any, Body::Coalesce)
            .repeating()
            .like_arguments(),
        function(
            Global,
            "hash",
            &[K::TEXT.or(K::BYTES)],
            Int,
            Plain(text::hash),
        ),
        function(Global, "is_ip", &[K::TEXT], Bool, Plain(text::is_ip)),
        function(
            Global,
            "is_temp_account",
            &[K::TEXT],
            Bool,
            Plain(text::is_temp_account),
        ),
        function(Global, "record_key", &[], Str, Record(RecordPart::Key)),
        function(
            Global,
            "record_timestamp",
            &[],
            Time,
            Record(RecordPart::Timestamp),
        ),
        function(
            Global,
            "record_partition",
            &[],
            Int,
            Record(RecordPart::Partition),
        ),
        function(
            Global,
            "record_offset",
            &[],
            Int,
            Record(RecordPart::Offset),
        ),
        function(Global, "record_topic", &[], Str, Record(RecordPart::Topic)),
        function(Global, RECORD_HEADER, &[K::TEXT], Any, Body::RecordHeader),
        function(Global, "raw", &[], Str, Record(RecordPart::Raw)),
    ]
};

/// A call with arguments that the function does not take; the checker lets through only what it
/// could not know.
pub(super) fn mismatch<'a>(
    name: &'static str,
    arguments: &[Value<'_>],
) -> Result<Value<'a>, EvalError> {
    Err(EvalError::types(name, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let mut all: Vec<&str> = names().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(REFUSED.iter().all(|(name, _)| find(name).is_none()));
    }

    #[test]
    fn counts_are_told_as_the_user_counts_them() {
        let expected = |name| {
            let function = find(name).unwrap();
            function.expected_count(function.form == Form::Method)
        };
        assert_eq!(expected("size"), "1 argument");
        assert_eq!(expected("contains"), "1 argument");
        assert_eq!(expected("replace"), "2 or 3 arguments");
        assert_eq!(expected("trim"), "0 arguments");
        assert_eq!(expected("coalesce"), "1 or more arguments");
    }
}
