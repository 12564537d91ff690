//! `--report`: everything about a run in one Markdown file.

use super::system::{self, System};
use super::{Args, Output, llama, print};
use crate::error::{CliError, Result};
use crate::model::{Model, Source};
use crate::output::{Table, bytes, count};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::format::Format;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{BufferRole, Plan};
use quarrel_ir::weight::TensorInfo;
use quarrel_models::tokenizer::ControlText;
use quarrel_runtime::{GenerateOptions, SamplingParams, Session};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;

/// What is continued, by Quarrel and by llama.cpp.
const PROMPT: &str = "The quick brown fox jumps over the lazy dog";
/// Tokens of the continuation.
const TOKENS: usize = 32;

/// What a report says of a plan and what it wrote.
#[derive(Debug)]
pub(super) struct Sample {
    /// How weights, states and sums are kept.
    precision: String,
    /// What follows [`PROMPT`], or why nothing does.
    text: std::result::Result<String, String>,
}

impl Sample {
    /// Reads off the plan and lets it write.
    pub(super) fn take(model: &Model, session: &mut Session) -> Sample {
        Sample {
            precision: precision(session.engine().plan(), &model.graph),
            text: continued(model, session).map_err(|error| error.to_string()),
        }
    }
}

/// What the model writes after the prompt, greedily.
fn continued(model: &Model, session: &mut Session) -> Result<String> {
    let text = model.source.start_text().wait()?;
    model.check_vocabulary(&text)?;
    let prompt = text.tokenizer.encode_prompt(PROMPT)?;
    let stop = text.stop_ids();
    let sampling = SamplingParams::default();
    let options = GenerateOptions { sampling, max_tokens: TOKENS, stop: &stop };
    let made = session.generate(&prompt, options, &mut |_| ControlFlow::Continue(()))?;
    Ok(text.tokenizer.decode(&made.tokens, ControlText::Omit)?)
}

/// How weights, states and sums are kept.
fn precision(plan: &Plan, graph: &Graph) -> String {
    let mut formats: BTreeMap<Format, u64> = BTreeMap::new();
    for tensor in &plan.load {
        *formats.entry(tensor.format).or_default() += tensor.rows * tensor.columns;
    }
    let each = |(format, elements): (Format, u64)| format!("{format}: {}", count(elements).trim());
    let weights: Vec<String> = formats.into_iter().map(each).collect();
    let mut states: Vec<&str> = graph.states.iter().map(|state| state.format.name()).collect();
    states.sort_unstable();
    states.dedup();
    let matrices: Vec<&str> = plan
        .kernels
        .iter()
        .filter(|kernel| kernel.wgsl.contains("coop_mat"))
        .map(|kernel| kernel.name.as_str())
        .collect();
    let activations = match matrices.is_empty() {
        true => "F32".into(),
        false => format!("F32; rounded to F16 as operands in {}", matrices.join(", ")),
    };
    let options = &plan.options;
    let mut table = Table::new(["what", "how"]);
    table.row(["weights on the device, elements".into(), weights.join(", ")]);
    table.row(["activations".into(), activations]);
    table.row(["sums".into(), "F32".into()]);
    table.row(["keys, values and other states".into(), states.join(", ").to_uppercase()]);
    table.row([
        "their size".into(),
        format!(
            "{} bytes for {} positions of {} sequence{}",
            plan.bytes_of(BufferRole::State),
            options.context,
            options.slots,
            if options.slots == 1 { "" } else { "s" }
        ),
    ]);
    let fused = if options.fuse { "fused" } else { "op by op" };
    table.row(["plan".into(), format!("{fused}, prompts in chunks of {}", options.chunk)]);
    table.markdown()
}

/// The whole report.
pub(super) fn text(
    args: &Args,
    model: &Model,
    facts: &DeviceFacts,
    output: &Output,
    sample: &Sample,
    file: Option<&Path>,
) -> String {
    let mut text = format!("# Quarrel on {}\n\n", output.model);
    let command: Vec<String> = std::env::args().collect();
    // Writing to a string does not fail, here and below.
    let _ = write!(
        text,
        "{} UTC, Quarrel {}. Command:\n\n```sh\n{}\n```\n\n",
        system::now(),
        output.version,
        command.join(" ")
    );
    let _ = write!(text, "## System\n\n{}\n", machine().markdown());
    let _ = write!(text, "## Device\n\n{}\n", device(facts, output).markdown());
    let _ = write!(text, "## Model\n\n{}\n", about(model).markdown());
    let _ = write!(text, "{}\n", formats(&model.source).markdown());
    let _ = write!(text, "## Precision\n\n{}\n", sample.precision);
    let _ = write!(
        text,
        "## Tests\n\nTokens a second of {} repetition{} each.\n\n{}\n",
        args.reps,
        if args.reps == 1 { "" } else { "s" },
        print::tests(output).markdown()
    );
    if let Some(splits) = print::splits(&output.tests) {
        let _ = write!(
            text,
            "## Time of a decode step\n\nMicroseconds. The host records later steps while the \
             device is busy; the choice of the token is part of that.\n\n{}\n",
            splits.markdown()
        );
    }
    text += "## Kernels\n\nThe least time is the largest of three, summed over a kernel's \
             dispatches: bytes at the measured copy bandwidth, operations at the measured F32 rate \
             (not of cooperative matrices), an empty dispatch.\n\n";
    for kernels in &output.kernels {
        let _ = write!(text, "### {}\n\n{}\n", kernels.heading(), kernels.table().markdown());
    }
    if let Some(versus) = &output.vs {
        let _ = write!(
            text,
            "## llama.cpp\n\n{}, by\n\n```sh\n{}\n```\n\n{}\n",
            capital(&versus.heading()),
            versus.command(),
            versus.table(&output.tests).markdown()
        );
    }
    text + &texts(args, sample, file)
}

/// The first letter as a capital.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn machine() -> Table {
    let System { os, cpu, processors, memory } = System::here();
    let mut table = Table::new(["what", "value"]);
    table.row(["operating system".into(), os]);
    table.row(["processor".into(), format!("{cpu}, {processors} threads")]);
    table.row(["memory".into(), memory.map_or("unknown".into(), bytes)]);
    table
}

fn device(facts: &DeviceFacts, output: &Output) -> Table {
    let unknown = || "not measured".to_string();
    let mut table = Table::new(["what", "value"]);
    table.row(["device".into(), format!("{} ({:?})", facts.name, facts.kind)]);
    table.row(["backend".into(), facts.backend.clone()]);
    table.row(["driver".into(), facts.driver.clone()]);
    table.row(["subgroup size".into(), facts.subgroup_size.to_string()]);
    let copy = facts.copy_bytes_per_s.map(|speed| format!("{}/s", bytes(speed as u64)));
    table.row(["copies, read plus written".into(), copy.unwrap_or_else(unknown)]);
    let dispatch = facts.dispatch_us.map(|us| format!("{us:.2} µs"));
    table.row(["a dependent dispatch".into(), dispatch.unwrap_or_else(unknown)]);
    let flops = output.roofline.and_then(|roofline| roofline.flops_per_s);
    let flops = flops.map(|flops| format!("{}FLOP/s", count(flops as u64)));
    table.row(["F32 multiply-adds".into(), flops.unwrap_or_else(unknown)]);
    table
}

fn about(model: &Model) -> Table {
    let mut table = Table::new(["what", "value"]);
    let kind = match &model.source {
        Source::File(file) => format!("GGUF version {}", file.version()),
        Source::Folder(folder) => format!("{} folder", folder.class()),
        Source::Synthetic(_) => "synthetic, pseudo-random weights".into(),
    };
    table.row(["name".into(), format!("{} ({kind})", model.source.title(&model.name))]);
    table.row(["architecture".into(), model.arch.clone()]);
    table.row(["size".into(), bytes(model.source.size())]);
    let parameters: u64 = model.source.tensors().into_iter().map(TensorInfo::elements).sum();
    table.row(["parameters".into(), count(parameters).trim().into()]);
    table.row(["layers".into(), model.summary.layers.to_string()]);
    table.row(["vocabulary".into(), model.summary.vocabulary.to_string()]);
    table
}

/// Tensors by format.
fn formats(source: &Source) -> Table {
    let mut uses: BTreeMap<Format, (u64, u64)> = BTreeMap::new();
    for info in source.tensors() {
        let (tensors, elements) = uses.entry(info.format).or_default();
        *tensors += 1;
        *elements += info.elements();
    }
    let mut table = Table::new(["tensor type", "tensors", "parameters", "size"]);
    for (format, (tensors, elements)) in uses {
        let size = elements / format.block_len() as u64 * format.block_bytes() as u64;
        let elements = count(elements).trim().to_string();
        table.row([format.to_string(), tensors.to_string(), elements, bytes(size)]);
    }
    table
}

/// What both write after the same prompt.
fn texts(args: &Args, sample: &Sample, file: Option<&Path>) -> String {
    let mut text = format!("## Text\n\nGreedily, {TOKENS} tokens at most, after `{PROMPT}`.\n\n");
    let mut add = |who: &str, said: std::result::Result<String, String>| {
        let _ = match said {
            // A fence longer than any in the text.
            Ok(said) => write!(text, "{who}:\n\n~~~~~~text\n{}\n~~~~~~\n\n", said.trim_end()),
            Err(why) => write!(text, "{who}: none ({why}).\n\n"),
        };
    };
    add("Quarrel", sample.text.clone());
    if let (Some(bench), Some(file)) = (&args.vs, file) {
        let said = llama::text(bench, file, PROMPT, TOKENS);
        add("llama.cpp", said.map_err(|error| error.to_string()));
    }
    text.trim_end().to_string() + "\n"
}

/// Refuses early what cannot be written.
pub(super) fn check(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            Err(CliError::User(format!("--report: there is no folder {}", folder.display())))
        }
        _ if path.is_dir() => {
            Err(CliError::User(format!("--report: {} is a folder", path.display())))
        }
        _ => Ok(()),
    }
}

/// Writes the report.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|why| {
        CliError::Failure(format!("the report {} cannot be written: {why}", path.display()))
    })
}
