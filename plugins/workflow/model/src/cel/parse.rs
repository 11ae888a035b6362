//! From words to a tree.

use serde_json::Value;

use super::functions::function;
use super::lex::{Token, words};
use super::{Each, EachKind, Expr, ExprKind, Fault, Op, fault};
use crate::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX};

/// Names that CEL keeps to itself.
const RESERVED: [&str; 14] = [
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
    "package", "return", "while",
];

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return fault(
            0,
            format!("an expression has {EXPRESSION_BYTES_MAX} bytes at most"),
        );
    }
    let words = words(text)?;
    let mut parser = Parser {
        words,
        at: 0,
        depth: 0,
    };
    if let (at, Token::End) = parser.peek() {
        return fault(*at, "an expression is missing");
    }
    let expr = parser.choice()?;
    match parser.peek() {
        (_, Token::End) => Ok(expr),
        (at, token) => fault(*at, format!("{} can't follow here", named(token))),
    }
}

/// Where the expression ends that begins a text: before the `}}` that closes it.
pub(crate) fn end_of(text: &str) -> Option<usize> {
    let (mut quote, mut open, mut escaped) = (None, 0_usize, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => open += 1,
            (None, '}') if open > 0 => open -= 1,
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            (None, _) => {}
        }
    }
    None
}

fn named(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("`{name}`"),
        Token::Int(_) | Token::IntMin | Token::Float(_) => "a number".to_owned(),
        Token::Text(_) => "a text".to_owned(),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".to_owned(),
    }
}

struct Parser {
    words: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

type Parsed = Result<Expr, Fault>;

impl Parser {
    fn peek(&self) -> &(usize, Token) {
        // The last word is an end, which is never taken.
        &self.words[self.at.min(self.words.len() - 1)]
    }

    fn take(&mut self) -> (usize, Token) {
        let word = self.peek().clone();
        self.at += 1;
        word
    }

    fn is(&self, sign: &str) -> bool {
        matches!(&self.peek().1, Token::Sign(found) if *found == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn needs(&mut self, sign: &str) -> Result<(), Fault> {
        if self.takes(sign) {
            return Ok(());
        }
        let (at, token) = self.peek();
        fault(*at, format!("`{sign}` is missing before {}", named(token)))
    }

    /// Goes one deeper.
    fn nested(&mut self, at: usize, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth == EXPRESSION_DEPTH_MAX {
            return too_deep(at);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn choice(&mut self) -> Parsed {
        let at = self.peek().0;
        self.nested(at, |parser| {
            let condition = parser.binary(0)?;
            if !parser.takes("?") {
                return Ok(condition);
            }
            let yes = parser.choice()?;
            parser.needs(":")?;
            let no = parser.choice()?;
            let kind = ExprKind::Choice(Box::new(condition), Box::new(yes), Box::new(no));
            node(at, kind)
        })
    }

    fn operator(&self) -> Option<Op> {
        const ALL: [Op; 13] = [
            Op::Or,
            Op::And,
            Op::Equal,
            Op::NotEqual,
            Op::Less,
            Op::LessOrEqual,
            Op::More,
            Op::MoreOrEqual,
            Op::Add,
            Op::Subtract,
            Op::Multiply,
            Op::Divide,
            Op::Remainder,
        ];
        match &self.peek().1 {
            Token::Sign(sign) => ALL.into_iter().find(|op| op.sign() == *sign),
            Token::Name(name) if name == "in" => Some(Op::In),
            _ => None,
        }
    }

    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some(op) = self.operator().filter(|op| op.power() > least) {
            let (at, _) = self.take();
            let right = self.binary(op.power())?;
            left = node(at, ExprKind::Binary(op, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.peek().0;
        if self.takes("!") {
            let inner = self.nested(at, Self::unary)?;
            return node(at, ExprKind::Not(Box::new(inner)));
        }
        if self.takes("-") {
            if let (_, Token::IntMin) = self.peek() {
                self.take();
                return node(at, ExprKind::Literal(i64::MIN.into()));
            }
            let inner = self.nested(at, Self::unary)?;
            return node(at, ExprKind::Negative(Box::new(inner)));
        }
        self.member()
    }

    fn member(&mut self) -> Parsed {
        let mut expr = self.primary()?;
        loop {
            let at = self.peek().0;
            if self.takes(".") {
                expr = self.dotted(expr)?;
            } else if self.takes("[") {
                let index = self.choice()?;
                self.needs("]")?;
                expr = node(at, ExprKind::Index(Box::new(expr), Box::new(index)))?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// A member or a method; its place is its name's.
    fn dotted(&mut self, of: Expr) -> Parsed {
        let (at, token) = self.take();
        let Token::Name(name) = token else {
            return fault(
                at,
                format!("a name is missing after `.`, before {}", named(&token)),
            );
        };
        if !self.takes("(") {
            return node(at, ExprKind::Field(Box::new(of), name));
        }
        let what = match &*name {
            "all" => EachKind::All,
            "exists" => EachKind::Exists,
            "exists_one" => EachKind::ExistsOne,
            "filter" => EachKind::Filter,
            "map" => EachKind::Map,
            _ => {
                let mut arguments = vec![of];
                arguments.extend(self.arguments(")")?);
                return call(at, &name, arguments, true);
            }
        };
        self.each(at, what, of)
    }

    fn each(&mut self, at: usize, what: EachKind, over: Expr) -> Parsed {
        let mut arguments = self.arguments(")")?;
        let most = if what == EachKind::Map { 3 } else { 2 };
        if arguments.len() < 2 || arguments.len() > most {
            let form = "a name and an expression, e.g. `items.filter(x, x.ok)`";
            return fault(at, format!("this takes {form}"));
        }
        let body = arguments.pop();
        let only = if arguments.len() == 2 {
            arguments.pop()
        } else {
            None
        };
        match (arguments.pop().map(|name| (name.at, name.kind)), body) {
            (Some((_, ExprKind::Ident(name))), Some(body)) => node(
                at,
                ExprKind::Each(Box::new(Each {
                    what,
                    over,
                    name,
                    only,
                    body,
                })),
            ),
            (Some((at, _)), _) => fault(at, "a name for the items stands here, e.g. `x`"),
            (None, _) => fault(at, "a name for the items is missing"),
        }
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut arguments = Vec::new();
        while !self.takes(end) {
            arguments.push(self.choice()?);
            if !self.takes(",") {
                self.needs(end)?;
                break;
            }
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Parsed {
        let (at, token) = self.take();
        let literal = |value: Value| node(at, ExprKind::Literal(value));
        match token {
            Token::Int(number) => literal(number.into()),
            Token::IntMin => fault(at, "the number is too large"),
            Token::Float(number) => literal(number.into()),
            Token::Text(text) => literal(text.into()),
            Token::Name(name) => self.name(at, name),
            Token::Sign("(") => {
                let inner = self.choice()?;
                self.needs(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let items = self.arguments("]")?;
                node(at, ExprKind::List(items))
            }
            Token::Sign("{") => self.map(at),
            token => fault(at, format!("a value is missing before {}", named(&token))),
        }
    }

    fn name(&mut self, at: usize, name: String) -> Parsed {
        let value = match &*name {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => None,
        };
        if let Some(value) = value {
            return node(at, ExprKind::Literal(value));
        }
        if RESERVED.contains(&&*name) || name == "in" {
            return fault(
                at,
                format!("`{name}` is a word of the language and can't stand here"),
            );
        }
        if !self.takes("(") {
            return node(at, ExprKind::Ident(name));
        }
        let mut arguments = self.arguments(")")?;
        if name != "has" {
            return call(at, &name, arguments, false);
        }
        match (
            arguments.pop().map(|argument| argument.kind),
            arguments.is_empty(),
        ) {
            (Some(ExprKind::Field(of, name)), true) => node(at, ExprKind::Has(of, name)),
            _ => fault(at, "`has` takes one member, e.g. `has(input.month)`"),
        }
    }

    fn map(&mut self, at: usize) -> Parsed {
        let mut members = Vec::new();
        while !self.takes("}") {
            let key = self.choice()?;
            self.needs(":")?;
            members.push((key, self.choice()?));
            if !self.takes(",") {
                self.needs("}")?;
                break;
            }
        }
        node(at, ExprKind::Map(members))
    }
}

fn call(at: usize, name: &str, arguments: Vec<Expr>, method: bool) -> Parsed {
    match function(name, arguments.len(), method) {
        Ok(function) => node(at, ExprKind::Call(function, arguments)),
        Err(message) => fault(at, message),
    }
}

fn too_deep(at: usize) -> Parsed {
    fault(
        at,
        format!(
            "more than {EXPRESSION_DEPTH_MAX} expressions inside one another: use several steps"
        ),
    )
}

fn node(at: usize, kind: ExprKind) -> Parsed {
    let below = match &kind {
        ExprKind::Literal(_) | ExprKind::Ident(_) => 0,
        ExprKind::Field(of, _)
        | ExprKind::Has(of, _)
        | ExprKind::Not(of)
        | ExprKind::Negative(of) => of.depth,
        ExprKind::Index(left, right) | ExprKind::Binary(_, left, right) => {
            left.depth.max(right.depth)
        }
        ExprKind::List(items) | ExprKind::Call(_, items) => deepest(items.iter()),
        ExprKind::Map(members) => deepest(members.iter().flat_map(|(key, value)| [key, value])),
        ExprKind::Choice(condition, yes, no) => deepest([&**condition, yes, no].into_iter()),
        ExprKind::Each(each) => deepest([&each.over, &each.body].into_iter().chain(&each.only)),
    };
    // Twice: chains such as `a + b + c` are deep trees without being nested.
    if below >= 2 * EXPRESSION_DEPTH_MAX {
        return too_deep(at);
    }
    Ok(Expr {
        at,
        depth: below + 1,
        kind,
    })
}

fn deepest<'a>(parts: impl Iterator<Item = &'a Expr>) -> usize {
    parts.map(|part| part.depth).max().unwrap_or(0)
}
