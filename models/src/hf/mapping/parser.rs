//! Tokens → statements, by recursive descent.

use super::ast::{BinaryOp, Expr, Function, MetaRule, Name, Statement, Take, TensorRule};
use super::lexer::{self, Fault, Token};

/// Brackets within brackets.
const MAX_DEPTH: usize = 40;
/// Words and signs of a statement, which bounds how deep a chain of operators nests.
const MAX_TOKENS: usize = 400;

/// The statements of a file, each with its line; what is wrong, with its line.
pub(super) fn parse(text: &str) -> Result<Vec<(usize, Statement)>, Fault> {
    let mut all = Vec::new();
    for tokens in lexer::statements(text)? {
        let line = tokens.first().map_or(1, |(line, _)| *line);
        if tokens.len() > MAX_TOKENS {
            return Err((
                line,
                format!("the statement has more than {MAX_TOKENS} words and signs"),
            ));
        }
        let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
        let statements = parser.statement().map_err(|why| (parser.line(), why))?;
        if let Some((line, extra)) = parser.tokens.get(parser.at) {
            return Err((*line, format!("the statement ends before {extra}")));
        }
        all.extend(statements.into_iter().map(|statement| (line, statement)));
    }
    Ok(all)
}

struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    /// The line of the next token, or of the last.
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(line, _)| *line)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn expected(&self, what: &str) -> String {
        match self.peek() {
            Some(token) => format!("{what} is expected here, not {token}"),
            None => format!("{what} is expected at the end of this line"),
        }
    }

    /// Takes the next token if it is this sign.
    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    /// Takes the next token if it is this word.
    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, what: &str) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn name(&mut self) -> Parsed<Name> {
        let text = self.word("a tensor's name")?;
        let holes = text.replace("{i}", "").replace("{e}", "");
        match holes.contains(['{', '}']) {
            true => Err(format!("`{text}` has a hole other than {{i}} and {{e}}")),
            false => Ok(Name { text }),
        }
    }

    fn statement(&mut self) -> Parsed<Vec<Statement>> {
        const KINDS: &str =
            "class, arch, include, layers, let, require, meta, tensor, linear or ignore";
        let statement = match self.word(KINDS)?.as_str() {
            "class" => {
                let mut names = vec![self.word("a class")?];
                while self.sign(",") {
                    names.push(self.word("a class")?);
                }
                Statement::Class(names)
            }
            "arch" => Statement::Arch(self.word("a GGUF architecture")?),
            "include" => Statement::Include(self.word("a built-in file's name")?),
            "layers" => Statement::Layers(self.expression()?),
            "let" => {
                let name = self.word("a name")?;
                if name.contains(['.', '{', '}']) {
                    return Err(format!("`{name}` is no name: it has dots or braces"));
                }
                self.need("=")?;
                Statement::Let(name, self.expression()?)
            }
            "require" => self.require()?,
            "meta" => self.meta()?,
            "tensor" => Statement::Tensor(self.tensor()?),
            "linear" => return self.linear(),
            "ignore" => Statement::Ignore { name: self.name()?, when: self.condition()? },
            other => return Err(format!("a line begins with {KINDS}, not `{other}`")),
        };
        Ok(vec![statement])
    }

    fn require(&mut self) -> Parsed<Statement> {
        let holds = self.expression()?;
        if !self.keyword("else") {
            return Err(self.expected("`else` and a text"));
        }
        match self.peek().cloned() {
            Some(Token::Text(why)) => {
                self.at += 1;
                Ok(Statement::Require { holds, why })
            }
            _ => Err(self.expected("a text in quotes")),
        }
    }

    fn meta(&mut self) -> Parsed<Statement> {
        let key = self.word("a metadata key")?;
        let optional = self.assignment()?;
        let (value, when) = (self.expression()?, self.condition()?);
        Ok(Statement::Meta(MetaRule { key, value, when, optional }))
    }

    fn tensor(&mut self) -> Parsed<TensorRule> {
        let name = self.name()?;
        let optional = self.assignment()?;
        let (take, when) = (self.sources()?, self.condition()?);
        Ok(TensorRule { name, take, when, optional })
    }

    /// A weight, and its bias where there is one.
    fn linear(&mut self) -> Parsed<Vec<Statement>> {
        let rule = self.tensor()?;
        let ending = |ending: &str, optional: bool| {
            Statement::Tensor(TensorRule {
                name: rule.name.with(ending),
                take: with_ending(&rule.take, ending),
                when: rule.when.clone(),
                optional,
            })
        };
        Ok(vec![ending(".weight", rule.optional), ending(".bias", true)])
    }

    /// Whether the assignment that stands here is of something optional.
    fn assignment(&mut self) -> Parsed<bool> {
        if self.sign("?=") {
            return Ok(true);
        }
        self.need("=").map(|()| false)
    }

    fn condition(&mut self) -> Parsed<Option<Expr>> {
        if self.keyword("if") { self.expression().map(Some) } else { Ok(None) }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return Err(format!("this nests more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    fn sources(&mut self) -> Parsed<Take> {
        let first = self.source()?;
        let mut all = vec![first];
        while self.keyword("or") {
            all.push(self.source()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Take::FirstOf(all) })
    }

    fn source(&mut self) -> Parsed<Take> {
        let name = self.name()?;
        if !self.sign("(") {
            return Ok(Take::Stored(name));
        }
        let take = self.deeper(|parser| parser.transform(&name.text))?;
        self.need(")")?;
        Ok(take)
    }

    /// The arguments of a transform.
    fn transform(&mut self, name: &str) -> Parsed<Take> {
        Ok(match name {
            "permute" => Take::Permute { of: self.boxed()?, heads: self.argument()? },
            "transpose" => Take::Transpose(self.boxed()?),
            "slice" => Take::Slice {
                of: self.boxed()?,
                axis: self.argument()?,
                from: self.argument()?,
                to: self.argument()?,
            },
            "concat" => {
                let mut parts = vec![self.sources()?];
                while self.sign(",") {
                    parts.push(self.sources()?);
                }
                Take::Concat(parts)
            }
            "stack" => {
                let of = self.boxed()?;
                if !super::names_in(&of).iter().all(|name| name.has("{e}")) {
                    return Err("a stacked tensor's name needs the hole {e}".into());
                }
                Take::Stack { of, count: self.argument()? }
            }
            "add" => Take::Add { of: self.boxed()?, number: self.argument()? },
            "neg_exp" => Take::NegExp(self.boxed()?),
            "numbers" => Take::Numbers(self.expression()?),
            "llama3_factors" => {
                let dims = self.expression()?;
                let mut next = || self.argument();
                let rest = [next()?, next()?, next()?, next()?, next()?];
                let [base, factor, low, high, original] = rest;
                Take::Llama3Factors(Box::new([dims, base, factor, low, high, original]))
            }
            other => {
                return Err(format!(
                    "there is no transform `{other}`: permute, transpose, slice, concat, stack, \
                     add, neg_exp, numbers and llama3_factors are known"
                ));
            }
        })
    }

    fn boxed(&mut self) -> Parsed<Box<Take>> {
        self.sources().map(Box::new)
    }

    /// A comma and an expression.
    fn argument(&mut self) -> Parsed<Expr> {
        self.need(",")?;
        self.expression()
    }

    fn expression(&mut self) -> Parsed<Expr> {
        self.deeper(|parser| parser.binary(0))
    }

    /// Operators of at least this level, from the loosest.
    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        use BinaryOp::{
            Add, And, Divide, DivideWhole, Equal, Greater, Less, Multiply, Or, Subtract, Unequal,
        };
        const LEVELS: [&[(&str, BinaryOp)]; 5] = [
            &[("or", Or)],
            &[("and", And)],
            &[("==", Equal), ("!=", Unequal), ("<", Less), (">", Greater)],
            &[("+", Add), ("-", Subtract)],
            &[("*", Multiply), ("//", DivideWhole), ("/", Divide)],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let found = operators.iter().find(|(spelling, _)| match self.peek() {
                Some(Token::Sign(sign)) => sign == spelling,
                Some(Token::Word(word)) => word == spelling,
                _ => false,
            });
            let Some((_, operator)) = found else { return Ok(left) };
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = Expr::Binary(*operator, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        if self.keyword("not") {
            return self.deeper(|parser| parser.unary()).map(|of| Expr::Not(Box::new(of)));
        }
        if self.sign("-") {
            return self.deeper(|parser| parser.unary()).map(|of| Expr::Negate(Box::new(of)));
        }
        if self.sign("(") {
            let inner = self.expression()?;
            return self.need(")").map(|()| inner);
        }
        let token = self.peek().cloned();
        let atom = match token {
            Some(Token::Number(number)) => Expr::Number(number),
            Some(Token::Text(text)) => Expr::Text(text),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Expr::Bool(true),
                "false" => Expr::Bool(false),
                "or" | "and" | "if" | "else" => return Err(self.expected("a value")),
                _ if word.contains(['{', '}']) => return Err(self.expected("a value")),
                _ => Expr::Path(word),
            },
            _ => return Err(self.expected("a value")),
        };
        self.at += 1;
        match atom {
            Expr::Path(name) if self.sign("(") => self.call(&name),
            atom => Ok(atom),
        }
    }

    fn call(&mut self, name: &str) -> Parsed<Expr> {
        let found = Function::ALL.iter().find(|(known, ..)| *known == name);
        let Some((_, function, count)) = found else {
            let known = Function::ALL.map(|(name, ..)| name).join(", ");
            return Err(format!("there is no function `{name}`: {known} are known"));
        };
        let mut arguments = vec![self.expression()?];
        while self.sign(",") {
            arguments.push(self.expression()?);
        }
        self.need(")")?;
        match arguments.len() == *count {
            true => Ok(Expr::Call(*function, arguments)),
            false => Err(format!("`{name}` takes {count} values, not {}", arguments.len())),
        }
    }
}

/// The source with this ending on each tensor's name.
fn with_ending(take: &Take, ending: &str) -> Take {
    let boxed = |of: &Take| Box::new(with_ending(of, ending));
    match take {
        Take::Stored(name) => Take::Stored(name.with(ending)),
        Take::Permute { of, heads } => Take::Permute { of: boxed(of), heads: heads.clone() },
        Take::Transpose(of) => Take::Transpose(boxed(of)),
        Take::Slice { of, axis, from, to } => {
            let (axis, from, to) = (axis.clone(), from.clone(), to.clone());
            Take::Slice { of: boxed(of), axis, from, to }
        }
        Take::Concat(parts) => {
            Take::Concat(parts.iter().map(|part| with_ending(part, ending)).collect())
        }
        Take::Stack { of, count } => Take::Stack { of: boxed(of), count: count.clone() },
        Take::Add { of, number } => Take::Add { of: boxed(of), number: number.clone() },
        Take::NegExp(of) => Take::NegExp(boxed(of)),
        Take::FirstOf(parts) => {
            Take::FirstOf(parts.iter().map(|part| with_ending(part, ending)).collect())
        }
        Take::Numbers(_) | Take::Llama3Factors(_) => take.clone(),
    }
}
