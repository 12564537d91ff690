//! The built-in architectures, and the choice of the one file that serves a model.

use super::error::{ArchError, ErrorKind};
use super::{ArchFile, Facts};
use std::sync::OnceLock;

/// Names and texts of the built-in files.
const BUILTIN: [(&str, &str); 31] = [
    ("bloom.arch", include_str!("../../arch/bloom.arch")),
    ("cohere2.arch", include_str!("../../arch/cohere2.arch")),
    ("command-r.arch", include_str!("../../arch/command-r.arch")),
    ("dbrx.arch", include_str!("../../arch/dbrx.arch")),
    ("exaone4.arch", include_str!("../../arch/exaone4.arch")),
    ("falcon.arch", include_str!("../../arch/falcon.arch")),
    ("gemma2.arch", include_str!("../../arch/gemma2.arch")),
    ("gemma3.arch", include_str!("../../arch/gemma3.arch")),
    ("glm4.arch", include_str!("../../arch/glm4.arch")),
    ("gpt2.arch", include_str!("../../arch/gpt2.arch")),
    ("gptneox.arch", include_str!("../../arch/gptneox.arch")),
    ("granite.arch", include_str!("../../arch/granite.arch")),
    ("granitehybrid.arch", include_str!("../../arch/granitehybrid.arch")),
    ("llama.arch", include_str!("../../arch/llama.arch")),
    ("mamba.arch", include_str!("../../arch/mamba.arch")),
    ("mamba2.arch", include_str!("../../arch/mamba2.arch")),
    ("mixtral.arch", include_str!("../../arch/mixtral.arch")),
    ("mpt.arch", include_str!("../../arch/mpt.arch")),
    ("nemotron.arch", include_str!("../../arch/nemotron.arch")),
    ("olmo.arch", include_str!("../../arch/olmo.arch")),
    ("olmo2.arch", include_str!("../../arch/olmo2.arch")),
    ("olmoe.arch", include_str!("../../arch/olmoe.arch")),
    ("phi2.arch", include_str!("../../arch/phi2.arch")),
    ("phi3.arch", include_str!("../../arch/phi3.arch")),
    ("qwen2.arch", include_str!("../../arch/qwen2.arch")),
    ("qwen3.arch", include_str!("../../arch/qwen3.arch")),
    ("qwen3moe.arch", include_str!("../../arch/qwen3moe.arch")),
    ("smollm3.arch", include_str!("../../arch/smollm3.arch")),
    ("stablelm.arch", include_str!("../../arch/stablelm.arch")),
    ("starcoder.arch", include_str!("../../arch/starcoder.arch")),
    ("starcoder2.arch", include_str!("../../arch/starcoder2.arch")),
];

/// The built-in architectures.
pub fn builtin() -> &'static [ArchFile] {
    static FILES: OnceLock<Vec<ArchFile>> = OnceLock::new();
    // A test parses each of them, so none is lost here.
    FILES.get_or_init(|| {
        BUILTIN.iter().filter_map(|(name, text)| ArchFile::parse(name, text).ok()).collect()
    })
}

/// The one architecture that serves the model. Files in `extra` replace built-in ones of the same
/// architecture name.
///
/// # Errors
/// [`ErrorKind::Selection`] where none or several serve it; else what is wrong with a condition.
pub fn select<'a>(facts: &dyn Facts, extra: &'a [ArchFile]) -> Result<&'a ArchFile, ArchError> {
    let replaced = |file: &ArchFile| extra.iter().any(|other| other.name() == file.name());
    let candidates: Vec<&ArchFile> =
        extra.iter().chain(builtin().iter().filter(|file| !replaced(file))).collect();
    let mut serving = vec![];
    for file in &candidates {
        if file.serves(facts)? {
            serving.push(*file);
        }
    }
    match serving[..] {
        [one] => Ok(one),
        [] => Err(none_serves(facts, &candidates)),
        _ => Err(ambiguous(facts, &serving)),
    }
}

fn shown(file: &ArchFile) -> String {
    format!("`{}` ({})", file.name(), file.file_name())
}

fn none_serves(facts: &dyn Facts, candidates: &[&ArchFile]) -> ArchError {
    let Some(name) = facts.architecture() else {
        return ArchError::new(
            ErrorKind::Selection,
            "the model does not say which architecture it has: `general.architecture` is missing",
        );
    };
    let serves = |file: &&&ArchFile| file.architectures().iter().any(|known| known == name);
    let close: Vec<String> = candidates.iter().filter(serves).map(|file| shown(file)).collect();
    let message = match close.is_empty() {
        true => format!("no architecture file serves `{name}`"),
        false => format!(
            "no architecture file serves this `{name}`: {} would, but for its condition (`when`)",
            close.join(" and ")
        ),
    };
    let known: Vec<&str> = candidates.iter().map(|file| file.name()).collect();
    ArchError::new(ErrorKind::Selection, message).help(format!(
        "known are: {}.\nTo add one, write a file that starts with `arch NAME serves \"{name}\" {{` \
         and give it with --arch: `quarrel arch new --from MODEL` writes a first draft, and \
         docs/write-an-architecture.md says how to go on",
        known.join(", ")
    ))
}

fn ambiguous(facts: &dyn Facts, serving: &[&ArchFile]) -> ArchError {
    let files: Vec<String> = serving.iter().map(|file| shown(file)).collect();
    let name = facts.architecture().unwrap_or_default();
    let message =
        format!("{} architecture files serve this `{name}`: {}", files.len(), files.join(" and "));
    ArchError::new(ErrorKind::Selection, message).help(
        "tell them apart by metadata, with `when`; to replace a built-in file, give yours the same \
         name after `arch`",
    )
}
