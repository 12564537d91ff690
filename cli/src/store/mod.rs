//! Models by name: what is on this machine, and fetching what is not.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | [`Store`]: from a name to a file, and the list of local models |
//! | `known.rs` | the models that can be pulled by name, their checksums and sources |
//! | `ollama.rs` | reading Ollama's local store |
//! | `pull.rs` | fetching: lock, temporary folder, sources in turn, checksum, rename |
//! | `hub.rs`, `wheel.rs` | the two kinds of source |
//! | `progress.rs` | what is shown meanwhile |
//! | `error.rs` | what can go wrong, and what to do about it |

mod error;
mod hub;
mod known;
mod ollama;
mod progress;
mod pull;
#[cfg(test)]
mod tests;
mod wheel;

pub(crate) use error::{Failure, StoreError};
pub(crate) use progress::Progress;
pub(crate) use pull::Pulled;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The models on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// The folder that holds pulled models.
    models: PathBuf,
    /// Ollama's model folders, in the order they are searched. They need not exist.
    ollama: Vec<PathBuf>,
    /// Overrides of the surroundings, for tests.
    surroundings: Surroundings,
}

/// What tests replace: nothing is replaced by default.
#[derive(Clone, Debug, Default)]
struct Surroundings {
    /// Where programs are looked for, in place of `PATH`.
    path: Option<OsString>,
    /// The address of the model hub.
    hub: Option<String>,
}

/// The folder of what Quarrel keeps: `QUARREL_CACHE` where that is set, else in the user's cache
/// folder. It need not exist; `None` where the user has no such folder.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    match set("QUARREL_CACHE") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("quarrel")),
    }
}

/// A variable of the environment that is not empty.
fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalModel {
    /// The name that [`Store::resolve`] takes.
    pub(crate) name: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// The file's size.
    pub(crate) bytes: u64,
    /// Who put it there.
    pub(crate) origin: Origin,
}

/// Who put a local model where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// `quarrel pull`, or a file put into its folder.
    Pulled,
    /// Ollama.
    Ollama,
}

impl Store {
    /// The user's store: under `QUARREL_CACHE` where that is set, else in the user's cache folder
    /// (`XDG_CACHE_HOME`, `~/.cache` or `~/Library/Caches`). Nothing is created.
    ///
    /// # Errors
    /// [`StoreError::NoCacheFolder`] where the user has no such folder.
    pub(crate) fn open() -> Result<Store, StoreError> {
        let cache = cache_folder().ok_or(StoreError::NoCacheFolder)?;
        let ollama = match set("OLLAMA_MODELS") {
            Some(folder) => vec![PathBuf::from(folder)],
            None => ollama::default_folders(),
        };
        Ok(Store { models: cache.join("models"), ollama, surroundings: Surroundings::default() })
    }

    /// The file that `model` stands for: a path that exists, the name of a pulled model, or a name
    /// in Ollama's store, in this order. The file is not opened; it may also be a folder.
    ///
    /// # Errors
    /// Says what to do where there is no such model: pull it, or the names that are near.
    pub(crate) fn resolve(&self, model: &str) -> Result<PathBuf, StoreError> {
        let path = Path::new(model);
        if path.exists() {
            return Ok(path.into());
        }
        let known = known::find(model);
        let file = known.map_or_else(|| format!("{model}.gguf"), |known| known.file.into());
        if !looks_like_path(model) && self.models.join(&file).is_file() {
            return Ok(self.models.join(file));
        }
        for folder in &self.ollama {
            if let Some(found) = ollama::find(folder, model)? {
                return Ok(found.path);
            }
        }
        Err(match known {
            Some(_) => StoreError::NotPulled { name: model.into() },
            None if looks_like_path(model) => StoreError::NoSuchFile { path: path.into() },
            None => StoreError::UnknownName { name: model.into(), close: self.close_names(model) },
        })
    }

    /// The models on this machine: the pulled ones, then Ollama's, by name.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the folder of pulled models exists and cannot be read. What is
    /// damaged in Ollama's store is left out.
    pub(crate) fn list(&self) -> Result<Vec<LocalModel>, StoreError> {
        let mut models = self.pulled()?;
        models.extend(self.ollama.iter().flat_map(|folder| ollama::list(folder)));
        models.sort_by(|a, b| (a.origin, &a.name).cmp(&(b.origin, &b.name)));
        models.dedup_by(|a, b| a.origin == b.origin && a.name == b.name);
        Ok(models)
    }

    fn pulled(&self) -> Result<Vec<LocalModel>, StoreError> {
        if !self.models.exists() {
            return Ok(Vec::new());
        }
        let io = StoreError::io("read", &self.models);
        let mut models = Vec::new();
        for entry in fs::read_dir(&self.models).map_err(io)? {
            let path = entry.map_err(StoreError::io("read", &self.models))?.path();
            let is_model = path.extension().is_some_and(|extension| extension == "gguf");
            let (Some(file), Ok(about)) =
                (path.file_name().and_then(|n| n.to_str()), path.metadata())
            else {
                continue;
            };
            if is_model && about.is_file() {
                let name = known::name_of_file(file).unwrap_or(file.trim_end_matches(".gguf"));
                let (name, bytes) = (name.to_owned(), about.len());
                models.push(LocalModel { name, path, bytes, origin: Origin::Pulled });
            }
        }
        Ok(models)
    }

    /// At most three names that `name` may have been meant for, the nearest first.
    fn close_names(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = known::names().map(String::from).collect();
        // A suggestion is worth no error of its own.
        names.extend(self.list().unwrap_or_default().into_iter().map(|model| model.name));
        let wanted = name.to_lowercase();
        let likeness = |other: &String| strsim::jaro_winkler(&wanted, &other.to_lowercase());
        let mut rated: Vec<(f64, String)> =
            names.into_iter().map(|other| (likeness(&other), other)).collect();
        rated.retain(|(likeness, _)| *likeness > 0.8);
        rated.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        rated.dedup_by(|a, b| a.1 == b.1);
        rated.into_iter().map(|(_, name)| name).take(3).collect()
    }
}

/// Whether `model` can only have been meant as a path.
fn looks_like_path(model: &str) -> bool {
    let is_file = [".gguf", ".safetensors"].iter().any(|end| model.ends_with(end));
    is_file || model.is_empty() || model.contains(['/', '\\']) || model.starts_with(['.', '~'])
}

/// `bytes` for people: `98.4 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
