//! The syntax tree of an architecture file. Every part knows its place in the text.

/// A range of bytes of the file's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::arch) struct Span {
    pub(in crate::arch) start: u32,
    pub(in crate::arch) end: u32,
}

impl Span {
    /// From the start of this one to the end of the other.
    pub(in crate::arch) fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.end) }
    }
}

impl From<Span> for miette::SourceSpan {
    fn from(span: Span) -> Self {
        let length = span.end.saturating_sub(span.start) as usize;
        (span.start as usize, length).into()
    }
}

/// A name at its place.
#[derive(Clone, Debug)]
pub(in crate::arch) struct Ident {
    pub(in crate::arch) text: String,
    pub(in crate::arch) span: Span,
}

/// A whole file: one architecture.
#[derive(Clone, Debug)]
pub(in crate::arch) struct Arch {
    pub(in crate::arch) name: Ident,
    /// The values of `general.architecture` that it serves.
    pub(in crate::arch) serves: Vec<String>,
    pub(in crate::arch) when: Option<Expr>,
    pub(in crate::arch) body: Vec<Statement>,
    /// User functions, in the file's order.
    pub(in crate::arch) functions: Vec<Function>,
}

/// `name(params) = body`
#[derive(Clone, Debug)]
pub(in crate::arch) struct Function {
    pub(in crate::arch) name: Ident,
    pub(in crate::arch) params: Vec<Ident>,
    pub(in crate::arch) body: Expr,
}

#[derive(Clone, Debug)]
pub(in crate::arch) enum Statement {
    /// `name = value`
    Bind { name: Ident, value: Expr },
    /// `layers variable in from..to { body }`
    Layers { variable: Ident, from: Expr, to: Expr, body: Vec<Statement> },
    /// `if condition { then } else { otherwise }`
    If { condition: Expr, then: Vec<Statement>, otherwise: Vec<Statement> },
    /// `require condition else message`
    Require { condition: Expr, message: Expr },
}

/// An expression, its place, and how deeply it nests (the parser bounds it).
#[derive(Clone, Debug)]
pub(in crate::arch) struct Expr {
    pub(in crate::arch) kind: ExprKind,
    pub(in crate::arch) span: Span,
    pub(super) depth: u16,
}

#[derive(Clone, Debug)]
pub(in crate::arch) enum ExprKind {
    None,
    Number(f64),
    Bool(bool),
    /// Text with `{…}` in it.
    Text(Vec<Piece>),
    Name(String),
    Call {
        function: Ident,
        arguments: Vec<Argument>,
    },
    Index {
        list: Box<Expr>,
        index: Box<Expr>,
    },
    /// `-x`
    Negate(Box<Expr>),
    /// `not x`
    Not(Box<Expr>),
    /// `optional x`
    Optional(Box<Expr>),
    Binary {
        operator: Operator,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
}

/// A part of a text.
#[derive(Clone, Debug)]
pub(in crate::arch) enum Piece {
    Literal(String),
    Value(Expr),
}

/// An argument of a call, by position or by name.
#[derive(Clone, Debug)]
pub(in crate::arch) struct Argument {
    pub(in crate::arch) name: Option<Ident>,
    pub(in crate::arch) value: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::arch) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

impl Operator {
    const ALL: [(Operator, &'static str); 15] = [
        (Operator::Or, "or"),
        (Operator::And, "and"),
        (Operator::Equal, "=="),
        (Operator::NotEqual, "!="),
        (Operator::Less, "<"),
        (Operator::LessEqual, "<="),
        (Operator::Greater, ">"),
        (Operator::GreaterEqual, ">="),
        (Operator::Add, "+"),
        (Operator::Subtract, "-"),
        (Operator::Multiply, "*"),
        (Operator::Divide, "/"),
        (Operator::FloorDivide, "//"),
        (Operator::Remainder, "%"),
        (Operator::Power, "^"),
    ];

    pub(super) fn from_text(text: &str) -> Option<Operator> {
        Operator::ALL.iter().find(|(_, known)| *known == text).map(|(operator, _)| *operator)
    }

    pub(in crate::arch) fn text(self) -> &'static str {
        // The table has every operator, in the order of the declaration.
        Operator::ALL[self as usize].1
    }

    /// How tightly it binds; higher is tighter.
    pub(super) const fn power(self) -> u8 {
        match self {
            Operator::Or => 1,
            Operator::And => 2,
            // `not` stands between these, at 3.
            Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual => 4,
            Operator::Add | Operator::Subtract => 5,
            Operator::Multiply | Operator::Divide | Operator::FloorDivide | Operator::Remainder => {
                6
            }
            // Unary minus stands between these, at 7.
            Operator::Power => 8,
        }
    }

    pub(super) const fn compares(self) -> bool {
        self.power() == 4
    }
}

impl Expr {
    /// Calls `visit` on each direct part.
    pub(in crate::arch) fn parts<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            ExprKind::None | ExprKind::Number(_) | ExprKind::Bool(_) | ExprKind::Name(_) => {}
            ExprKind::Text(pieces) => pieces.iter().for_each(|piece| {
                if let Piece::Value(value) = piece {
                    visit(value);
                }
            }),
            ExprKind::Call { arguments, .. } => {
                arguments.iter().for_each(|argument| visit(&argument.value));
            }
            ExprKind::Index { list, index } => {
                visit(list);
                visit(index);
            }
            ExprKind::Negate(x) | ExprKind::Not(x) | ExprKind::Optional(x) => visit(x),
            ExprKind::Binary { left, right, .. } => {
                visit(left);
                visit(right);
            }
            ExprKind::If { condition, then, otherwise } => {
                visit(condition);
                visit(then);
                visit(otherwise);
            }
        }
    }
}
