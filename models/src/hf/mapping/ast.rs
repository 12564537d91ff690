//! What a mapping file says.

use std::fmt;
use std::sync::Arc;

/// A place in a mapping file.
#[derive(Clone, Debug)]
pub(in crate::hf) struct At {
    pub(in crate::hf) file: Arc<str>,
    /// From 1.
    pub(in crate::hf) line: usize,
    /// Files between the one that was given and this one: 0 for the file itself.
    pub(super) depth: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}

/// A statement: a line, with the indented lines that follow it.
#[derive(Clone, Debug)]
pub(in crate::hf) enum Statement {
    /// `class NAME, NAME`
    Class(Vec<String>),
    /// `arch NAME`
    Arch(String),
    /// `include NAME`
    Include(String),
    /// `layers EXPR`: the range of `{i}`.
    Layers(Expr),
    /// `let NAME = EXPR`
    Let(String, Expr),
    /// `require EXPR else "TEXT"`
    Require { holds: Expr, why: String },
    /// `meta KEY = EXPR if EXPR`
    Meta(MetaRule),
    /// `tensor NAME = SOURCE if EXPR`
    Tensor(TensorRule),
    /// `ignore NAME if EXPR`
    Ignore { name: Name, when: Option<Expr> },
}

/// A metadata entry.
#[derive(Clone, Debug)]
pub(in crate::hf) struct MetaRule {
    /// Without the architecture before it.
    pub(in crate::hf) key: String,
    pub(in crate::hf) value: Expr,
    pub(in crate::hf) when: Option<Expr>,
    /// `?=`: left out where the value is missing.
    pub(in crate::hf) optional: bool,
}

/// A tensor.
#[derive(Clone, Debug)]
pub(in crate::hf) struct TensorRule {
    pub(in crate::hf) name: Name,
    pub(in crate::hf) take: Take,
    pub(in crate::hf) when: Option<Expr>,
    /// `?=`: left out where the folder has none of its tensors.
    pub(in crate::hf) optional: bool,
}

/// A tensor's name with holes: `{i}` for the layer, `{e}` for the expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hf) struct Name {
    pub(in crate::hf) text: String,
}

impl Name {
    /// Whether it has this hole, such as `{i}`.
    pub(in crate::hf) fn has(&self, hole: &str) -> bool {
        self.text.contains(hole)
    }

    /// The name with its holes filled.
    pub(in crate::hf) fn fill(&self, layer: Option<u64>, expert: Option<u64>) -> String {
        let mut text = self.text.clone();
        for (hole, number) in [("{i}", layer), ("{e}", expert)] {
            if let Some(number) = number {
                text = text.replace(hole, &number.to_string());
            }
        }
        text
    }

    /// The same with an ending.
    pub(super) fn with(&self, ending: &str) -> Name {
        Name { text: format!("{}{ending}", self.text) }
    }
}

/// What a tensor is made of. The list is closed: each is folded when the tensor is loaded.
#[derive(Clone, Debug)]
pub(in crate::hf) enum Take {
    /// A tensor of the folder, as it is.
    Stored(Name),
    /// Rows of each of `heads` heads from halves (rotary pairs half a head apart) to pairs.
    Permute { of: Box<Take>, heads: Expr },
    /// Rows become columns; a vector stays.
    Transpose(Box<Take>),
    /// Extents `from..to` of an axis, the outermost being 0.
    Slice { of: Box<Take>, axis: Expr, from: Expr, to: Expr },
    /// One after the other along the outermost axis.
    Concat(Vec<Take>),
    /// `count` tensors, `{e}` from 0 on, along a new outermost axis.
    Stack { of: Box<Take>, count: Expr },
    /// A number added to each element; F32.
    Add { of: Box<Take>, number: Expr },
    /// `-exp(x)` of each element; F32.
    NegExp(Box<Take>),
    /// The first whose tensors are there.
    FirstOf(Vec<Take>),
    /// A list of numbers in the configuration; F32.
    Numbers(Expr),
    /// What Llama 3's scaling divides each rotary frequency by: dims, base, factor, low and high
    /// frequency factor, original context; F32.
    Llama3Factors(Box<[Expr; 6]>),
}

/// An expression over `config.json`.
#[derive(Clone, Debug)]
pub(in crate::hf) enum Expr {
    Number(f64),
    Text(String),
    Bool(bool),
    /// A definition or a key of the configuration, and keys within.
    Path(String),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hf) enum BinaryOp {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    Greater,
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideWhole,
}

/// A function of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hf) enum Function {
    /// The square root.
    Sqrt,
    /// The natural logarithm.
    Ln,
    /// The next whole number towards minus infinity.
    Floor,
    /// `every(n, list, x)`: whether the elements n − 1, 2n − 1, … of the list, and no others, are x.
    Every,
}

impl Function {
    pub(super) const ALL: [(&'static str, Function, usize); 4] = [
        ("sqrt", Function::Sqrt, 1),
        ("ln", Function::Ln, 1),
        ("floor", Function::Floor, 1),
        ("every", Function::Every, 3),
    ];
}
