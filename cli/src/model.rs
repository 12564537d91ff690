//! From a model's name to its graph: the file, the architecture that serves it, and its text side.

use crate::background::Pending;
use crate::error::{CliError, Result};
use crate::options::PlanArgs;
use crate::store::Store;
use crate::text::Text;
use quarrel_ir::graph::Graph;
use quarrel_ir::weight::WeightSource;
use quarrel_models::arch::{self, ArchFile, Facts, Summary};
use quarrel_models::gguf::GgufFile;
use quarrel_models::synthetic::Synthetic;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a model's facts and weights come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file.
    File(Arc<GgufFile>),
    /// A shape with weights made on the fly.
    Synthetic(Synthetic),
}

impl Source {
    /// The file that a name or path stands for.
    pub(crate) fn open(name: &str) -> Result<Source> {
        let path = Store::open()?.resolve(name)?;
        Ok(Source::File(Arc::new(GgufFile::open(&path)?)))
    }

    /// What architecture files may ask.
    pub(crate) fn facts(&self) -> &dyn Facts {
        match self {
            Source::File(file) => &**file,
            Source::Synthetic(synthetic) => synthetic,
        }
    }

    /// The weights.
    pub(crate) fn weights(&self) -> &dyn WeightSource {
        match self {
            Source::File(file) => &**file,
            Source::Synthetic(synthetic) => synthetic,
        }
    }

    /// Starts building the tokenizer; a synthetic model has none.
    pub(crate) fn start_text(&self) -> Pending<Result<Text>> {
        match self {
            Source::File(file) => {
                let file = Arc::clone(file);
                Pending::start(move || Text::of(file.metadata()))
            }
            Source::Synthetic(_) => {
                Pending::start(|| Err(CliError::user("a synthetic model has no tokenizer")))
            }
        }
    }
}

/// A model by name, or one that exists only as a shape.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Named {
    /// A GGUF file or a model's name
    model: Option<String>,
    /// A shape with pseudo-random weights, such as smollm2-135m:F16, llama-1b:Q4_0 or llama-8b:Q8_0
    #[arg(long, value_name = "SHAPE:FORMAT")]
    synthetic: Option<String>,
}

impl Named {
    /// As the user named it.
    pub(crate) fn name(&self) -> Result<&str> {
        let name = self.model.as_deref().or(self.synthetic.as_deref());
        name.ok_or_else(|| CliError::user("name a model, or a shape with --synthetic"))
    }

    /// Opens it.
    pub(crate) fn source(&self) -> Result<Source> {
        match &self.synthetic {
            Some(text) => Ok(Source::Synthetic(Synthetic::parse(text)?)),
            None => Source::open(self.name()?),
        }
    }
}

/// A model bound to its architecture.
#[derive(Debug)]
pub(crate) struct Model {
    /// As the user named it.
    pub(crate) name: String,
    /// Facts and weights.
    pub(crate) source: Source,
    /// What it computes.
    pub(crate) graph: Graph,
    /// Its extents.
    pub(crate) summary: Summary,
    /// The architecture file that serves it.
    pub(crate) arch: String,
}

impl Model {
    /// Finds the architecture of `source` among the user's and the built-in ones, and builds the
    /// graph.
    pub(crate) fn bind(name: &str, source: Source, plan: &PlanArgs) -> Result<Model> {
        let files = user_architectures(&plan.arch)?;
        let facts = source.facts();
        let blame = |file: Option<&ArchFile>, error| {
            let own = file.is_some_and(|file| files.iter().any(|own| std::ptr::eq(own, file)));
            if own { CliError::Arch(error) } else { CliError::builtin_arch(name, &error) }
        };
        let file = arch::select(facts, &files).map_err(|error| blame(None, error))?;
        let context = plan.context(arch::context_length(facts));
        let graph =
            file.build_for(facts, context.into()).map_err(|error| blame(Some(file), error))?;
        let summary = arch::summary(&graph, facts);
        let arch = format!("{} ({})", file.name(), file.file_name());
        Ok(Model { name: name.into(), source, graph, summary, arch })
    }

    /// Checks that tokenizer and logits agree on the number of tokens.
    pub(crate) fn check_vocabulary(&self, text: &Text) -> Result<()> {
        let rows = usize::try_from(self.summary.vocabulary).unwrap_or(usize::MAX);
        text.tokenizer.check_vocab(rows).map_err(|error| {
            CliError::User(format!(
                "{}: {error}. The file is damaged or was converted wrongly: fetch or convert it \
                 again; --prompt-tokens works without its tokenizer",
                self.name
            ))
        })
    }
}

/// The folder in which users keep architecture files.
pub(crate) fn user_folder() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty());
    let config = set.map(PathBuf::from).or_else(dirs::config_dir)?;
    Some(config.join("quarrel").join("arch"))
}

/// The user's architecture files: those given, then those of the user's folder whose names are not
/// among them.
pub(crate) fn user_architectures(given: &[PathBuf]) -> Result<Vec<ArchFile>> {
    let mut files = given.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let entries = user_folder().and_then(|folder| std::fs::read_dir(folder).ok());
    let mut paths: Vec<PathBuf> =
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "arch"));
    paths.sort();
    for path in paths {
        let file = read(&path)?;
        if !files.iter().any(|known| known.name() == file.name()) {
            files.push(file);
        }
    }
    Ok(files)
}

/// Reads and parses an architecture file.
pub(crate) fn read(path: &Path) -> Result<ArchFile> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|why| {
        CliError::User(format!("the architecture file {name} cannot be read: {why}"))
    })?;
    ArchFile::parse(&name, &text).map_err(CliError::Arch)
}
