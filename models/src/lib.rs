//! models
pub mod arch;
pub mod chat;
pub mod gguf;
mod mapped;
pub mod synthetic;
pub mod tokenizer;
