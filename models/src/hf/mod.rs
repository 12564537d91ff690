//! Hugging Face folders: `config.json` and safetensors, presented as the GGUF file that llama.cpp's
//! converter would make of them, so that one architecture file serves both.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`HfFolder`]: the opened folder as [`Facts`] and [`WeightSource`] |
//! | `mapping/` | mapping files: one for each class, and what they may say |
//! | `bind.rs` | mapping, configuration and tensors → what is presented |
//! | `recipe.rs` | tensors made from others when they are loaded |
//! | `rope.rs` | Llama 3's rotary factors |
//! | `shards.rs`, `json.rs` | the folder's files, mapped or read, and checked |
//! | `text.rs` | its tokenizer |
//! | `error.rs` | what can be wrong, in words for the folder's owner |
//!
//! Everything in a folder is untrusted: lengths, offsets, shapes and types are checked against the
//! files' sizes before they are used, files are named only within the folder, and what a
//! configuration can ask for is bounded.

mod bind;
mod error;
mod json;
mod mapping;
mod recipe;
mod rope;
mod shards;
#[cfg(test)]
mod tests;
mod text;

pub use error::{HfError, MappingError};
pub use mapping::{Mapping, builtin};

use crate::arch::{Facts, MetaValue};
use crate::gguf::Metadata;
use bind::Bound;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use serde_json::{Map, Value};
use shards::Shards;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The most bytes of `config.json` and its like; those in use have a few kilobytes.
const LARGEST_CONFIG: u64 = 1 << 20;

/// An open folder, bound by a mapping file.
///
/// Its files must not change while it is open, as with [`crate::gguf::GgufFile::open`].
#[derive(Debug)]
pub struct HfFolder {
    path: PathBuf,
    class: String,
    mapping: String,
    stop_ids: Vec<u32>,
    shards: Shards,
    bound: Bound,
}

impl HfFolder {
    /// Opens the folder at `path` and binds it by the mapping file of its class. Files in `extra`
    /// come before the built-in ones.
    ///
    /// # Errors
    /// Names the file, key or tensor that is missing or wrong.
    pub fn open(path: &Path, extra: &[Mapping]) -> Result<HfFolder, HfError> {
        let config_path = path.join("config.json");
        if !config_path.exists() {
            let why = "there is no config.json in this folder: give a folder with a model's \
                       config.json and safetensors files, or the path of a .gguf file";
            return Err(HfError::Folder { folder: path.into(), why: why.into() });
        }
        let config = json::read(&config_path, LARGEST_CONFIG)?;
        let class = config.get("architectures").and_then(|classes| classes.get(0));
        let class = class.and_then(Value::as_str).ok_or_else(|| HfError::File {
            path: config_path,
            why: "it does not say which class the model is of: \"architectures\" is missing".into(),
        })?;
        let mapping = extra
            .iter()
            .chain(builtin())
            .find(|mapping| mapping.classes().iter().any(|known| known == class))
            .ok_or_else(|| unknown(path, class, extra))?;
        refuse_quantised(path, &config)?;
        let shards = Shards::open(path)?;
        let bound = bind::bind(mapping, &config, &shards, &name(path)).map_err(|(at, why)| {
            HfError::Binding { folder: path.into(), why, at: at.to_string() }
        })?;
        let (class, mapping) = (class.to_string(), mapping.file_name().to_string());
        let stop_ids = stop_ids(path, &config)?;
        Ok(HfFolder { path: path.into(), class, mapping, stop_ids, shards, bound })
    }

    /// The model's class: `architectures[0]` of `config.json`.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The name of the mapping file that bound it.
    pub fn mapping(&self) -> &str {
        &self.mapping
    }

    /// The paths of the safetensors files.
    pub fn weight_files(&self) -> impl Iterator<Item = &Path> {
        self.shards.paths()
    }

    /// Bytes of the safetensors files.
    pub fn size(&self) -> u64 {
        self.shards.size()
    }

    /// The metadata that the folder presents.
    pub fn metadata(&self) -> &Metadata {
        &self.bound.metadata
    }

    /// The tensors that the folder presents.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.bound.tensors.iter().map(|(info, _)| info)
    }

    /// The folder's tensors from which none is made, by their own names.
    pub fn unused(&self) -> &[String] {
        &self.bound.unused
    }

    /// The ids at which generation ends: `eos_token_id` of `generation_config.json` and
    /// `config.json`.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    fn find(&self, name: &str) -> Option<&(TensorInfo, recipe::Made)> {
        self.bound.tensors.get(*self.bound.by_name.get(name)?)
    }
}

/// The folder's own name.
fn name(path: &Path) -> String {
    let whole = path.canonicalize();
    let path = whole.as_deref().unwrap_or(path);
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn unknown(path: &Path, class: &str, extra: &[Mapping]) -> HfError {
    let known = extra.iter().chain(builtin()).flat_map(Mapping::classes);
    let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
    HfError::UnknownClass { folder: path.into(), class: class.into(), known }
}

/// Refuses packed weights, whose tensors would be missed by name only.
fn refuse_quantised(path: &Path, config: &Map<String, Value>) -> Result<(), HfError> {
    let Some(quantised) = config.get("quantization_config").filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let method = quantised.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed");
    let why = format!(
        "the weights are quantised (quantization_config: {method}), which is not read: use the \
         model in F32, F16 or BF16, or a quantised GGUF file"
    );
    Err(HfError::Folder { folder: path.into(), why })
}

/// `eos_token_id` of both configurations: a number or a list.
fn stop_ids(path: &Path, config: &Map<String, Value>) -> Result<Vec<u32>, HfError> {
    let generation = path.join("generation_config.json");
    let generation = match generation.exists() {
        true => json::read(&generation, LARGEST_CONFIG)?,
        false => Map::new(),
    };
    let mut ids = Vec::new();
    for value in [&generation, config].into_iter().filter_map(|json| json.get("eos_token_id")) {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        ids.extend(list.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

impl Facts for HfFolder {
    fn architecture(&self) -> Option<&str> {
        self.bound.metadata.string("general.architecture")
    }

    fn meta(&self, key: &str) -> Option<MetaValue> {
        self.bound.metadata.get(key).map(MetaValue::from)
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.info(name)
    }

    fn meta_keys(&self) -> Vec<&str> {
        self.bound.metadata.iter().map(|(key, _)| key).collect()
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.tensors().map(|info| info.name.as_str()).collect()
    }
}

impl WeightSource for HfFolder {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).map(|(info, _)| info)
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        let (_, made) = self.find(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        Ok(made.bytes(&self.shards))
    }

    fn release(&self, name: &str) {
        if let Some((_, made)) = self.find(name) {
            made.sources().into_iter().for_each(|index| self.shards.release(index));
        }
    }
}
