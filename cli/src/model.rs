//! From a model's name to its graph: the file or folder, the architecture that serves it, and its
//! text side.

use crate::background::Pending;
use crate::error::{CliError, Result, rendered};
use crate::options::PlanArgs;
use crate::output;
use crate::store::Store;
use crate::text::{self, Text};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_ir::plan::{Metadatum, Plan, PlanOptions};
use quarrel_ir::weight::{TensorInfo, WeightSource};
use quarrel_models::arch::{self, ArchFile, Asked, Facts, Summary};
use quarrel_models::gguf::{GgufFile, Metadata};
use quarrel_models::hf::{HfFolder, Mapping};
use quarrel_models::synthetic::Synthetic;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a model's facts and weights come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A GGUF file.
    File(Arc<GgufFile>),
    /// A Hugging Face folder.
    Folder(Arc<HfFolder>),
    /// A shape with weights made on the fly.
    Synthetic(Synthetic),
}

impl Source {
    /// The file or folder that a name or path stands for; `mappings` are the user's mapping files.
    pub(crate) fn open(name: &str, mappings: &[PathBuf]) -> Result<Source> {
        let path = Store::open()?.resolve(name)?;
        let mappings = user_mappings(mappings)?;
        if path.is_dir() {
            return Ok(Source::Folder(Arc::new(HfFolder::open(&path, &mappings)?)));
        }
        Ok(Source::File(Arc::new(GgufFile::open(&path)?)))
    }

    /// The metadata of a file, or those that a folder presents; a synthetic model has none.
    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        match self {
            Source::File(file) => Some(file.metadata()),
            Source::Folder(folder) => Some(folder.metadata()),
            Source::Synthetic(_) => None,
        }
    }

    /// The tensors, in the file's order.
    pub(crate) fn tensors(&self) -> Vec<&TensorInfo> {
        match self {
            Source::File(file) => file.tensors().collect(),
            Source::Folder(folder) => folder.tensors().collect(),
            Source::Synthetic(model) => {
                model.tensor_names().into_iter().filter_map(|name| model.tensor(name)).collect()
            }
        }
    }

    /// What a result calls the model: `name`, or what exactly a shape is.
    pub(crate) fn title(&self, name: &str) -> String {
        match self {
            Source::File(_) | Source::Folder(_) => name.into(),
            Source::Synthetic(model) => model.name().into(),
        }
    }

    /// Bytes of the files, or of all tensors of a shape.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Source::File(file) => file.size(),
            Source::Folder(folder) => folder.size(),
            Source::Synthetic(model) => model.size(),
        }
    }

    /// The end ids that the model names apart from its tokenizer.
    pub(crate) fn named_stop_ids(&self) -> Vec<u32> {
        match self {
            Source::File(file) => text::named_stop_ids(file.metadata()),
            Source::Folder(folder) => folder.stop_ids().to_vec(),
            Source::Synthetic(_) => Vec::new(),
        }
    }

    /// What became of the tokenizer, where token ids are given in place of a text.
    pub(crate) fn optional_text(&self, text: Result<Text>) -> Result<Option<Text>> {
        match self {
            Source::File(file) => text::optional(text, file.metadata()),
            // A folder may do without, or have one that is not read.
            Source::Folder(_) | Source::Synthetic(_) => Ok(text.ok()),
        }
    }

    /// What architecture files may ask.
    pub(crate) fn facts(&self) -> &dyn Facts {
        match self {
            Source::File(file) => &**file,
            Source::Folder(folder) => &**folder,
            Source::Synthetic(synthetic) => synthetic,
        }
    }

    /// The weights.
    pub(crate) fn weights(&self) -> &dyn WeightSource {
        match self {
            Source::File(file) => &**file,
            Source::Folder(folder) => &**folder,
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
            Source::Folder(folder) => {
                let folder = Arc::clone(folder);
                Pending::start(move || Text::of_folder(&folder))
            }
            Source::Synthetic(_) => {
                Pending::start(|| Err(CliError::user("a synthetic model has no tokenizer")))
            }
        }
    }
}

/// A model by name, or one that exists only as a shape.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Named {
    #[command(flatten)]
    which: Which,
    /// Cut the shape of --synthetic to its first N layers
    #[arg(long, value_name = "N")]
    layers: Option<u64>,
}

/// One of the two.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: Option<String>,
    /// A shape with pseudo-random weights, such as smollm2-135m:F16, llama-1b:Q4_0 or
    /// llama-8b:Q4_K_M: all matrices have the format, or that of llama.cpp's mixture Q4_K_M
    #[arg(long, value_name = "SHAPE:FORMAT")]
    synthetic: Option<String>,
}

impl Named {
    /// As the user named it.
    pub(crate) fn name(&self) -> Result<&str> {
        let name = self.which.model.as_deref().or(self.which.synthetic.as_deref());
        name.ok_or_else(|| CliError::user("name a model, or a shape with --synthetic"))
    }

    /// The file or folder of a model that has one.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(Store::open()?.resolve(self.name()?)?)
    }

    /// Whether it exists only as a shape.
    pub(crate) fn is_synthetic(&self) -> bool {
        self.which.synthetic.is_some()
    }

    /// The same shape, cut to `layers` layers where the user has not said to how many.
    pub(crate) fn with_layers(&self, layers: u64) -> Named {
        Named { which: self.which.clone(), layers: self.layers.or(Some(layers)) }
    }

    /// Opens it; `mappings` are the user's mapping files.
    pub(crate) fn source(&self, mappings: &[PathBuf]) -> Result<Source> {
        match (&self.which.synthetic, self.layers) {
            (Some(text), layers) => Ok(Source::Synthetic(Synthetic::parse(text, layers)?)),
            (None, None) => Source::open(self.name()?, mappings),
            (None, Some(_)) => Err(CliError::user(
                "--layers cuts a shape: it needs --synthetic in place of a model",
            )),
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
    /// What that file asked of the model: its metadata, and tensors that it does not have.
    asked: (Vec<Metadatum>, Vec<String>),
}

impl Model {
    /// Finds the architecture of `source` among the user's and the built-in ones, and builds the
    /// graph.
    pub(crate) fn bind(name: &str, source: Source, plan: &PlanArgs) -> Result<Model> {
        let files = user_architectures(&plan.arch)?;
        let facts = &Asked::of(source.facts());
        let blame = |file: Option<&ArchFile>, error| {
            let own = file.is_some_and(|file| files.iter().any(|own| std::ptr::eq(own, file)));
            if own { CliError::Arch(error) } else { CliError::builtin_arch(name, &error) }
        };
        let file = arch::select(facts, &files).map_err(|error| blame(None, error))?;
        let context = plan.context(arch::context_length(facts));
        let mut graph =
            file.build_for(facts, context.into()).map_err(|error| blame(Some(file), error))?;
        if let Some(format) = plan.state_format() {
            note_kept(&graph.store_caches_as(format), format);
        }
        let asked = (facts.metadata(), facts.absent());
        if let Some(warning) = arch::unused_tensors(file, &graph, facts) {
            output::remark(&rendered(&warning));
        }
        let summary = arch::summary(&graph, facts);
        let arch = format!("{} ({})", file.name(), file.file_name());
        Ok(Model { name: name.into(), source, graph, summary, arch, asked })
    }

    /// Compiles it. The plan knows what the model must be like.
    pub(crate) fn compile(&self, device: &DeviceFacts, options: &PlanOptions) -> Result<Plan> {
        let mut plan = quarrel_compiler::compile(&self.graph, device, options)?;
        (plan.model.metadata, plan.model.absent) = self.asked.clone();
        Ok(plan)
    }

    /// The formats in which keys and values are kept, each once.
    pub(crate) fn kept(&self) -> Vec<&'static str> {
        let caches = self.graph.caches().into_iter();
        // Ids of the graph's own states.
        let names = caches.map(|id| self.graph.states[id.0 as usize].format.name());
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

/// Checks that tokenizer and logits of the model `name` agree on the number of tokens.
pub(crate) fn check_vocabulary(name: &str, vocabulary: u64, text: &Text) -> Result<()> {
    let rows = usize::try_from(vocabulary).unwrap_or(usize::MAX);
    text.tokenizer.check_vocab(rows).map_err(|error| {
        CliError::User(format!(
            "{name}: {error}. The file is damaged or was converted wrongly: fetch or convert it \
             again; --prompt-tokens works without its tokenizer"
        ))
    })
}

/// Tells the user which keys and values are not kept in the format that was asked for.
fn note_kept(states: &[String], asked: StateFormat) {
    let Some((first, others)) = states.split_first() else { return };
    let others = if others.is_empty() { "".into() } else { format!(" and {} more", others.len()) };
    output::remark(&format!(
        "note: the heads of {first}{others} are no multiples of {} elements, so they are not kept in \
         {} but as without the option\n",
        StateFormat::BLOCK,
        asked.name()
    ));
}

/// The folder in which users keep architecture files.
pub(crate) fn user_folder() -> Option<PathBuf> {
    Some(config_folder()?.join("arch"))
}

/// The folder of what users add.
fn config_folder() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty());
    let config = set.map(PathBuf::from).or_else(dirs::config_dir)?;
    Some(config.join("quarrel"))
}

/// The files of a folder with this extension, by name; none where there is no such folder.
fn files_of(folder: Option<PathBuf>, extension: &str) -> Vec<PathBuf> {
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
    let mut paths: Vec<PathBuf> =
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

/// The user's mapping files: those given, then those of the user's folder.
fn user_mappings(given: &[PathBuf]) -> Result<Vec<Mapping>> {
    let own = files_of(config_folder().map(|folder| folder.join("hf")), "map");
    let read = |path: &PathBuf| -> Result<Mapping> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|why| {
            CliError::User(format!("the mapping file {name} cannot be read: {why}"))
        })?;
        Mapping::parse(&name, &text).map_err(|error| CliError::User(error.to_string()))
    };
    given.iter().chain(&own).map(read).collect()
}

/// The user's architecture files: those given, then those of the user's folder whose names are not
/// among them.
pub(crate) fn user_architectures(given: &[PathBuf]) -> Result<Vec<ArchFile>> {
    let mut files = given.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    for path in files_of(user_folder(), "arch") {
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
