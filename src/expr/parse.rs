//! From text to tree: the `cel` crate parses, this file tells fields, variables, functions and
//! macros apart, and refuses what Tidemill does not support, with its place.
//!
//! With `syntax.rs` the only file that names the `cel` crate outside of tests. Its parser runs without macros, so
//! that `has(x)` and `list.exists(…)` arrive as the calls they are written as.

use std::ops::Range;

use cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SourceInfo, operators,
};

use super::ast::{Each, Macro, Node, NodeKind, Operator};
use super::constant::Constant;
use super::error::ExprError;
use super::function::{self, Form, Function};
use super::outline::Outline;
use super::suggest::nearest;
use super::syntax::syntax_error;
use crate::value::FieldPath;

/// The tree, unless the text is no CEL; and every mistake found.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<ExprError>) {
    let outline = match Outline::of(text) {
        Ok(outline) => outline,
        Err(error) => return (None, vec![error]),
    };
    let parser = cel::Env::default().parser();
    match parser.parse_with_source_info(&outline.with_plain_names()) {
        Ok((tree, places)) => {
            let mut reader = Reader {
                text,
                outline,
                places,
                variables: Vec::new(),
                errors: Vec::new(),
            };
            let root = reader.node(&tree);
            (Some(root), reader.errors)
        }
        Err(errors) => (None, vec![syntax_error(text, &outline, &errors.errors)]),
    }
}

struct Reader<'t> {
    text: &'t str,
    outline: Outline<'t>,
    places: SourceInfo,
    /// The variables of the macros around, innermost last.
    variables: Vec<&'t str>,
    errors: Vec<ExprError>,
}

impl<'t> Reader<'t> {
    fn node(&mut self, tree: &IdedExpr) -> Node {
        let token = self.token(tree.id);
        match &tree.expr {
            Expr::Literal(literal) => self.literal(literal, token),
            Expr::Ident(name) if name.starts_with('.') => {
                self.refuse(token, "names that begin with a dot", "leave out the dot")
            }
            Expr::Ident(_) => self.name(token),
            Expr::Select(select) => {
                let operand = self.node(&select.operand);
                self.select(operand, token)
            }
            Expr::List(list) => self.list(list, token),
            Expr::Map(map) => self.map(map, token),
            Expr::Call(call) => self.call(call, token),
            Expr::Struct(_) => {
                let name = self
                    .outline
                    .before(token.start)
                    .map_or(token.start, |(_, name)| name.start);
                let range = name..self.outline.end_of_bracket(token.start);
                self.refuse(range, "messages", "a map is written {'name': value}")
            }
            Expr::Comprehension(_) | Expr::Unspecified => self.refuse(
                token,
                "this expression",
                "write it with operators and functions",
            ),
        }
    }

    /// The range of the token that the parser remembers for a node.
    fn token(&self, id: u64) -> Range<usize> {
        match self.places.offset_for(id) {
            Some((start, _)) => self.outline.token_at(start as usize),
            None => 0..self.text.len(),
        }
    }

    fn fail(&mut self, error: ExprError, parts: Vec<Node>) -> Node {
        let range = error.range.clone();
        self.errors.push(error);
        Node {
            range,
            kind: NodeKind::Refused(parts),
        }
    }

    fn refuse(&mut self, range: Range<usize>, what: &str, help: &str) -> Node {
        let error = ExprError::new(range, format!("{what} are not supported")).with_help(help);
        self.fail(error, Vec::new())
    }

    fn refuse_dotted(&mut self, name: Range<usize>) -> Node {
        self.refuse(
            name,
            "names with a dot",
            "read the field around it, then index that",
        )
    }

    fn literal(&mut self, literal: &LiteralValue, token: Range<usize>) -> Node {
        let (constant, negative) = match literal {
            LiteralValue::Null => (Constant::Null, false),
            LiteralValue::Boolean(flag) => (Constant::Bool(*flag.inner()), false),
            LiteralValue::Int(number) => (Constant::Int(*number.inner()), *number.inner() < 0),
            LiteralValue::Double(number) => (
                Constant::Float(*number.inner()),
                number.inner().is_sign_negative(),
            ),
            LiteralValue::String(text) => (Constant::Str(text.inner().to_owned()), false),
            LiteralValue::Bytes(bytes) => (Constant::Bytes(bytes.inner().to_vec()), false),
            LiteralValue::UInt(_) => {
                let help = format!(
                    "write {}",
                    self.text[token.clone()].trim_end_matches(['u', 'U'])
                );
                return self.refuse(token, "unsigned numbers", &help);
            }
        };
        let sign = self.outline.before(token.start).filter(|_| negative);
        let start = sign.map_or(token.start, |(_, sign)| sign.start);
        Node {
            range: start..token.end,
            kind: NodeKind::Constant(constant),
        }
    }

    /// A variable or a field. The name is that of the text: the parser may have seen another in its
    /// place.
    fn name(&mut self, token: Range<usize>) -> Node {
        let name = &self.text[token.clone()];
        let kind = match self
            .variables
            .iter()
            .rev()
            .position(|variable| *variable == name)
        {
            Some(distance) => NodeKind::Local(distance),
            None => {
                let name = self.outline.name_in(token.clone());
                if name.contains('.') {
                    return self.refuse_dotted(token);
                }
                NodeKind::Field(FieldPath::new(name))
            }
        };
        Node { range: token, kind }
    }

    /// `operand.name`; `dot` is the dot.
    fn select(&mut self, operand: Node, dot: Range<usize>) -> Node {
        let after = self.outline.after(dot.end);
        let token = after.map_or(dot.end..dot.end, |(_, name)| name);
        let name = self.outline.name_in(token.clone());
        let range = self.start_of(&operand)..token.end;
        if name.contains('.') {
            return self.refuse_dotted(token);
        }
        let kind = match operand.kind {
            NodeKind::Field(path) => NodeKind::Field(FieldPath::new(&format!("{path}.{name}"))),
            NodeKind::Refused(parts) => NodeKind::Refused(parts),
            _ => NodeKind::Select(Box::new(operand), name.into()),
        };
        Node { range, kind }
    }

    fn start_of(&self, node: &Node) -> usize {
        self.outline.with_brackets(node.range.clone()).start
    }

    fn end_of(&self, node: &Node) -> usize {
        self.outline.with_brackets(node.range.clone()).end
    }

    fn list(&mut self, list: &ListExpr, open: Range<usize>) -> Node {
        let range = open.start..self.outline.end_of_bracket(open.start);
        if !list.optional_indices.is_empty() {
            return self.refuse_optional(range);
        }
        let items = self.nodes(&list.elements);
        Node {
            range,
            kind: NodeKind::List(items),
        }
    }

    fn map(&mut self, map: &MapExpr, open: Range<usize>) -> Node {
        let range = open.start..self.outline.end_of_bracket(open.start);
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            match &entry.expr {
                EntryExpr::MapEntry(entry) if !entry.optional => {
                    entries.push((self.node(&entry.key), self.node(&entry.value)));
                }
                _ => return self.refuse_optional(range),
            }
        }
        self.check_names(&entries);
        Node {
            range,
            kind: NodeKind::Map(entries),
        }
    }

    fn check_names(&mut self, entries: &[(Node, Node)]) {
        let mut seen: Vec<&str> = Vec::new();
        for (node, _) in entries {
            if let NodeKind::Constant(Constant::Str(name)) = &node.kind {
                if seen.contains(&name.as_str()) {
                    let message = format!("`{name}` stands in this map twice");
                    self.errors
                        .push(ExprError::new(node.range.clone(), message));
                }
                seen.push(name);
            }
        }
    }

    fn refuse_optional(&mut self, range: Range<usize>) -> Node {
        let help = "`has(x)` tells whether a field is there, `coalesce(x, y)` gives another value";
        self.refuse(range, "optional values (`?`)", help)
    }

    fn call(&mut self, call: &CallExpr, token: Range<usize>) -> Node {
        let name = call.func_name.as_str();
        match (name, &call.target, call.args.as_slice()) {
            (operators::CONDITIONAL, None, [condition, then, otherwise]) => {
                let parts = [condition, then, otherwise].map(|part| self.node(part));
                let range = self.start_of(&parts[0])..self.end_of(&parts[2]);
                Node {
                    range,
                    kind: NodeKind::If(Box::new(parts)),
                }
            }
            (operators::LOGICAL_NOT, None, [operand]) => self.unary(operand, token, NodeKind::Not),
            (operators::NEGATE, None, [operand]) => self.unary(operand, token, NodeKind::Negate),
            (operators::LOGICAL_AND, None, [a, b]) => self.two(a, b, NodeKind::And),
            (operators::LOGICAL_OR, None, [a, b]) => self.two(a, b, NodeKind::Or),
            (operators::INDEX, None, [container, position]) => {
                self.index(container, position, token)
            }
            (operators::OPT_SELECT | operators::OPT_INDEX, None, _) => {
                let end = self
                    .outline
                    .after(token.end)
                    .map_or(token.end, |(_, mark)| mark.end);
                self.refuse_optional(token.start..end)
            }
            (_, None, [a, b]) if let Some(operator) = operator(name) => {
                self.two(a, b, |two| NodeKind::Binary(operator, two))
            }
            _ => self.named_call(call, token.start),
        }
    }

    fn unary(
        &mut self,
        operand: &IdedExpr,
        token: Range<usize>,
        kind: impl Fn(Box<Node>) -> NodeKind,
    ) -> Node {
        let operand = self.node(operand);
        let range = token.start..self.end_of(&operand);
        Node {
            range,
            kind: kind(Box::new(operand)),
        }
    }

    fn two(
        &mut self,
        left: &IdedExpr,
        right: &IdedExpr,
        kind: impl Fn(Box<[Node; 2]>) -> NodeKind,
    ) -> Node {
        let two = [self.node(left), self.node(right)];
        let range = self.start_of(&two[0])..self.end_of(&two[1]);
        Node {
            range,
            kind: kind(Box::new(two)),
        }
    }

    /// `container[position]`. A constant name after a field is one more step of its path, so that
    /// no more than that is read from the record.
    fn index(&mut self, container: &IdedExpr, position: &IdedExpr, open: Range<usize>) -> Node {
        let two = [self.node(container), self.node(position)];
        let range = self.start_of(&two[0])..self.outline.end_of_bracket(open.start);
        let kind = match &two {
            [
                Node {
                    kind: NodeKind::Field(path),
                    ..
                },
                Node {
                    kind: NodeKind::Constant(Constant::Str(name)),
                    ..
                },
            ] if !name.is_empty() && !name.contains('.') => {
                NodeKind::Field(FieldPath::new(&format!("{path}.{name}")))
            }
            _ => NodeKind::Index(Box::new(two)),
        };
        Node { range, kind }
    }

    /// A macro or a function; `open` is its bracket.
    fn named_call(&mut self, call: &CallExpr, open: usize) -> Node {
        let name = self
            .outline
            .before(open)
            .map_or(open..open, |(_, range)| range);
        let end = self.outline.end_of_bracket(open);
        if let Some((function, start)) = self.namespaced(call) {
            let arguments = self.nodes(&call.args);
            return self.function(function, arguments, start..name.end, end, false);
        }
        match &call.target {
            Some(target) => match macro_of(&call.func_name) {
                Some(macro_) => self.each(macro_, target, &call.args, name, end),
                None => {
                    let arguments = self.nodes(std::iter::once(&**target).chain(&call.args));
                    self.find_function(arguments, name, end, true)
                }
            },
            None if call.func_name == operators::HAS => self.has(&call.args, name, end),
            None => {
                let arguments = self.nodes(&call.args);
                self.find_function(arguments, name, end, false)
            }
        }
    }

    /// The function of a name with a dot, `math.abs`, and where that name begins.
    fn namespaced(&self, call: &CallExpr) -> Option<(&'static Function, usize)> {
        let target = call.target.as_deref()?;
        let Expr::Ident(space) = &target.expr else {
            return None;
        };
        if self.variables.contains(&space.as_str()) {
            return None;
        }
        let function = function::find(&format!("{space}.{}", call.func_name))?;
        Some((function, self.token(target.id).start))
    }

    fn has(&mut self, arguments: &[IdedExpr], name: Range<usize>, end: usize) -> Node {
        let range = name.start..end;
        let [argument] = arguments else {
            let parts = self.nodes(arguments);
            return self.wrong_count(range, "has", "1 argument", parts, 0);
        };
        let argument = self.node(argument);
        match argument.kind {
            NodeKind::Field(_) | NodeKind::Select(..) | NodeKind::Local(_) => Node {
                range,
                kind: NodeKind::Has(Box::new(argument)),
            },
            NodeKind::Refused(_) => argument,
            _ => {
                let error = ExprError::new(argument.range.clone(), "`has` takes a field")
                    .with_help("`x != null` tells whether any other expression has a value");
                self.fail(error, vec![argument])
            }
        }
    }

    /// `uncounted` of the parts are no arguments to the user: what a method is called on.
    fn wrong_count(
        &mut self,
        range: Range<usize>,
        name: &str,
        wanted: &str,
        parts: Vec<Node>,
        uncounted: usize,
    ) -> Node {
        let found = parts.len() - uncounted;
        self.fail(
            ExprError::new(range, format!("`{name}` takes {wanted}, found {found}")),
            parts,
        )
    }

    fn nodes<'n>(&mut self, trees: impl IntoIterator<Item = &'n IdedExpr>) -> Vec<Node> {
        trees.into_iter().map(|tree| self.node(tree)).collect()
    }

    fn each(
        &mut self,
        macro_: Macro,
        over: &IdedExpr,
        arguments: &[IdedExpr],
        name: Range<usize>,
        end: usize,
    ) -> Node {
        let over = self.node(over);
        let range = self.start_of(&over)..end;
        let (variable, bodies) = match (macro_, arguments) {
            (_, [variable, body]) => (variable, [Some(body), None]),
            (Macro::Map, [variable, condition, body]) => (variable, [Some(condition), Some(body)]),
            _ => {
                let name = &self.text[name];
                let message = format!(
                    "`{name}` takes a variable and an expression, found {}",
                    arguments.len()
                );
                return self.fail(ExprError::new(range, message), vec![over]);
            }
        };
        let variable_name = self.token(variable.id);
        let Expr::Ident(_) = &variable.expr else {
            let error = ExprError::new(variable_name, "expected the name of a variable");
            let error = error.with_help("as in `tags.exists(tag, tag == 'x')`");
            return self.fail(error, vec![over]);
        };
        let text: &'t str = self.text;
        self.variables.push(&text[variable_name]);
        let bodies = bodies.map(|body| body.map(|body| self.node(body)));
        self.variables.pop();
        let (test, value) = match (macro_, bodies) {
            (Macro::Map, [Some(value), None]) => (None, Some(value)),
            (_, [test, value]) => (test, value),
        };
        Node {
            range,
            kind: NodeKind::Each(Box::new(Each {
                macro_,
                over,
                test,
                value,
            })),
        }
    }

    /// A call by name; of a method, the first argument is what it is called on.
    fn find_function(
        &mut self,
        arguments: Vec<Node>,
        name: Range<usize>,
        end: usize,
        as_method: bool,
    ) -> Node {
        let function_name = &self.text[name.clone()];
        match function::find(function_name) {
            Some(function) => self.function(function, arguments, name, end, as_method),
            None => {
                let error = unknown_function(function_name, name, as_method);
                self.fail(error, arguments)
            }
        }
    }

    fn function(
        &mut self,
        function: &'static Function,
        arguments: Vec<Node>,
        name: Range<usize>,
        end: usize,
        as_method: bool,
    ) -> Node {
        let start = match arguments.first() {
            Some(target) if as_method => self.start_of(target),
            _ => name.start,
        };
        if let Some(help) = self.wrong_form(function, &arguments, as_method) {
            let message = match as_method {
                true => format!("`{}` is not called on a value", function.name),
                false => format!("`{}` is called on its first argument", function.name),
            };
            return self.fail(ExprError::new(name, message).with_help(help), arguments);
        }
        if !function.takes(arguments.len()) {
            let wanted = function.expected_count(as_method);
            let target = usize::from(as_method);
            return self.wrong_count(start..end, function.name, &wanted, arguments, target);
        }
        Node {
            range: start..end,
            kind: NodeKind::Call(function, arguments),
        }
    }

    /// How the call is written rightly, when it is not.
    fn wrong_form(
        &self,
        function: &Function,
        arguments: &[Node],
        as_method: bool,
    ) -> Option<String> {
        let written: Vec<&str> = arguments
            .iter()
            .map(|argument| &self.text[argument.range.clone()])
            .collect();
        match (function.form, as_method) {
            (Form::Global, true) => {
                Some(format!("write `{}({})`", function.name, written.join(", ")))
            }
            (Form::Method, false) => Some(match written.split_first() {
                Some((first, rest)) => {
                    format!("write `{first}.{}({})`", function.name, rest.join(", "))
                }
                None => format!("write `x.{}(…)`", function.name),
            }),
            _ => None,
        }
    }
}

fn unknown_function(name: &str, range: Range<usize>, as_method: bool) -> ExprError {
    let error = ExprError::new(range, format!("unknown function `{name}`"));
    if macro_of(name).is_some() && !as_method {
        return error.with_help(format!("write `list.{name}(item, …)`"));
    }
    match (function::instead_of(name), nearest(name, function::names())) {
        (Some(instead), _) => error.with_help(instead),
        (None, Some(near)) => error.with_help(format!("did you mean `{near}`?")),
        (None, None) => match function::instead_of_similar(name) {
            Some(instead) => error.with_help(instead),
            None => error,
        },
    }
}

fn macro_of(name: &str) -> Option<Macro> {
    match name {
        "all" => Some(Macro::All),
        "exists" => Some(Macro::Exists),
        "exists_one" | "existsOne" => Some(Macro::ExistsOne),
        "filter" => Some(Macro::Filter),
        "map" => Some(Macro::Map),
        _ => None,
    }
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Remainder,
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::NotEqual,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessOrEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterOrEqual,
        operators::IN => Operator::In,
        _ => return None,
    })
}

/// When the whole text is a call: the name's range and the arguments' ranges.
pub(super) fn split_call(text: &str) -> Result<(Range<usize>, Vec<Range<usize>>), ExprError> {
    let call = Outline::of(text)?.call();
    call.ok_or_else(|| {
        ExprError::new(0..text.len(), "expected one call of a function")
            .with_help("such as `count()` or `sum(x)`; what is computed from results goes into a `map` behind the aggregate")
    })
}
