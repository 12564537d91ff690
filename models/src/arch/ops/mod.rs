//! The language's built-in functions.
//!
//! **To add one**, write a [`Builtin`] entry in the table of the file it belongs to and its
//! lowering beside it. The table is all there is: calls are checked against it, suggestions are
//! drawn from it, and the reference in `docs/architecture-language.md` is printed from it.
//!
//! | file | functions |
//! |---|---|
//! | `facts.rs` | about the model's metadata and tensors, known when the graph is built |
//! | `tensor.rs` | products, norms, shapes, elementwise functions |
//! | `attention.rs` | position embedding and attention |
//! | `experts.rs` | mixtures of experts |
//! | `recurrent.rs` | convolution and state space along the sequence |
//! | `call.rs` | how a call's arguments are checked and read |

mod attention;
mod call;
mod experts;
mod facts;
mod recurrent;
mod tensor;

pub(super) use call::{Call, bind_arguments, check_kind};

use super::error::{ArchError, ErrorKind};
use super::eval::Result;
use super::suggest;
use super::syntax::ast::{Function, Ident};
use super::value::Value;
use std::fmt::Write as _;

/// A built-in function.
pub(super) struct Builtin {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    /// One line for the reference.
    pub(super) doc: &'static str,
    /// Computes its value, or adds its nodes to the graph.
    pub(super) lower: fn(&mut Call<'_, '_>) -> Result<Value>,
}

/// A parameter of a built-in function.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// Whether it may be given by position; all may be given by name.
    pub(super) positional: bool,
}

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Tensor,
    Number,
    /// A whole number, not negative.
    Whole,
    TensorOrNumber,
    Text,
    /// The name of a weight, or alternatives.
    Weight,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Anything known when the graph is built.
    Known,
    /// An expression that the lowering evaluates itself, if at all.
    Deferred,
}

/// What holds where a parameter is not given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Default {
    /// It must be given.
    Required,
    /// Nothing: the lowering does without.
    Absent,
    Number(f64),
}

/// A required parameter that may be given by position.
const fn required(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, default: Default::Required, positional: true }
}

/// A parameter given by position or not at all.
const fn optional(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, default: Default::Absent, positional: true }
}

/// A parameter given by name only.
const fn named(name: &'static str, kind: Kind, default: Default) -> Param {
    Param { name, kind, default, positional: false }
}

/// Every built-in function, by group.
const GROUPS: [(&str, &[Builtin]); 5] = [
    ("The model's facts", facts::TABLE),
    ("Tensors", tensor::TABLE),
    ("Attention", attention::TABLE),
    ("Experts", experts::TABLE),
    ("Along the sequence", recurrent::TABLE),
];

/// Every built-in function.
pub(super) fn all() -> impl Iterator<Item = &'static Builtin> {
    GROUPS.iter().flat_map(|(_, table)| table.iter())
}

/// The built-in function of this name.
pub(super) fn get(name: &str) -> Option<&'static Builtin> {
    all().find(|builtin| builtin.name == name)
}

/// The built-in function of this name, or an error with the nearest known name.
pub(super) fn find(name: &Ident, users: &[Function]) -> Result<&'static Builtin> {
    get(&name.text).ok_or_else(|| {
        let known = all().map(|builtin| builtin.name);
        let known = known.chain(users.iter().map(|function| function.name.text.as_str()));
        ArchError::new(ErrorKind::Name, format!("there is no function named `{}`", name.text))
            .label(name.span, "not known")
            .maybe_help(suggest::did_you_mean(&name.text, known))
    })
}

/// The word of this spelling that some parameter takes.
pub(super) fn word(name: &str) -> Option<&'static str> {
    words().find(|word| *word == name)
}

/// Every word that some parameter takes.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    all().flat_map(|builtin| builtin.params).flat_map(|param| match param.kind {
        Kind::Word(words) => words.iter().copied(),
        _ => [].iter().copied(),
    })
}

impl Kind {
    /// In words, for messages.
    pub(super) fn expected(self) -> String {
        match self {
            Kind::Tensor => "a tensor".into(),
            Kind::Number => "a number".into(),
            Kind::Whole => "a whole number".into(),
            Kind::TensorOrNumber => "a tensor or a number".into(),
            Kind::Text => "a text".into(),
            Kind::Weight => "the name of a weight, such as \"output_norm\"".into(),
            Kind::Word(words) => words.join(" or "),
            Kind::Known | Kind::Deferred => "a value known before the model runs".into(),
        }
    }
}

impl Builtin {
    /// `rope(x, base, dims, …)` as the reference and messages show it.
    pub(super) fn signature(&self) -> String {
        let params: Vec<String> = self
            .params
            .iter()
            .map(|param| {
                let name = match (param.positional, param.kind) {
                    (_, Kind::Word(words)) => format!("{} = {}", param.name, words.join("|")),
                    (true, _) => param.name.to_string(),
                    (false, _) => format!("{} = …", param.name),
                };
                match param.default {
                    Default::Required => name,
                    Default::Absent => format!("[{name}]"),
                    Default::Number(number) => format!("[{} = {number}]", param.name),
                }
            })
            .collect();
        format!("{}({})", self.name, params.join(", "))
    }
}

/// The reference of all built-in functions, as Markdown.
pub fn reference() -> String {
    let mut text = String::new();
    for (title, table) in GROUPS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "### {title}\n\n| function | meaning |\n|---|---|");
        for builtin in table {
            let signature = builtin.signature().replace('|', "\\|");
            let _ = writeln!(text, "| `{signature}` | {} |", builtin.doc.replace('|', "\\|"));
        }
        text.push('\n');
    }
    text
}
