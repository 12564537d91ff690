//! `quarrel inspect`: what a model's file or folder holds, and what it needs to run.

use crate::backend::Device;
use crate::error::Result;
use crate::model::{Model, Source};
use crate::options::PlanArgs;
use crate::output::{self, Table, bytes, count};
use quarrel_ir::format::Format;
use quarrel_ir::weight::TensorInfo;
use quarrel_models::gguf::{Array, Value};
use quarrel_runtime::MemoryNeeds;
use serde::Serialize;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Elements of a metadata array that are shown.
const SHOWN: usize = 6;

/// Show what a model's file holds and what it needs to run
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel inspect smollm2\n  quarrel inspect model.gguf --json | jq \
.formats\n  quarrel inspect model.gguf --ctx 32768"
)]
pub(crate) struct Args {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: String,
    /// Print everything as JSON; long arrays are shortened there too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plan: PlanArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    model: String,
    file_bytes: u64,
    /// Of a GGUF file.
    gguf_version: Option<u32>,
    /// Of a Hugging Face folder.
    folder: Option<Folder>,
    architecture: Option<String>,
    /// The architecture file that serves it.
    served_by: Option<String>,
    /// Why none does.
    not_served: Option<String>,
    parameters: u64,
    layers: Option<u64>,
    vocabulary: Option<u64>,
    context_length: Option<u64>,
    formats: Vec<FormatUse>,
    tokenizer: Tokenizer,
    needs: Needs,
    metadata: Map<String, serde_json::Value>,
    tensors: Vec<Tensor>,
}

/// What is particular to a folder.
#[derive(Serialize)]
struct Folder {
    class: String,
    /// The mapping file that presents it as a GGUF file.
    mapping: String,
    /// The safetensors files.
    files: Vec<String>,
    /// Its tensors that nothing takes.
    unused: Vec<String>,
}

#[derive(Serialize)]
struct FormatUse {
    format: Format,
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    format: Format,
    shape: Vec<u64>,
    bytes: u64,
}

/// The text side, or why there is none.
#[derive(Serialize)]
struct Tokenizer {
    tokens: Option<usize>,
    adds_bos: bool,
    chat_template: bool,
    problem: Option<String>,
    stop_set: Vec<Stop>,
}

#[derive(Serialize)]
struct Stop {
    id: u32,
    piece: String,
    reason: &'static str,
}

/// What it needs on a device, or why that is not known.
#[derive(Serialize)]
struct Needs {
    device: Option<String>,
    context: u32,
    /// How keys and values are kept, where there are any.
    kv: Vec<&'static str>,
    #[serde(flatten)]
    memory: Option<MemoryNeeds>,
    problem: Option<String>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let source = Source::open(&args.model, &args.plan.mapping)?;
    let shared = source.clone();
    let device = Device::start(&args.plan);
    let text = source.start_text();
    let model = Model::bind(&args.model, source, &args.plan);
    let needs = needs(args, model.as_ref().ok(), device.wait());
    let tensors: Vec<Tensor> = shared.tensors().into_iter().map(tensor).collect();
    let summary = model.as_ref().ok().map(|model| &model.summary);
    let output = Output {
        model: args.model.clone(),
        file_bytes: shared.size(),
        gguf_version: match &shared {
            Source::File(file) => Some(file.version()),
            Source::Folder(_) | Source::Synthetic(_) => None,
        },
        folder: folder(&shared),
        architecture: shared.facts().architecture().map(String::from),
        layers: summary.map(|summary| summary.layers),
        vocabulary: summary.map(|summary| summary.vocabulary),
        context_length: summary.and_then(|summary| summary.context_length),
        served_by: model.as_ref().ok().map(|model| model.arch.clone()),
        not_served: model.as_ref().err().map(ToString::to_string),
        parameters: shared.tensors().into_iter().map(TensorInfo::elements).sum(),
        formats: formats(&shared),
        tokenizer: tokenizer(text.wait()),
        needs,
        metadata: shared
            .metadata()
            .into_iter()
            .flat_map(|metadata| metadata.iter().map(|(k, v)| (k.into(), shown(v))))
            .collect(),
        tensors,
    };
    match args.json {
        true => output::json_file(&output),
        false => output::text(&show(&output)),
    }
}

/// What is particular to a folder, if this is one.
fn folder(source: &Source) -> Option<Folder> {
    let Source::Folder(folder) = source else { return None };
    Some(Folder {
        class: folder.class().into(),
        mapping: folder.mapping().into(),
        files: folder.weight_files().map(|path| path.display().to_string()).collect(),
        unused: folder.unused().to_vec(),
    })
}

/// Compiles for the device, if there is one, and reads off the memory.
fn needs(args: &Args, model: Option<&Model>, device: Result<Device>) -> Needs {
    let context = args.plan.context(model.and_then(|model| model.summary.context_length));
    let kv = model.map_or(vec![], |model| model.kept());
    let mut needs = Needs { device: None, context, kv, memory: None, problem: None };
    let (model, facts) = match (model, device.and_then(|device| device.gpu("inspect"))) {
        (Some(model), Ok(gpu)) => (model, gpu.facts()),
        (None, _) => {
            needs.problem = Some("no architecture file serves it".into());
            return needs;
        }
        (_, Err(error)) => {
            needs.problem = Some(error.to_string());
            return needs;
        }
    };
    let options = args.plan.plan_options(context, 1);
    match quarrel_compiler::compile(&model.graph, &facts, &options) {
        Ok(plan) => needs.memory = Some(MemoryNeeds::of(&plan)),
        Err(error) => needs.problem = Some(error.to_string()),
    }
    needs.device = Some(facts.name);
    needs
}

fn tokenizer(text: Result<crate::text::Text>) -> Tokenizer {
    let nothing = Tokenizer {
        tokens: None,
        adds_bos: false,
        chat_template: false,
        problem: None,
        stop_set: Vec::new(),
    };
    match text {
        Err(error) => Tokenizer { problem: Some(error.to_string()), ..nothing },
        Ok(text) => Tokenizer {
            tokens: Some(text.tokenizer.vocab_size()),
            adds_bos: text.tokenizer.adds_bos(),
            chat_template: text.has_template(),
            stop_set: text
                .tokenizer
                .stop_tokens()
                .iter()
                .map(|stop| Stop {
                    id: stop.id,
                    piece: stop.piece.clone(),
                    reason: stop.reason.name(),
                })
                .collect(),
            ..nothing
        },
    }
}

fn tensor(info: &TensorInfo) -> Tensor {
    let TensorInfo { name, format, shape } = info;
    let (name, shape) = (name.clone(), shape.clone());
    Tensor { name, format: *format, shape, bytes: size(info) }
}

/// Bytes in the file; the reader has checked that they can be counted.
fn size(info: &TensorInfo) -> u64 {
    let blocks = info.elements() / info.format.block_len() as u64;
    blocks * info.format.block_bytes() as u64
}

fn formats(source: &Source) -> Vec<FormatUse> {
    let mut uses: BTreeMap<Format, FormatUse> = BTreeMap::new();
    for info in source.tensors() {
        let format = info.format;
        let entry =
            uses.entry(format).or_insert(FormatUse { format, tensors: 0, parameters: 0, bytes: 0 });
        entry.tensors += 1;
        entry.parameters += info.elements();
        entry.bytes += size(info);
    }
    uses.into_values().collect()
}

/// A metadata value with long arrays shortened.
fn shown(value: &Value) -> serde_json::Value {
    match value {
        Value::Array(array) => {
            let mut first: Vec<_> = (0..array.len().min(SHOWN))
                .filter_map(|i| array.get(i))
                .map(|v| shown(&v))
                .collect();
            if array.len() > SHOWN {
                first.push(json!(format!("… {} in all", Array::len(array))));
            }
            serde_json::Value::Array(first)
        }
        Value::Bool(value) => json!(value),
        Value::String(text) => json!(text),
        Value::F32(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::U64(value) => json!(value),
        whole => json!(whole.as_i64()),
    }
}

/// What kind of model this is: a file of a version, or a folder of a class.
fn kind(output: &Output) -> String {
    match (&output.folder, output.gguf_version) {
        (Some(Folder { class, mapping, files, .. }), _) => {
            let files = match files.len() {
                1 => "one safetensors file".to_string(),
                count => format!("{count} safetensors files"),
            };
            format!("{class} in {files}, through {mapping}")
        }
        (None, Some(version)) => format!("GGUF version {version}"),
        (None, None) => "synthetic".into(),
    }
}

/// Everything for people.
fn show(output: &Output) -> String {
    let unknown = || "unknown".to_string();
    let number = |value: Option<u64>| value.map_or_else(unknown, |value| value.to_string());
    let served = match (&output.served_by, &output.not_served) {
        (Some(file), _) => file.clone(),
        (None, why) => format!("nothing: {}", why.as_deref().unwrap_or("no file does")),
    };
    let mut text = String::new();
    // Writing to a string does not fail, here and below.
    let _ = write!(
        text,
        "model         {} ({}, {})\n\
         architecture  {}, served by {}\n\
         parameters    {}\n\
         layers        {}\n\
         vocabulary    {}\n\
         context       {}\n",
        output.model,
        bytes(output.file_bytes),
        kind(output),
        output.architecture.clone().unwrap_or_else(unknown),
        served,
        count(output.parameters).trim_end(),
        number(output.layers),
        number(output.vocabulary),
        number(output.context_length),
    );
    text += &show_tokenizer(&output.tokenizer);
    text += &show_needs(&output.needs);
    let unused = output.folder.as_ref().map_or(&[][..], |folder| &folder.unused);
    if !unused.is_empty() {
        let _ = writeln!(text, "not used      {}", unused.join(", "));
    }
    let mut table = Table::new(["format", "tensors", "parameters", "size"]);
    for FormatUse { format, tensors, parameters, bytes: size } in &output.formats {
        table.row([format.to_string(), tensors.to_string(), parameters.to_string(), bytes(*size)]);
    }
    let _ = write!(text, "\n{}\nmetadata\n", table.render());
    for (key, value) in &output.metadata {
        let mut line = value.to_string();
        if let Some((end, _)) = line.char_indices().nth(120) {
            line.truncate(end);
            line.push('…');
        }
        let _ = writeln!(text, "  {key} = {line}");
    }
    let mut table = Table::new(["tensor", "format", "shape", "size"]);
    for Tensor { name, format, shape, bytes: size } in &output.tensors {
        let shape: Vec<String> = shape.iter().map(u64::to_string).collect();
        table.row([name.clone(), format.to_string(), shape.join(" × "), bytes(*size)]);
    }
    text + "\n" + &table.render()
}

fn show_tokenizer(tokenizer: &Tokenizer) -> String {
    if let Some(problem) = &tokenizer.problem {
        return format!("tokenizer     none: {problem}\n");
    }
    let yes = |has: bool| if has { "yes" } else { "no" };
    let stops: Vec<String> = tokenizer
        .stop_set
        .iter()
        .map(|Stop { id, piece, reason }| format!("{id} {piece:?} ({reason})"))
        .collect();
    let stops = if stops.is_empty() { "nothing".into() } else { stops.join(", ") };
    format!(
        "tokenizer     {} tokens, BOS added: {}, chat template: {}\nstops at      {stops}\n",
        tokenizer.tokens.unwrap_or(0),
        yes(tokenizer.adds_bos),
        yes(tokenizer.chat_template),
    )
}

fn show_needs(needs: &Needs) -> String {
    match (needs.memory, &needs.device, &needs.problem) {
        (Some(memory), Some(device), _) => format!(
            "needs         {} on {device}: {} of weights, {} of states for {} positions{}, {} \
             of intermediate values\n",
            bytes(memory.total()),
            bytes(memory.weights),
            bytes(memory.states),
            needs.context,
            match needs.kv.is_empty() {
                true => String::new(),
                false => format!(" (keys and values in {})", needs.kv.join(" and ")),
            },
            bytes(memory.activations),
        ),
        (_, _, problem) => format!(
            "needs         not known: {}\n",
            problem.as_deref().unwrap_or("it could not be compiled")
        ),
    }
}
