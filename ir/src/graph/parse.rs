//! Reads a graph's text form; `text.rs` writes it and says how it looks.

use super::lex::{Lexer, Place, TextError, TextProblem, Token};
use super::{
    Addressing, Attention, BinaryOp, DType, Graph, Input, NormKind, Normalize, Op, Origin, Ramp,
    Rope, RopeStyle, RunDim, StateDecl, StateFormat, StateId, TensorType, Type, UnaryOp, ValueId,
    WeightId, WeightRows,
};
use crate::format::Format;
use crate::weight::TensorInfo;
use std::str::FromStr;

type Result<T> = std::result::Result<T, TextError>;

impl Graph {
    /// Reads a graph from its text form, which `Display` writes.
    ///
    /// Every value is typed by its op's rules; a type in the text is checked against that, and may
    /// be left out. What [`Graph::verify`] checks is not checked here.
    ///
    /// # Errors
    /// A [`TextError`] with the place and what was expected there.
    pub fn from_text(text: &str) -> Result<Graph> {
        let mut parser = Parser { lexer: Lexer::new(text)?, graph: Graph::default() };
        parser.keyword("graph")?;
        parser.graph.name = parser.text("the graph's name in quotes")?;
        while *parser.lexer.peek() != Token::End {
            parser.statement()?;
        }
        Ok(parser.graph)
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    graph: Graph,
}

impl<'a> Parser<'a> {
    fn statement(&mut self) -> Result<()> {
        let (token, place) = self.lexer.advance()?;
        match token {
            Token::Word("weight") => self.weight(),
            Token::Word("state") => self.state(),
            Token::Word("output") => {
                let output = self.value()?;
                self.graph.set_output(output);
                match self.lexer.peek() {
                    Token::End => Ok(()),
                    other => Err(self.lexer.place().expected("nothing after the output", other)),
                }
            }
            Token::Defined(id) if id as usize == self.graph.len() => self.node(place),
            other => {
                let next = self.graph.len();
                let expected = format!("`weight`, `state`, `%{next} =` or `output`");
                Err(place.expected(expected, other))
            }
        }
    }

    /// `w0 "blk.0.attn_q.weight" Q4_1[576, 576]`
    fn weight(&mut self) -> Result<()> {
        self.keyword(&format!("w{}", self.graph.weights.len()))?;
        let name = self.text("the weight's name in quotes")?;
        let (word, place) = self.word("a format such as `F16`")?;
        let format = Format::ALL.into_iter().find(|format| format.name() == word);
        let format =
            format.ok_or_else(|| place.expected("a format such as `F16`", format!("`{word}`")))?;
        let shape = self.dims()?;
        self.graph.weights.push(TensorInfo { name, format, shape });
        Ok(())
    }

    /// `s0 "k.0" f16[3, 64] append`
    fn state(&mut self) -> Result<()> {
        self.keyword(&format!("s{}", self.graph.states.len()))?;
        let name = self.text("the state's name in quotes")?;
        let format = self.one_of(StateFormat::ALL, StateFormat::name)?;
        let row = self.dims()?;
        let addressing = self.addressing()?;
        self.graph.states.push(StateDecl { name, format, row, addressing });
        Ok(())
    }

    /// `append`, `ring(window=4)` or `replace`.
    fn addressing(&mut self) -> Result<Addressing> {
        let expected = "`append`, `ring` or `replace`";
        match self.word(expected)? {
            ("append", _) => Ok(Addressing::Append),
            ("replace", _) => Ok(Addressing::Replace),
            ("ring", _) => {
                let mut attributes = Attributes::read(self)?;
                let window = attributes.needed("window")?;
                attributes.all_taken()?;
                Ok(Addressing::Ring { window })
            }
            (word, place) => Err(place.expected(expected, format!("`{word}`"))),
        }
    }

    /// `= linear %5, %6 : f32[N, 576] @ "q", layer 0, line 14`; `place` is where the value's
    /// number stands.
    fn node(&mut self, place: Place) -> Result<()> {
        self.mark('=')?;
        let op = self.op()?;
        let mut operands = Vec::new();
        while matches!(self.lexer.peek(), Token::Value(_)) {
            operands.push(self.value()?);
            if !self.taken(',')? {
                break;
            }
        }
        let stated = if self.taken(':')? { Some((self.lexer.place(), self.ty()?)) } else { None };
        let origin = if self.taken('@')? { self.origin()? } else { Origin::default() };
        let value = self.graph.add(op, &operands, origin).map_err(|why| place.error(why))?;
        let inferred = &self.graph.node(value).ty;
        if let Type::Tensor(tensor) = inferred {
            countable(&tensor.dims, place)?;
        }
        match stated {
            Some((place, stated)) if stated != *inferred => {
                let (stated, inferred) = (stated.to_string(), inferred.to_string());
                Err(place.error(TextProblem::TypeDiffers { stated, inferred }))
            }
            _ => Ok(()),
        }
    }

    fn op(&mut self) -> Result<Op> {
        let (word, place) = self.word("an op")?;
        let norm = NormKind::ALL.into_iter().find(|kind| kind.name() == word);
        let mut attributes = match word {
            "rope" | "slice" | "attention" | "weight_rows" | "top_k" => Attributes::read(self)?,
            _ if norm.is_some() => Attributes::read(self)?,
            _ => Attributes { list: Vec::new(), place },
        };
        let op = match word {
            "input" => Op::Input(self.one_of(Input::ALL, Input::name)?),
            "weight" => Op::Weight(WeightId(self.numbered('w', self.graph.weights.len())?)),
            "scalar" => Op::Scalar(self.number("a number")?),
            "state" => Op::State(StateId(self.numbered('s', self.graph.states.len())?)),
            "embed" => Op::Embed,
            "gather_rows" => Op::GatherRows,
            "linear" => Op::Linear,
            "append" => Op::Append,
            "reshape" => Op::Reshape(self.list('(', ')')?),
            "expert_linear" => Op::ExpertLinear,
            "expert_sum" => Op::ExpertSum,
            "take" => Op::Take,
            "short_conv" => Op::ShortConv,
            "scan" => Op::Scan,
            "top_k" => Op::TopK(attributes.needed("k")?),
            "weight_rows" => Op::WeightRows(WeightRows {
                start: attributes.needed("start")?,
                len: attributes.needed("len")?,
                every: attributes.needed("every")?,
            }),
            "rope" => attributes.rope()?,
            "slice" => {
                Op::Slice { start: attributes.needed("start")?, len: attributes.needed("len")? }
            }
            "attention" => Op::Attention(Attention {
                scale: attributes.needed("scale")?,
                window: attributes.optional("window")?,
                softcap: attributes.optional("softcap")?,
                alibi: attributes.optional("alibi")?,
            }),
            _ => {
                if let Some(kind) = norm {
                    let op = attributes.normalize(kind)?;
                    attributes.all_taken()?;
                    return Ok(op);
                }
                let unary = UnaryOp::ALL.into_iter().find(|op| op.name() == word).map(Op::Unary);
                let binary = || BinaryOp::ALL.into_iter().find(|op| op.name() == word);
                unary
                    .or_else(|| binary().map(Op::Binary))
                    .ok_or_else(|| place.expected("an op", format!("`{word}`")))?
            }
        };
        attributes.all_taken()?;
        Ok(op)
    }

    /// `f32[N, 9, 64]` or `s0`.
    fn ty(&mut self) -> Result<Type> {
        let dtype = match self.lexer.peek() {
            Token::Word("f32") => DType::F32,
            Token::Word("u32") => DType::U32,
            Token::Word(word) if word.starts_with('s') => {
                let id = self.numbered('s', self.graph.states.len())?;
                return Ok(Type::State(StateId(id)));
            }
            other => {
                let expected = "a type such as `f32[N, 64]` or `s0`";
                return Err(self.lexer.place().expected(expected, other));
            }
        };
        self.lexer.advance()?;
        self.mark('[')?;
        let runs = [RunDim::Tokens, RunDim::OutRows, RunDim::Slots];
        let rows = match self.lexer.peek() {
            Token::Word(word) => runs.into_iter().find(|run| run.letter() == *word),
            _ => None,
        };
        if rows.is_some() {
            self.lexer.advance()?;
            if !self.taken(',')? {
                self.mark(']')?;
                return Ok(Type::Tensor(TensorType { dtype, rows, dims: Vec::new() }));
            }
        }
        let dims = self.until(']')?;
        Ok(Type::Tensor(TensorType { dtype, rows, dims }))
    }

    /// `"q", layer 0, line 14`, each part at most once.
    fn origin(&mut self) -> Result<Origin> {
        let mut origin = Origin::default();
        loop {
            let (token, place) = self.lexer.advance()?;
            match token {
                Token::Text(name) if origin.name.is_none() => origin.name = Some(name),
                Token::Word("layer") if origin.layer.is_none() => {
                    origin.layer = Some(self.number("a layer's number")?);
                }
                Token::Word("line") if origin.line == 0 => {
                    origin.line = self.number("a line's number")?;
                }
                other => return Err(place.expected("a name in quotes, `layer` or `line`", other)),
            }
            if !self.taken(',')? {
                return Ok(origin);
            }
        }
    }

    fn word(&mut self, expected: &str) -> Result<(&'a str, Place)> {
        match self.lexer.advance()? {
            (Token::Word(word), place) => Ok((word, place)),
            (other, place) => Err(place.expected(expected, other)),
        }
    }

    fn keyword(&mut self, keyword: &str) -> Result<()> {
        match self.word(&format!("`{keyword}`"))? {
            (word, _) if word == keyword => Ok(()),
            (word, place) => Err(place.expected(format!("`{keyword}`"), format!("`{word}`"))),
        }
    }

    fn text(&mut self, expected: &str) -> Result<String> {
        match self.lexer.advance()? {
            (Token::Text(text), _) => Ok(text),
            (other, place) => Err(place.expected(expected, other)),
        }
    }

    fn mark(&mut self, mark: char) -> Result<()> {
        match self.lexer.advance()? {
            (token, _) if token == Token::Mark(mark) => Ok(()),
            (other, place) => Err(place.expected(format!("`{mark}`"), other)),
        }
    }

    /// Takes the mark if it comes next.
    fn taken(&mut self, mark: char) -> Result<bool> {
        let next = *self.lexer.peek() == Token::Mark(mark);
        if next {
            self.lexer.advance()?;
        }
        Ok(next)
    }

    /// A value that exists already.
    fn value(&mut self) -> Result<ValueId> {
        match self.lexer.advance()? {
            (Token::Value(id), _) if (id as usize) < self.graph.len() => Ok(ValueId(id)),
            (other, place) => Err(place.expected("a value that stands above", other)),
        }
    }

    fn number<T: FromStr>(&mut self, expected: &str) -> Result<T> {
        let (word, place) = self.word(expected)?;
        word.parse().map_err(|_| place.expected(expected, format!("`{word}`")))
    }

    /// `w7` or `s7` as 7, of something of which there are `count`.
    fn numbered(&mut self, letter: char, count: usize) -> Result<u32> {
        let expected = format!("`{letter}` and a number below {count}");
        let (word, place) = self.word(&expected)?;
        let id = word.strip_prefix(letter).and_then(|digits| digits.parse::<u32>().ok());
        id.filter(|&id| (id as usize) < count)
            .ok_or_else(|| place.expected(expected, format!("`{word}`")))
    }

    /// A word that names one of `all`.
    fn one_of<T: Copy, const N: usize>(
        &mut self,
        all: [T; N],
        name: fn(T) -> &'static str,
    ) -> Result<T> {
        let names = all.map(|one| format!("`{}`", name(one))).join(" or ");
        let (word, place) = self.word(&names)?;
        let found = all.into_iter().find(|&one| name(one) == word);
        found.ok_or_else(|| place.expected(names, format!("`{word}`")))
    }

    /// `[576, 576]`, with a product that can be counted.
    fn dims(&mut self) -> Result<Vec<u64>> {
        let place = self.lexer.place();
        let dims = self.list('[', ']')?;
        countable(&dims, place)?;
        Ok(dims)
    }

    fn list(&mut self, open: char, close: char) -> Result<Vec<u64>> {
        self.mark(open)?;
        self.until(close)
    }

    /// Extents up to the closing mark.
    fn until(&mut self, close: char) -> Result<Vec<u64>> {
        let mut extents = Vec::new();
        if self.taken(close)? {
            return Ok(extents);
        }
        loop {
            extents.push(self.number("an extent")?);
            if !self.taken(',')? {
                self.mark(close)?;
                return Ok(extents);
            }
        }
    }
}

/// That no product of some of the extents overflows.
fn countable(dims: &[u64], place: Place) -> Result<()> {
    let product = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim.max(1)));
    product.map(|_| ()).ok_or_else(|| place.error(TextProblem::TooLarge(dims.to_vec())))
}

/// What stands in brackets after an op's name: `name=number` or a lone word.
struct Attributes<'a> {
    list: Vec<(&'a str, Option<&'a str>, Place)>,
    /// Where the brackets open.
    place: Place,
}

impl<'a> Attributes<'a> {
    fn read(parser: &mut Parser<'a>) -> Result<Attributes<'a>> {
        let open = parser.lexer.place();
        parser.mark('(')?;
        let mut list = Vec::new();
        loop {
            let (name, place) = parser.word("an attribute")?;
            let number = if parser.taken('=')? { Some(parser.word("a number")?.0) } else { None };
            list.push((name, number, place));
            if !parser.taken(',')? {
                parser.mark(')')?;
                return Ok(Attributes { list, place: open });
            }
        }
    }

    fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(at) = self.list.iter().position(|one| one.0 == name) else { return Ok(None) };
        let (_, number, place) = self.list.remove(at);
        let parsed = number.and_then(|number| number.parse().ok());
        let expected = || place.expected(format!("`{name}=` and a number"), format!("`{name}`"));
        parsed.map(Some).ok_or_else(expected)
    }

    fn needed<T: FromStr>(&mut self, name: &str) -> Result<T> {
        let place = self.place;
        let missing = || place.expected(format!("`{name}=` and a number"), "none in the brackets");
        self.optional(name)?.ok_or_else(missing)
    }

    fn normalize(&mut self, kind: NormKind) -> Result<Op> {
        Ok(Op::Normalize(Normalize { kind, eps: self.needed("eps")? }))
    }

    fn rope(&mut self) -> Result<Op> {
        let style = |style: RopeStyle| {
            move |one: &(&str, Option<&str>, Place)| one.0 == style.name() && one.1.is_none()
        };
        let chosen = RopeStyle::ALL
            .into_iter()
            .find_map(|one| Some((one, self.list.iter().position(style(one))?)));
        let Some((style, at)) = chosen else {
            let names = RopeStyle::ALL.map(|one| format!("`{}`", one.name())).join(" or ");
            return Err(self.place.expected(names, "none in the brackets"));
        };
        self.list.remove(at);
        let ramp = match (self.optional("low")?, self.optional("high")?) {
            (Some(low), Some(high)) => Some(Ramp { low, high }),
            (None, None) => None,
            _ => return Err(self.place.expected("`low=` and `high=`, or neither", "one of them")),
        };
        Ok(Op::Rope(Rope {
            base: self.needed("base")?,
            scale: self.optional("scale")?.unwrap_or(1.0),
            magnitude: self.optional("magnitude")?.unwrap_or(1.0),
            dims: self.needed("dims")?,
            style,
            ramp,
        }))
    }

    /// That nothing is left.
    fn all_taken(&self) -> Result<()> {
        match self.list.first() {
            None => Ok(()),
            Some((name, _, place)) => {
                Err(place.expected("an attribute of this op, once", format!("`{name}`")))
            }
        }
    }
}
