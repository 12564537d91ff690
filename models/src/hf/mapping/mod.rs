//! Mapping files: how a Hugging Face class presents itself as the GGUF file that llama.cpp's
//! converter would write. The language is described in `docs/mapping-files.md`.
//!
//! | file | what it does |
//! |---|---|
//! | `ast.rs` | what a mapping file says |
//! | `lexer.rs`, `parser.rs` | text → statements |
//! | `evaluate.rs` | expressions over `config.json` |

pub(super) mod ast;
pub(super) mod evaluate;
mod lexer;
mod parser;

use super::error::MappingError;
use ast::{At, Name, Statement, Take};
use std::sync::{Arc, OnceLock};

/// Names and texts of the built-in files. Those without a class are for `include`.
const BUILTIN: [(&str, &str); 15] = [
    ("rope", include_str!("../../../hf/rope.map")),
    ("decoder", include_str!("../../../hf/decoder.map")),
    ("feed_forward", include_str!("../../../hf/feed_forward.map")),
    ("interleaved", include_str!("../../../hf/interleaved.map")),
    ("gemma", include_str!("../../../hf/gemma.map")),
    ("llama", include_str!("../../../hf/llama.map")),
    ("mistral", include_str!("../../../hf/mistral.map")),
    ("mixtral", include_str!("../../../hf/mixtral.map")),
    ("qwen2", include_str!("../../../hf/qwen2.map")),
    ("qwen3", include_str!("../../../hf/qwen3.map")),
    ("qwen3moe", include_str!("../../../hf/qwen3moe.map")),
    ("gemma2", include_str!("../../../hf/gemma2.map")),
    ("gemma3", include_str!("../../../hf/gemma3.map")),
    ("phi3", include_str!("../../../hf/phi3.map")),
    ("granite", include_str!("../../../hf/granite.map")),
];
/// Includes within includes.
const MAX_DEPTH: usize = 4;
/// The most bytes of a mapping file.
const LARGEST: usize = 64 << 10;

/// A parsed mapping file, with what it includes.
#[derive(Clone, Debug)]
pub struct Mapping {
    file: Arc<str>,
    /// The classes that it serves.
    classes: Vec<String>,
    /// The value of `general.architecture` that it presents.
    arch: String,
    /// In order: of those that name the same thing, only the first is there.
    pub(super) statements: Vec<(At, Statement)>,
}

impl Mapping {
    /// Parses the text of the file `name` (its path, for messages).
    ///
    /// # Errors
    /// Names the line and what was expected there.
    pub fn parse(name: &str, text: &str) -> Result<Mapping, MappingError> {
        let mut all = Vec::new();
        gather(&Arc::from(name), text, 0, &mut all)?;
        let statements = first_of_each(all)?;
        let end = |why: &str| MappingError {
            file: name.into(),
            line: 1,
            text: text.lines().next().unwrap_or_default().into(),
            why: why.into(),
        };
        let own = |(at, _): &&(At, Statement)| at.depth == 0;
        let classes: Vec<String> = statements
            .iter()
            .filter(own)
            .filter_map(|(_, statement)| match statement {
                Statement::Class(names) => Some(names.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let arch = statements.iter().find_map(|(_, statement)| match statement {
            Statement::Arch(name) => Some(name.clone()),
            _ => None,
        });
        if classes.is_empty() {
            return Err(end(
                "the file names no class: it needs a line such as `class LlamaForCausalLM`",
            ));
        }
        let arch = arch.ok_or_else(|| {
            end("the file names no GGUF architecture: it needs a line such as `arch llama`")
        })?;
        Ok(Mapping { file: Arc::from(name), classes, arch, statements })
    }

    /// The file's name, as it was given to [`Mapping::parse`].
    pub fn file_name(&self) -> &str {
        &self.file
    }

    /// The values of `architectures[0]` that it serves.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The value of `general.architecture` that it presents.
    pub fn arch(&self) -> &str {
        &self.arch
    }
}

/// The built-in mapping files.
pub fn builtin() -> &'static [Mapping] {
    static FILES: OnceLock<Vec<Mapping>> = OnceLock::new();
    // A test parses each of them, so none is lost here.
    FILES.get_or_init(|| {
        let parse = |(name, text): &(&str, &str)| Mapping::parse(&format!("{name}.map"), text).ok();
        BUILTIN.iter().filter_map(parse).collect()
    })
}

/// Appends the file's statements, with those of the files that it includes in their places.
fn gather(
    file: &Arc<str>,
    text: &str,
    depth: usize,
    all: &mut Vec<(At, Statement)>,
) -> Result<(), MappingError> {
    let error = |line: usize, why: String| MappingError {
        file: file.to_string(),
        line,
        text: text.lines().nth(line.saturating_sub(1)).unwrap_or_default().into(),
        why,
    };
    if text.len() > LARGEST {
        return Err(error(1, format!("the file has more than {LARGEST} bytes")));
    }
    let statements = parser::parse(text).map_err(|(line, why)| error(line, why))?;
    for (line, statement) in statements {
        let at = At { file: Arc::clone(file), line, depth };
        let Statement::Include(name) = &statement else {
            all.push((at, statement));
            continue;
        };
        let found = BUILTIN.iter().find(|(known, _)| known == name);
        let Some((_, text)) = found else {
            let known = BUILTIN.map(|(name, _)| name).join(", ");
            return Err(error(line, format!("there is no built-in file {name:?}: {known}")));
        };
        if depth == MAX_DEPTH {
            return Err(error(line, format!("files are included more than {MAX_DEPTH} deep")));
        }
        gather(&Arc::from(format!("{name}.map")), text, depth + 1, all)?;
    }
    Ok(())
}

/// What a statement defines, where it defines something that can be defined once.
fn defines(statement: &Statement) -> Option<(&'static str, &str)> {
    match statement {
        Statement::Arch(_) => Some(("arch", "")),
        Statement::Layers(_) => Some(("layers", "")),
        Statement::Let(name, _) => Some(("let", name)),
        Statement::Meta(meta) => Some(("meta", &meta.key)),
        Statement::Tensor(tensor) => Some(("tensor", &tensor.name.text)),
        Statement::Class(_)
        | Statement::Include(_)
        | Statement::Require { .. }
        | Statement::Ignore { .. } => None,
    }
}

/// Statements of which each defines something new. What a file says comes before what it includes
/// says of the same thing, if it stands before.
fn first_of_each(all: Vec<(At, Statement)>) -> Result<Vec<(At, Statement)>, MappingError> {
    let mut kept: Vec<(At, Statement)> = Vec::with_capacity(all.len());
    for (at, statement) in all {
        let same = defines(&statement).and_then(|what| {
            kept.iter()
                .find(|(_, other)| defines(other) == Some(what))
                .map(|(other, _)| (what, other))
        });
        match same {
            Some((_, first)) if at.depth > 0 && at.file != first.file => {}
            Some(((kind, name), first)) => {
                return Err(MappingError {
                    file: at.file.to_string(),
                    line: at.line,
                    text: format!("{kind} {name}"),
                    why: format!(
                        "this is defined already, in {first}: a file's own definitions stand before \
                         its `include`"
                    ),
                });
            }
            None => kept.push((at, statement)),
        }
    }
    Ok(kept)
}

/// The names of the tensors that a source takes, for messages.
pub(super) fn names_in(take: &Take) -> Vec<&Name> {
    match take {
        Take::Stored(name) => vec![name],
        Take::Permute { of, .. }
        | Take::Transpose(of)
        | Take::Slice { of, .. }
        | Take::Stack { of, .. }
        | Take::Add { of, .. }
        | Take::NegExp(of) => names_in(of),
        Take::Concat(parts) | Take::FirstOf(parts) => parts.iter().flat_map(names_in).collect(),
        Take::Numbers(_) | Take::Llama3Factors(_) => vec![],
    }
}
