//! models
pub mod gguf;
