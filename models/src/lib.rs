//! models
pub mod arch;
pub mod chat;
pub mod gguf;
pub mod hf;
mod mapped;
pub mod noise;
pub mod synthetic;
pub mod tokenizer;
