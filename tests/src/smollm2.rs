//! SmolLM2-135M as its Q4_1 file describes it, without the file.

use quarrel_ir::format::Format;
use quarrel_ir::graph::Graph;
use quarrel_ir::weight::TensorInfo;
use quarrel_models::arch::{self, Facts, FactsTable};

/// The facts of `SmolLM2-135M-Instruct.Q4_1.gguf`: matrices in Q4_1, the tied embedding in Q8_0,
/// vectors in F32.
pub fn facts() -> FactsTable {
    let mut facts = FactsTable::smollm2_135m();
    let names: Vec<String> = facts.tensor_names().into_iter().map(String::from).collect();
    for name in names {
        let Some(known) = facts.tensor(&name) else { continue };
        let format = match known.shape.len() {
            1 => Format::F32,
            _ if name.starts_with("token_embd") => Format::Q8_0,
            _ => Format::Q4_1,
        };
        let info = TensorInfo { format, ..known.clone() };
        facts = facts.with_info(info);
    }
    facts
}

/// Its graph, through the built-in architecture file.
///
/// # Panics
/// If it does not build: the suite's own mistake.
pub fn graph() -> Graph {
    let facts = facts();
    let built = arch::select(&facts, &[]).and_then(|arch| arch.build(&facts));
    built.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}
