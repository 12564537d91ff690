//! The architecture language: a text file that describes a model becomes a graph.
//!
//! | file | what it does |
//! |---|---|
//! | `syntax/` | text → tokens → syntax tree |
//! | `check.rs` | what can be said about a file without a model: names, arguments, recursion |
//! | `facts.rs` | [`Facts`]: what a file may ask about a model |
//! | `eval/` | syntax tree and facts → graph |
//! | `ops/` | the built-in functions, one table entry each |
//! | `asked.rs` | what a file asked of a model, and whether another model would answer alike |
//! | `unread.rs` | metadata that change numbers and that a file did not read |
//! | `select.rs` | the built-in architectures, and which file serves a model |
//! | `draft/` | a first draft of a file, from a model's tensors and metadata |
//! | `error.rs`, `suggest.rs` | diagnostics that point into the file |
//!
//! The language is described in `docs/architecture-language.md`. A file is untrusted: text, nesting,
//! layers, nodes and evaluation steps are bounded, so that none can hang, overflow the stack or
//! fill the memory.

mod asked;
mod check;
mod draft;
mod error;
mod eval;
mod facts;
mod ops;
mod select;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod unread;
mod value;

pub use asked::{Asked, difference};
pub use draft::{Draft, draft};
pub use error::{ArchError, ErrorKind};
pub use facts::{Facts, FactsTable, LlamaShape, MetaValue};
pub use ops::reference;
pub use select::{builtin, select};

use error::Source;
use eval::Evaluator;
use miette::NamedSource;
use quarrel_ir::graph::Graph;
use std::collections::HashSet;
use std::sync::Arc;
use syntax::ast::Arch;

/// A parsed architecture file.
#[derive(Clone, Debug)]
pub struct ArchFile {
    source: Source,
    arch: Arch,
}

/// What a check of an architecture file found.
#[derive(Debug, Default)]
pub struct Report {
    /// Errors, then warnings.
    pub findings: Vec<ArchError>,
    /// The graph, where the check had a model and the file describes it.
    pub graph: Option<Graph>,
}

impl Report {
    /// Whether nothing but warnings was found.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(ArchError::is_warning)
    }
}

/// Facts about a model for people, from its graph and metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Width of the logits.
    pub vocabulary: u64,
    /// Positions that the model was trained for, where its metadata say so.
    pub context_length: Option<u64>,
    /// Layers.
    pub layers: u64,
}

impl ArchFile {
    /// Parses the text of the file `name` (its path, for messages).
    ///
    /// # Errors
    /// [`ErrorKind::Syntax`] where the text is not in the language, [`ErrorKind::Limit`] where it is
    /// too large or nests too deeply.
    pub fn parse(name: &str, text: &str) -> Result<ArchFile, ArchError> {
        let source = Arc::new(NamedSource::new(name, text.to_string()));
        match syntax::parse(text) {
            Ok(arch) => Ok(ArchFile { source, arch }),
            Err(error) => Err(error.within(&source)),
        }
    }

    /// The architecture's name: what follows `arch`.
    pub fn name(&self) -> &str {
        &self.arch.name.text
    }

    /// The file's name, as it was given to [`ArchFile::parse`].
    pub fn file_name(&self) -> &str {
        self.source.name()
    }

    /// The file's text.
    pub fn text(&self) -> &str {
        self.source.inner()
    }

    /// The condition of its `when`, as the file has it.
    pub fn condition(&self) -> Option<&str> {
        let span = self.arch.when.as_ref()?.span;
        self.text().get(span.start as usize..span.end as usize)
    }

    /// The values of `general.architecture` that it serves, on the condition of its `when`.
    pub fn architectures(&self) -> &[String] {
        &self.arch.serves
    }

    /// Whether it serves this model: names its architecture, and its `when` holds.
    ///
    /// # Errors
    /// Where the condition cannot be evaluated.
    pub fn serves(&self, facts: &dyn Facts) -> Result<bool, ArchError> {
        let known = facts.architecture();
        if !self.arch.serves.iter().any(|name| Some(name.as_str()) == known) {
            return Ok(false);
        }
        Evaluator::new(&self.arch, &self.source, facts, trained_context(facts))
            .when()
            .map_err(|error| error.within(&self.source))
    }

    /// The graph of this model for the context that it was trained for: see
    /// [`build_for`](ArchFile::build_for).
    ///
    /// # Errors
    /// As [`build_for`](ArchFile::build_for).
    pub fn build(&self, facts: &dyn Facts) -> Result<Graph, ArchError> {
        self.build_for(facts, trained_context(facts))
    }

    /// The graph of this model for sequences of up to `context` positions. Each node's origin is the statement that it is part of: its name,
    /// layer and line. Whether the file [serves](ArchFile::serves) the model is not asked.
    ///
    /// # Errors
    /// The first thing that is wrong with the file, or does not fit the model.
    pub fn build_for(&self, facts: &dyn Facts, context: u64) -> Result<Graph, ArchError> {
        let findings = check::check(&self.arch);
        if let Some(error) = findings.into_iter().find(|finding| !finding.is_warning()) {
            return Err(error.within(&self.source));
        }
        Evaluator::new(&self.arch, &self.source, facts, context)
            .build()
            .map_err(|error| error.within(&self.source))
    }

    /// Everything that is wrong or doubtful: without a model, what the text alone shows; with one,
    /// also whether it describes it, and which of its tensors it leaves unused.
    pub fn check(&self, facts: Option<&dyn Facts>) -> Report {
        let mut report = Report { findings: check::check(&self.arch), graph: None };
        if let (true, Some(facts)) = (report.is_ok(), facts) {
            match self.build(facts) {
                Ok(graph) => {
                    report.findings.extend(unused_tensors(self, &graph, facts));
                    report.graph = Some(graph);
                }
                Err(error) => report.findings.push(error),
            }
        }
        report.findings.sort_by_key(ArchError::is_warning);
        let findings = std::mem::take(&mut report.findings).into_iter();
        report.findings = findings.map(|finding| finding.within(&self.source)).collect();
        report
    }
}

/// A warning that names the model's tensors that the graph of `file` does not read, if there are any. A
/// tensor that the file names in full is one that it chose not to read.
pub fn unused_tensors(file: &ArchFile, graph: &Graph, facts: &dyn Facts) -> Option<ArchError> {
    const SHOWN: usize = 8;
    let used: HashSet<&str> = graph.weights.iter().map(|info| info.name.as_str()).collect();
    let names = facts.tensor_names();
    let named = |name: &str| {
        file.text().contains(&format!("\"{}\"", name.strip_suffix(".weight").unwrap_or(name)))
    };
    let unread = |name: &&str| !used.contains(name) && !named(name);
    let unused: Vec<&str> = names.into_iter().filter(unread).collect();
    if unused.is_empty() {
        return None;
    }
    let mut list = unused.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>();
    if unused.len() > SHOWN {
        list.push(format!("{} more", unused.len() - SHOWN));
    }
    let message = match unused.len() {
        1 => "one tensor of the model is not used".to_string(),
        count => format!("{count} tensors of the model are not used"),
    };
    let warning = ArchError::new(ErrorKind::Weight, message).warning();
    Some(warning.help(format!("not used: {}", list.join(", "))))
}

/// Facts about a model for people, from its graph and metadata.
pub fn summary(graph: &Graph, facts: &dyn Facts) -> Summary {
    let logits = graph.output().and_then(|logits| graph.tensor(logits));
    let layers: HashSet<u32> =
        graph.values().filter_map(|value| graph.node(value).origin.layer).collect();
    Summary {
        vocabulary: logits.map_or(0, |ty| ty.last()),
        context_length: context_length(facts),
        layers: layers.len() as u64,
    }
}

/// Positions that the model was trained for, where its metadata says so.
pub fn context_length(facts: &dyn Facts) -> Option<u64> {
    let key = facts.architecture().map(|name| format!("{name}.context_length"));
    let context = key.and_then(|key| facts.meta(&key)).or_else(|| facts.meta("context_length"));
    match context {
        Some(MetaValue::Number(number)) if number >= 1.0 => Some(number as u64),
        _ => None,
    }
}

/// What `context` is where nobody says how many positions a sequence will have.
fn trained_context(facts: &dyn Facts) -> u64 {
    context_length(facts).unwrap_or(4096)
}
