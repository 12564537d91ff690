//! What can be wrong with a Hugging Face folder, in words for the person who has it.

use std::path::PathBuf;

/// A folder could not be read as a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HfError {
    /// The operating system would not open or map a file.
    #[error("{} cannot be read: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// The folder does not hold the files of a model.
    #[error("{}: {why}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is missing, and what to do.
        why: String,
    },
    /// A file's contents are not what they should be.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// No mapping file serves the model's class.
    #[error(
        "{}: no mapping file serves the class {class:?}; known are {known}. To add it, write a \
         mapping file that starts with `class {class}` and give it with --mapping; \
         docs/mapping-files.md describes how",
        folder.display()
    )]
    UnknownClass {
        /// The folder.
        folder: PathBuf,
        /// `architectures[0]` of `config.json`.
        class: String,
        /// The classes that mapping files serve, comma separated.
        known: String,
    },
    /// The mapping file does not fit the model.
    #[error("{}: {why} [{at}]", folder.display())]
    Binding {
        /// The folder.
        folder: PathBuf,
        /// What does not fit, and what to do.
        why: String,
        /// The place in the mapping file.
        at: String,
    },
    /// A mapping file is not in the language.
    #[error(transparent)]
    Mapping(#[from] MappingError),
}

/// A mapping file is not in the language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {why}\n  | {text}")]
pub struct MappingError {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The line's text.
    pub text: String,
    /// What is wrong, and what was expected.
    pub why: String,
}
