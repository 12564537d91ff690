//! models
pub mod arch;
pub mod chat;
pub mod gguf;
pub mod noise;
pub mod synthetic;
pub mod tokenizer;
