//! What can be wrong with a GGUF file, in words for the person who has it.

use super::types;
use std::path::PathBuf;

/// A GGUF file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The operating system would not open or map the file.
    #[error("{} cannot be opened: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// The contents are not a GGUF file that Quarrel reads.
    #[error("{file}: {fault}")]
    Invalid {
        /// The file's path, or words that stand for it.
        file: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

impl GgufError {
    /// What is wrong with the contents; `None` where they could not be read at all.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            GgufError::Io { .. } => None,
            GgufError::Invalid { fault, .. } => Some(fault),
        }
    }
}

/// What is wrong with a file's contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A folder, a pipe or a device.
    #[error("this is not a regular file: give the path of a .gguf file")]
    NotAFile,
    /// No bytes at all.
    #[error("the file is empty: fetch it again")]
    Empty,
    /// The first four bytes are not `GGUF`.
    #[error("this is not a GGUF file: it begins with {begins}. {hint}")]
    NotGguf {
        /// What stands there instead.
        begins: String,
        /// What the file may be, and what to do.
        hint: &'static str,
    },
    /// The numbers are stored most significant byte first.
    #[error(
        "this GGUF file was written for a big-endian machine, which Quarrel does not read: fetch \
         or convert the little-endian file"
    )]
    BigEndian,
    /// A version that is too old or too new.
    #[error("this file is GGUF version {version}; Quarrel reads versions 2 and 3. {}", version_hint(*.version))]
    Version {
        /// The version that the file claims.
        version: u32,
    },
    /// The file ends before something that its header describes.
    #[error(
        "the file ends within {field}: it should reach byte {end}, but there are only {size} bytes. \
         The download was cut short or the file is damaged: fetch it again"
    )]
    Truncated {
        /// What was being read.
        field: String,
        /// Where it would end, in bytes from the file's start.
        end: u64,
        /// The file's size in bytes.
        size: u64,
    },
    /// A length or count that the rest of the file could not hold.
    #[error(
        "{field} is {count}, but the {left} bytes that follow could hold no more than {most}. The \
         download was cut short or the file is damaged: fetch it again"
    )]
    Count {
        /// What is counted.
        field: String,
        /// The count that the file claims.
        count: u64,
        /// The bytes that follow it.
        left: u64,
        /// The most that they could hold.
        most: u64,
    },
    /// A metadata entry is malformed.
    #[error(
        "the metadata entry {key:?} {why}. The file is damaged or was written wrongly: fetch or \
         convert it again"
    )]
    Metadata {
        /// The entry's key, shortened where it is long.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tensor's description is malformed.
    #[error(
        "the tensor {name:?} {why}. The file is damaged or was written wrongly: fetch or convert \
         it again"
    )]
    Tensor {
        /// The tensor's name, shortened where it is long.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tensor is stored in a format that Quarrel has no kernels for.
    #[error(
        "the tensor {name:?} has type {type_name}, which is not supported yet; supported: {}. Use \
         a file in one of these formats, such as Q8_0",
        types::supported()
    )]
    UnsupportedType {
        /// The tensor's name, shortened where it is long.
        name: String,
        /// The type's name and number.
        type_name: String,
    },
    /// A part of a split model whose name does not say which.
    #[error(
        "this is part {no} of a model in {count} files, but its name does not end in {ending:?}, so \
         that the others cannot be found: give the parts their names back"
    )]
    SplitName {
        /// The part, from 1.
        no: usize,
        /// All parts.
        count: usize,
        /// How its name should end.
        ending: String,
    },
    /// Parts of a split model are not there.
    #[error(
        "the model is split over {count} files, of which {missing} {} not in the same folder: fetch \
         what is missing",
        if missing.contains([',', ' ']) { "are" } else { "is" }
    )]
    MissingParts {
        /// All parts.
        count: usize,
        /// Names of those that are missing, the first few.
        missing: String,
    },
    /// A file in the place of a part is not that part.
    #[error(
        "this should be part {no} of {count} of a split model, but says that it is something else: \
         fetch all parts again, from one place"
    )]
    WrongPart {
        /// The part, from 1.
        no: usize,
        /// All parts.
        count: usize,
    },
}

fn version_hint(version: u32) -> &'static str {
    match version {
        0 => "The file is damaged: fetch it again",
        1 => "Version 1 was in use for some weeks in 2023: fetch a newer conversion of the model",
        _ => "The file is newer than this program, or damaged: update Quarrel or fetch it again",
    }
}

/// `text`, cut after 100 characters: names in a damaged file may be megabytes long.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// The fault of a file whose first bytes are not `GGUF`.
pub(super) fn not_gguf(bytes: &[u8]) -> Fault {
    let is_safetensors = bytes.get(8) == Some(&b'{') && bytes.get(4..8) == Some(&[0; 4]);
    let hint = if bytes.starts_with(b"version https://git-lfs") {
        "It is a Git LFS pointer, which stands in place of the model: fetch the file itself"
    } else if bytes.starts_with(b"<") {
        "It looks like a web page saved under the model's name: fetch the file itself"
    } else if bytes.starts_with(b"PK") {
        "It looks like a zip archive or a PyTorch checkpoint: convert or unpack it first"
    } else if [b"lmgg", b"fmgg", b"tjgg", b"algg"].iter().any(|magic| bytes.starts_with(*magic)) {
        "It is in a format that came before GGUF: fetch a GGUF conversion of the model"
    } else if is_safetensors {
        "It looks like a safetensors file: give the folder that holds it and config.json"
    } else {
        "Give the path of a .gguf file"
    };
    let first = &bytes[..bytes.len().min(4)];
    Fault::NotGguf { begins: format!("{:?}", first.escape_ascii().to_string()), hint }
}
