//! What is fuzzed: four readers of files that nobody vouches for, each a function of the file's
//! bytes. None may panic, take long, or take more memory than its input is worth, whatever the
//! bytes are; what they accept must be consistent.

use miette::Report;
use peak_alloc::PeakAlloc;
use quarrel_ir::graph::Graph;
use quarrel_ir::weight::WeightSource;
use quarrel_models::arch::{self, ArchFile, Facts, FactsTable, LlamaShape};
use quarrel_models::chat::{ChatError, ChatTemplate, Message, Tools};
use quarrel_models::gguf::GgufFile;
use quarrel_models::hf::{HfFolder, Mapping};
use quarrel_models::tokenizer::{ControlText, Tokenizer, TokenizerSpec};
use std::time::{Duration, Instant};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes of heap that any input may take.
const BASE_BYTES: usize = 64 << 20;
/// Bytes of heap that each byte of the input adds to that.
const BYTES_A_BYTE: usize = 4;
/// The longest that any input may take, with room for a machine that is busy.
const LONGEST: Duration = Duration::from_secs(10);

/// What stands between the files of a folder in the input of [`folder`].
pub const BETWEEN_FILES: &[u8] = b"\n=====\n";

/// Runs `target` on `input` and checks what it took.
///
/// # Panics
/// If that is more than it may.
pub fn bounded(target: fn(&[u8]), input: &[u8]) {
    let (before, start) = (HEAP.current_usage(), Instant::now());
    HEAP.reset_peak_usage();
    target(input);
    let (took, peak) = (start.elapsed(), HEAP.peak_usage().saturating_sub(before));
    let most = BASE_BYTES + BYTES_A_BYTE * input.len();
    assert!(peak <= most, "{peak} bytes of heap for {} bytes of input", input.len());
    assert!(took <= LONGEST, "{took:?} for {} bytes of input", input.len());
}

/// A GGUF file: header, the graph of its model, its tokenizer.
///
/// # Panics
/// If what was accepted is not consistent.
pub fn gguf(input: &[u8]) {
    let file = match GgufFile::from_bytes(input.to_vec()) {
        Ok(file) => file,
        Err(error) => return drop(error.to_string()),
    };
    for info in file.tensors() {
        let bytes = file.bytes(&info.name).expect("a listed tensor has bytes");
        let wanted = info.format.row_bytes(info.row_len()).expect("its rows have a size");
        assert_eq!(bytes.len() as u64, wanted * (info.elements() / info.row_len()), "{info:?}");
    }
    model(&file);
    match TokenizerSpec::from_metadata(file.metadata()).and_then(Tokenizer::from_spec) {
        Ok(tokenizer) => {
            let ids = tokenizer.encode_prompt("Hello, <|im_end|>\u{e9}\u{1F600} 12");
            let text = ids.and_then(|ids| tokenizer.decode(&ids, ControlText::Literal));
            drop(text.map_err(|error| error.to_string()));
        }
        Err(error) => drop(error.to_string()),
    }
}

/// The graph of a model that an architecture file serves.
///
/// # Panics
/// If a graph that was built is not valid.
pub fn model(facts: &dyn Facts) -> Option<Graph> {
    match arch::select(facts, &[]).and_then(|arch| arch.build_for(facts, 64)) {
        Ok(graph) => {
            graph.verify().expect("a graph that was built is valid");
            Some(graph)
        }
        Err(error) => {
            shown(error);
            None
        }
    }
}

/// Errors point into the text: writing one out must work too.
fn shown(error: arch::ArchError) {
    drop(format!("{:?}", Report::new(error)));
}

/// A Hugging Face folder: `config.json`, `model.safetensors`, then perhaps
/// `model.safetensors.index.json` and a mapping file, with [`BETWEEN_FILES`] between them.
///
/// # Panics
/// If what was accepted is not consistent, or the temporary folder cannot be written.
pub fn folder(input: &[u8]) {
    const NAMES: [&str; 3] = ["config.json", "model.safetensors", "model.safetensors.index.json"];
    let mut files = split(input);
    let mapping = (files.len() > NAMES.len()).then(|| files.pop()).flatten();
    let mapping = mapping.and_then(|text| std::str::from_utf8(text).ok());
    let mapping = mapping.map(|text| Mapping::parse("given.map", text));
    let extra: Vec<Mapping> = match mapping {
        Some(Ok(mapping)) => vec![mapping],
        Some(Err(error)) => return drop(error.to_string()),
        None => vec![],
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in NAMES.iter().zip(&files) {
        std::fs::write(folder.path().join(name), bytes).expect("a file in it");
    }
    match HfFolder::open(folder.path(), &extra) {
        Ok(opened) => {
            for info in opened.tensors() {
                let bytes = opened.bytes(&info.name).expect("a listed tensor has bytes");
                let wanted = info.format.row_bytes(info.row_len()).expect("its rows have a size");
                let rows = info.elements() / info.row_len();
                assert_eq!(bytes.len() as u64, wanted * rows, "{info:?}");
            }
            model(&opened);
        }
        Err(error) => drop(error.to_string()),
    }
}

fn split(mut input: &[u8]) -> Vec<&[u8]> {
    let mut files = Vec::new();
    let windows = |input: &[u8]| {
        input.windows(BETWEEN_FILES.len()).position(|window| window == BETWEEN_FILES)
    };
    while files.len() < 3 {
        let Some(at) = windows(input) else { break };
        files.push(&input[..at]);
        input = &input[at + BETWEEN_FILES.len()..];
    }
    files.push(input);
    files
}

/// An architecture file: parsed, checked, and built for a small Llama under each of its names.
///
/// # Panics
/// If a graph that was built is not valid.
pub fn arch(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let file = match ArchFile::parse("given.arch", text) {
        Ok(file) => file,
        Err(error) => return shown(error),
    };
    file.check(None).findings.into_iter().for_each(shown);
    let facts = small_llama();
    if let Err(error) = file.serves(&facts) {
        shown(error);
    }
    let report = file.check(Some(&facts));
    report.findings.into_iter().for_each(shown);
    if let Some(graph) = report.graph {
        graph.verify().expect("a graph that was built is valid");
    }
}

/// The model that [`arch`] builds for.
pub fn small_llama() -> FactsTable {
    let shape = LlamaShape { layers: 2, width: 32, heads: 4, kv_heads: 2, ffn: 64, vocabulary: 40 };
    FactsTable::llama(&shape)
        .with_meta("llama.layer_types", vec![1.0, 0.0])
        .with_meta("llama.ssm.conv_kernel", 4.0)
        .with_tensor("conv.weight", &[32, 4])
        .with_tensor("experts.weight", &[4, 64, 32])
}

/// A chat template, rendered for a conversation of five messages with a tool, and without one. Or
/// messages and tools: what is not a template may be JSON.
///
/// # Panics
/// If it runs until its deadline: its work should be bounded by what is counted.
pub fn chat(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    drop(Message::from_json(text).map_err(|error| error.to_string()));
    drop(Tools::from_json(text).map_err(|error| error.to_string()));
    let calls = r#"[{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2 + 2?\n<b>&\"'"},
        {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 2.5}}}]},
        {"role": "tool", "name": "add", "tool_call_id": "1", "content": "4"},
        {"role": "assistant", "content": "4 \u00e9"}]"#;
    let tools = r#"[{"type": "function", "function": {"name": "add", "description": "Sum",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]"#;
    let messages = Message::from_json(calls).expect("messages");
    let tools = Tools::from_json(tools).expect("tools");
    let result = ChatTemplate::new(text, "<s>", "</s>")
        .and_then(|template| template.ignores(&tools, &messages).map(|_| template))
        .and_then(|template| template.render(&messages, &Tools::default(), false));
    match result {
        Ok(text) => drop(text),
        Err(error) => {
            let bounded = !matches!(error, ChatError::Deadline | ChatError::Crashed);
            assert!(bounded, "{error}");
        }
    }
}
