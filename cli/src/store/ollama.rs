//! Reading Ollama's local store: `manifests/HOST/NAMESPACE/MODEL/TAG` is JSON that lists layers; the
//! layer that is the model names a file in `blobs/`.

use super::{LocalModel, Origin, StoreError};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The host that names without one mean.
const HOST: &str = "registry.ollama.ai";
/// The namespace that names without one mean.
const NAMESPACE: &str = "library";
/// The tag that names without one mean.
const TAG: &str = "latest";
/// The layer that is a GGUF file.
const MODEL_LAYER: &str = "application/vnd.ollama.image.model";
/// More than any manifest has, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
}

/// Where Ollama keeps models unless told otherwise: the user's folder, and on Linux that of the
/// service which its installer sets up.
pub(super) fn default_folders() -> Vec<PathBuf> {
    let user = dirs::home_dir().map(|home| home.join(".ollama").join("models"));
    let service = cfg!(target_os = "linux").then(|| "/usr/share/ollama/.ollama/models".into());
    user.into_iter().chain(service).collect()
}

/// The model that Ollama calls `name` (`[[HOST/]NAMESPACE/]MODEL[:TAG]`), if `folder` has it.
pub(super) fn find(folder: &Path, name: &str) -> Result<Option<LocalModel>, StoreError> {
    let Some(parts) = parse(name) else { return Ok(None) };
    let manifest: PathBuf = [folder, Path::new("manifests")].iter().collect();
    let manifest = parts.iter().fold(manifest, |path, part| path.join(part));
    if !manifest.is_file() {
        return Ok(None);
    }
    let bad = |why| StoreError::Ollama { name: name.into(), why };
    read(folder, &manifest).map_err(bad).map(|(path, bytes)| {
        Some(LocalModel { name: name.into(), path, bytes, origin: Origin::Ollama })
    })
}

/// Every model in `folder` that is whole.
pub(super) fn list(folder: &Path) -> Vec<LocalModel> {
    let mut models = Vec::new();
    for host in children(&folder.join("manifests")) {
        for namespace in children(&host) {
            for model in children(&namespace) {
                for manifest in children(&model) {
                    let parts = [&host, &namespace, &model, &manifest].map(|path| last(path));
                    if let ([Some(host), Some(namespace), Some(model), Some(tag)], Ok(found)) =
                        (parts, read(folder, &manifest))
                    {
                        let name = display([host, namespace, model, tag]);
                        let (path, bytes) = found;
                        models.push(LocalModel { name, path, bytes, origin: Origin::Ollama });
                    }
                }
            }
        }
    }
    models
}

/// Host, namespace, model and tag; `None` where the name cannot be one of Ollama's.
fn parse(name: &str) -> Option<[&str; 4]> {
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (name, TAG),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let parts = match parts[..] {
        [model] => [HOST, NAMESPACE, model, tag],
        [namespace, model] => [HOST, namespace, model, tag],
        [host, namespace, model] => [host, namespace, model, tag],
        _ => return None,
    };
    parts.iter().all(|part| is_plain(part)).then_some(parts)
}

/// Whether a part of a name is safe as a part of a path.
fn is_plain(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
}

/// The name as Ollama shows it.
fn display([host, namespace, model, tag]: [&str; 4]) -> String {
    match (host, namespace) {
        (HOST, NAMESPACE) => format!("{model}:{tag}"),
        (HOST, _) => format!("{namespace}/{model}:{tag}"),
        _ => format!("{host}/{namespace}/{model}:{tag}"),
    }
}

/// The model file that a manifest names, and its size.
fn read(folder: &Path, manifest: &Path) -> Result<(PathBuf, u64), String> {
    let size = manifest.metadata().map_err(|why| format!("its manifest: {why}"))?.len();
    if size > MAX_MANIFEST {
        return Err("its manifest is too large to be one".into());
    }
    let text = fs::read(manifest).map_err(|why| format!("its manifest: {why}"))?;
    let parsed: Manifest =
        serde_json::from_slice(&text).map_err(|why| format!("its manifest is damaged: {why}"))?;
    let layer = parsed.layers.iter().find(|layer| layer.media_type == MODEL_LAYER);
    let layer = layer.ok_or("its manifest names no model file")?;
    let hash = layer.digest.strip_prefix("sha256:");
    let hash = hash.filter(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()));
    let hash = hash.ok_or_else(|| format!("its manifest has the odd digest {:?}", layer.digest))?;
    let path = folder.join("blobs").join(format!("sha256-{hash}"));
    match path.metadata() {
        Ok(about) if about.is_file() => Ok((path, about.len())),
        _ => Err(format!("{} is missing", path.display())),
    }
}

/// What a folder holds; nothing where it cannot be read.
fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn last(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
