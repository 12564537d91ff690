//! models
pub mod arch;
pub mod gguf;
pub mod tokenizer;
