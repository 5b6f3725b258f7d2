//! From tree to code: names become slots, what is constant is computed, and what cannot work is
//! reported: unknown fields, types that do not fit, patterns that are none.

use std::ops::Range;

use bumpalo::Bump;
use jiff::tz::TimeZone;
use regex::Regex;

use super::assemble::{
    and, binary, borrowing, choice, coalesce, contained, forgetting, index, list_of, map_of,
    negate, not, or, plain, record, record_header,
};
use super::ast::{Each, Macro, Node, NodeKind, Operator};
use super::calendar::{self, Part};
use super::code::{Code, Select, Sight, compute, test};
use super::constant::Constant;
use super::error::{EvalError, ExprError};
use super::function::{Body, Function, Gives};
use super::kinds::{self, Kinds};
use super::suggest::nearest;
use super::{Row, Scope, list};
use crate::headers::PackedHeaders;
use crate::time::Timestamp;
use crate::value::{FieldPath, Value, ValueType};

/// The code of a tree, with what is known about the type of its value.
pub(super) fn compile(tree: &Node, scope: &dyn Scope) -> Result<(Code, ValueType), Vec<ExprError>> {
    let mut compiler = Compiler {
        scope,
        errors: Vec::new(),
    };
    let typed = compiler.node(tree);
    match compiler.errors.is_empty() {
        true => Ok((typed.code, typed.kind)),
        false => Err(compiler.errors),
    }
}

struct Typed {
    code: Code,
    kind: ValueType,
}

impl Typed {
    fn is_constant(&self) -> bool {
        matches!(self.code, Code::Constant(_))
    }
}

struct Compiler<'s> {
    scope: &'s dyn Scope,
    errors: Vec<ExprError>,
}

impl Compiler<'_> {
    fn node(&mut self, node: &Node) -> Typed {
        let range = &node.range;
        match &node.kind {
            NodeKind::Refused(parts) => {
                parts.iter().for_each(|part| drop(self.node(part)));
                unknown()
            }
            NodeKind::Constant(constant) => Typed {
                kind: constant.value_type(),
                code: Code::Constant(constant.clone()),
            },
            NodeKind::Field(path) => self.field(path, range),
            NodeKind::Local(index) => Typed {
                code: Code::Local(*index),
                kind: ValueType::Any,
            },
            NodeKind::Select(operand, name) => self.select(operand, name),
            NodeKind::Has(operand) => self.has(operand),
            NodeKind::Index(two) => self.index(two, range),
            NodeKind::Not(operand) => self.not(operand, range),
            NodeKind::Negate(operand) => self.negate(operand, range),
            NodeKind::And(two) => self.logic(two, range, and),
            NodeKind::Or(two) => self.logic(two, range, or),
            NodeKind::If(three) => self.choice(three, range),
            NodeKind::Binary(Operator::In, two) => self.membership(two, range),
            NodeKind::Binary(operator, two) => self.binary(*operator, two, range),
            NodeKind::List(items) => self.list(items, range),
            NodeKind::Map(entries) => self.map(entries, range),
            NodeKind::Call(function, arguments) => self.call(function, arguments, range),
            NodeKind::Each(each) => self.each(each),
        }
    }

    fn fail(&mut self, error: ExprError) -> Typed {
        self.errors.push(error);
        unknown()
    }

    /// Code of that type; computed now when it is made of constants only.
    fn folded(
        &mut self,
        constant: bool,
        code: Code,
        kind: ValueType,
        range: &Range<usize>,
    ) -> Typed {
        if !constant {
            return Typed { code, kind };
        }
        match value_without_record(&code) {
            Ok(constant) => Typed {
                kind: constant.value_type(),
                code: Code::Constant(constant),
            },
            Err(error) => {
                let message = format!("this always fails: {error}");
                self.fail(ExprError::new(range.clone(), message))
            }
        }
    }

    /// A field, or a part of the nearest enclosing field that the scope knows.
    fn field(&mut self, path: &FieldPath, range: &Range<usize>) -> Typed {
        if let Some((slot, kind)) = self.scope.resolve(path) {
            return Typed {
                code: Code::Field(slot, path.clone()),
                kind,
            };
        }
        let mut outer = path.as_str();
        while let Some((prefix, _)) = outer.rsplit_once('.') {
            outer = prefix;
            let prefix = FieldPath::new(prefix);
            let Some((slot, kind)) = self.scope.resolve(&prefix) else {
                continue;
            };
            if !Kinds::MAP.admit(kind) {
                let message = format!("`{prefix}` is a {kind}, it has no fields");
                return self.fail(ExprError::new(range.clone(), message));
            }
            let names = &path.as_str()[outer.len() + 1..];
            let code = names
                .split('.')
                .fold(Code::Field(slot, prefix), |operand, name| {
                    Code::Select(Box::new(Select {
                        operand,
                        name: name.into(),
                        path: path.clone(),
                    }))
                });
            return Typed {
                code,
                kind: ValueType::Any,
            };
        }
        self.unknown_field(path, range)
    }

    fn unknown_field(&mut self, path: &FieldPath, range: &Range<usize>) -> Typed {
        let error = ExprError::new(range.clone(), format!("unknown field `{path}`"));
        let known = self.scope.known();
        let names = || known.iter().map(FieldPath::as_str);
        let error = match nearest(path.as_str(), names()) {
            Some(near) => error.with_help(format!("did you mean `{near}`?")),
            None if (1..=12).contains(&known.len()) => error.with_help(format!(
                "known are {}",
                names().collect::<Vec<_>>().join(", ")
            )),
            None => error,
        };
        self.fail(error)
    }

    fn select(&mut self, operand: &Node, name: &str) -> Typed {
        let range = operand.range.clone();
        let operand = self.node(operand);
        if !Kinds::MAP.admit(operand.kind) {
            let message = format!("a {} has no fields", operand.kind);
            return self.fail(ExprError::new(range, message));
        }
        let path = FieldPath::new(name);
        let select = Select {
            operand: operand.code,
            name: name.into(),
            path,
        };
        Typed {
            code: Code::Select(Box::new(select)),
            kind: ValueType::Any,
        }
    }

    fn has(&mut self, operand: &Node) -> Typed {
        let operand = self.node(operand).code;
        Typed {
            code: test(move |sight| operand.is_present(sight)),
            kind: ValueType::Bool,
        }
    }

    fn index(&mut self, [container, position]: &[Node; 2], range: &Range<usize>) -> Typed {
        let (container, position) = (self.node(container), self.node(position));
        let wanted = match container.kind {
            ValueType::List => Kinds::NUMBER,
            ValueType::Map => Kinds::TEXT,
            ValueType::Any => Kinds::NUMBER.or(Kinds::TEXT),
            other => {
                let message = format!("`[]` takes a list or a map, found {other}");
                return self.fail(ExprError::new(range.clone(), message));
            }
        };
        if !wanted.admit(position.kind) {
            let message = format!(
                "the place in a {} is {wanted}, found {}",
                container.kind, position.kind
            );
            return self.fail(ExprError::new(range.clone(), message));
        }
        let constant = container.is_constant() && position.is_constant();
        let code = index(container.code, position.code);
        self.folded(constant, code, ValueType::Any, range)
    }

    /// The node as something that is true or false.
    fn condition(&mut self, node: &Node) -> Typed {
        let typed = self.node(node);
        if !Kinds::BOOL.admit(typed.kind) {
            let message = format!("expected a bool, found {}", typed.kind);
            return self.fail(ExprError::new(node.range.clone(), message));
        }
        typed
    }

    fn not(&mut self, operand: &Node, range: &Range<usize>) -> Typed {
        let operand = self.condition(operand);
        let constant = operand.is_constant();
        let code = not(operand.code);
        self.folded(constant, code, ValueType::Bool, range)
    }

    fn negate(&mut self, operand: &Node, range: &Range<usize>) -> Typed {
        let Typed { code, kind } = self.node(operand);
        if !Kinds::NUMBER.admit(kind) {
            return self.fail(ExprError::new(
                range.clone(),
                format!("`-` does not take {kind}"),
            ));
        }
        let constant = matches!(code, Code::Constant(_));
        let code = negate(code);
        self.folded(constant, code, kind, range)
    }

    fn logic(
        &mut self,
        [left, right]: &[Node; 2],
        range: &Range<usize>,
        make: fn(Code, Code) -> Code,
    ) -> Typed {
        let (left, right) = (self.condition(left), self.condition(right));
        let constant = left.is_constant() && right.is_constant();
        let code = make(left.code, right.code);
        self.folded(constant, code, ValueType::Bool, range)
    }

    fn choice(&mut self, three: &[Node; 3], range: &Range<usize>) -> Typed {
        let [condition, then, otherwise] = three;
        let condition = self.condition(condition);
        let (then, otherwise) = (self.node(then), self.node(otherwise));
        let kind = kinds::common(then.kind, otherwise.kind);
        let constant = condition.is_constant() && then.is_constant() && otherwise.is_constant();
        let code = choice(condition.code, then.code, otherwise.code);
        self.folded(constant, code, kind, range)
    }

    fn membership(&mut self, [item, container]: &[Node; 2], range: &Range<usize>) -> Typed {
        let (item, container) = (self.node(item), self.node(container));
        if !Kinds::LIST.or(Kinds::MAP).admit(container.kind) {
            let error = ExprError::new(
                range.clone(),
                format!("`in` takes a list or a map, found {}", container.kind),
            );
            return self.fail(match container.kind {
                ValueType::Str => error.with_help("`text.contains(part)` looks into a text"),
                _ => error,
            });
        }
        let never = match &container.code {
            Code::Constant(Constant::List(items)) if !items.is_empty() => !items
                .iter()
                .any(|other| kinds::can_be_equal(item.kind, other.value_type())),
            _ => container.kind == ValueType::Map && !Kinds::TEXT.admit(item.kind),
        };
        if never {
            let message = format!("this is never true: it holds no {}", item.kind);
            return self.fail(ExprError::new(range.clone(), message));
        }
        let constant = item.is_constant() && container.is_constant();
        let code = contained(item.code, container.code);
        self.folded(constant, code, ValueType::Bool, range)
    }

    fn binary(&mut self, operator: Operator, two: &[Node; 2], range: &Range<usize>) -> Typed {
        let [left, right] = two;
        let (left, right) = (self.node(left), self.node(right));
        let kind = match result_type(operator, left.kind, right.kind) {
            Ok(kind) => kind,
            Err(message) => {
                let error = ExprError::new(range.clone(), message);
                return self.fail(match conversion_for(left.kind, right.kind) {
                    Some(help) => error.with_help(help),
                    None => error,
                });
            }
        };
        let constant = left.is_constant() && right.is_constant();
        let code = binary(operator, left.code, right.code);
        self.folded(constant, code, kind, range)
    }

    fn list(&mut self, items: &[Node], range: &Range<usize>) -> Typed {
        let items: Vec<Typed> = items.iter().map(|item| self.node(item)).collect();
        let constant = items.iter().all(Typed::is_constant);
        let code = list_of(items.into_iter().map(|item| item.code).collect());
        self.folded(constant, code, ValueType::List, range)
    }

    fn map(&mut self, entries: &[(Node, Node)], range: &Range<usize>) -> Typed {
        let errors = self.errors.len();
        let mut constant = true;
        let mut code = Vec::with_capacity(entries.len());
        for (name_node, value) in entries {
            let (name, value) = (self.node(name_node), self.node(value));
            if !Kinds::TEXT.admit(name.kind) {
                let message = format!("the names in a map are texts, found {}", name.kind);
                self.errors
                    .push(ExprError::new(name_node.range.clone(), message));
            }
            constant &= name.is_constant() && value.is_constant();
            code.push((name.code, value.code));
        }
        let code = map_of(code);
        self.folded(
            constant && self.errors.len() == errors,
            code,
            ValueType::Map,
            range,
        )
    }

    fn each(&mut self, each: &Each) -> Typed {
        let over = self.node(&each.over);
        if !Kinds::LIST.or(Kinds::MAP).admit(over.kind) {
            let message = format!("expected a list or a map, found {}", over.kind);
            self.errors
                .push(ExprError::new(each.over.range.clone(), message));
        }
        let test = each.test.as_ref().map(|test| self.condition(test).code);
        let value = each.value.as_ref().map(|value| self.node(value).code);
        let kind = match each.macro_ {
            Macro::All | Macro::Exists | Macro::ExistsOne => ValueType::Bool,
            Macro::Filter | Macro::Map => ValueType::List,
        };
        Typed {
            code: list::each(each.macro_, over.code, test, value),
            kind,
        }
    }

    fn call(&mut self, function: &'static Function, nodes: &[Node], range: &Range<usize>) -> Typed {
        let arguments: Vec<Typed> = nodes.iter().map(|node| self.node(node)).collect();
        let errors = self.errors.len();
        for (index, (argument, node)) in arguments.iter().zip(nodes).enumerate() {
            let wanted = function.parameter(index);
            if !wanted.admit(argument.kind) {
                let message = format!(
                    "`{}` takes {wanted}, found {}",
                    function.name, argument.kind
                );
                self.errors
                    .push(ExprError::new(node.range.clone(), message));
            }
        }
        if self.errors.len() > errors {
            return unknown();
        }
        let kind = type_given(function, &arguments);
        let is_about_record = matches!(function.body, Body::Record(_) | Body::RecordHeader);
        let constant = !is_about_record && arguments.iter().all(Typed::is_constant);
        let arguments: Vec<Code> = arguments
            .into_iter()
            .map(|argument| argument.code)
            .collect();
        let code = match function.body {
            Body::Plain(body) => plain(body, arguments),
            Body::Borrowing(body) => borrowing(body, arguments),
            Body::Coalesce => coalesce(arguments),
            Body::Dyn => {
                return Typed {
                    code: forgetting(arguments),
                    kind,
                };
            }
            Body::Record(part) => record(part),
            Body::RecordHeader => record_header(arguments),
            Body::Matches => self.matches(arguments, nodes),
            Body::Calendar(part) => self.calendar(part, arguments, nodes),
        };
        self.folded(constant, code, kind, range)
    }

    /// `text.matches(pattern)`. The pattern is constant, so that it is compiled once, and so that
    /// no record can bring one that is expensive.
    fn matches(&mut self, arguments: Vec<Code>, nodes: &[Node]) -> Code {
        let Ok([subject, Code::Constant(Constant::Str(pattern))]) =
            <[Code; 2]>::try_from(arguments)
        else {
            let range = nodes[1].range.clone();
            return self
                .fail(ExprError::new(
                    range,
                    "the pattern of `matches` is a constant text",
                ))
                .code;
        };
        match Regex::new(&pattern) {
            Ok(regex) => test(move |sight| match subject.peek(sight)? {
                Value::Str(text) => Ok(regex.is_match(text)),
                other => Err(EvalError::types("matches", &[other, Value::Str("")])),
            }),
            Err(error) => {
                let text = error.to_string();
                let reason = text
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                let message = format!("this is no regular expression: {reason}");
                self.fail(ExprError::new(nodes[1].range.clone(), message))
                    .code
            }
        }
    }

    fn calendar(&mut self, part: Part, arguments: Vec<Code>, nodes: &[Node]) -> Code {
        let mut arguments = arguments.into_iter();
        let (Some(subject), zone) = (arguments.next(), arguments.next()) else {
            unreachable!("the parser counts arguments")
        };
        let zone = match zone {
            None => Ok(TimeZone::UTC),
            Some(Code::Constant(Constant::Str(name))) => {
                calendar::zone(&name).ok_or_else(|| format!("unknown time zone `{name}`"))
            }
            Some(_) => Err("the time zone is a constant text".to_owned()),
        };
        match zone {
            Ok(zone) => compute(move |sight| {
                calendar::part(part, subject.peek(sight)?, &zone).map(Value::Int)
            }),
            Err(message) => {
                let error = ExprError::new(nodes[1].range.clone(), message);
                self.fail(error.with_help("such as 'Europe/Berlin', '+05:30' or 'UTC'"))
                    .code
            }
        }
    }
}

fn value_without_record(code: &Code) -> Result<Constant, EvalError> {
    let arena = Bump::new();
    let row = Row {
        fields: &[],
        arena: &arena,
        key: None,
        timestamp: Timestamp::MIN,
        partition: 0,
        offset: 0,
        topic: "",
        raw: None,
        headers: PackedHeaders::NONE,
    };
    code.run(&Sight {
        row: &row,
        locals: None,
    })
    .map(Constant::of)
}

/// Code in the place of something that was refused. It is no constant, so nothing is made of it.
fn unknown() -> Typed {
    Typed {
        code: compute(|_| Ok(Value::Null)),
        kind: ValueType::Any,
    }
}

fn type_given(function: &Function, arguments: &[Typed]) -> ValueType {
    match function.gives {
        Gives::Always(kind) => kind,
        Gives::LikeArguments => {
            let kind = arguments
                .iter()
                .map(|argument| argument.kind)
                .reduce(kinds::common);
            match (kind, function.body) {
                // The least of a list is one of its items.
                (Some(ValueType::List), Body::Borrowing(_)) | (None, _) => ValueType::Any,
                (Some(kind), _) => kind,
            }
        }
    }
}

fn result_type(operator: Operator, left: ValueType, right: ValueType) -> Result<ValueType, String> {
    let symbol = operator.symbol();
    let refused = || format!("`{symbol}` does not take {left} and {right}");
    match operator {
        Operator::Equal | Operator::NotEqual if kinds::can_be_equal(left, right) => {
            Ok(ValueType::Bool)
        }
        Operator::Equal => Err(format!("`==` between {left} and {right} is never true")),
        Operator::NotEqual => Err(format!("`!=` between {left} and {right} is always true")),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            kinds::can_be_ordered(left, right)
                .then_some(ValueType::Bool)
                .ok_or_else(refused)
        }
        _ => kinds::arithmetic(operator, left, right).ok_or_else(refused),
    }
}

fn conversion_for(left: ValueType, right: ValueType) -> Option<&'static str> {
    let either = |kind| left == kind || right == kind;
    if !either(ValueType::Str) {
        return None;
    }
    if either(ValueType::Time) {
        return Some("`timestamp(text)` reads a time");
    }
    if either(ValueType::Duration) {
        return Some("`duration(text)` reads a duration, `timestamp(text)` a time");
    }
    (either(ValueType::Int) || either(ValueType::Float))
        .then_some("`int(text)` reads a number, `string(number)` writes one")
}
