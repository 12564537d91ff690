//! `--report`: everything about a run in one Markdown file.

use super::system::{self, System};
use super::{Args, Output, llama, print};
use crate::error::Result;
use crate::model::{Model, Source, check_vocabulary};
use crate::output::{Table, bytes, count};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::format::Format;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{BufferRole, Kernel, Plan};
use quarrel_ir::weight::TensorInfo;
use quarrel_models::tokenizer::ControlText;
use quarrel_runtime::{GenerateOptions, SamplingParams, Session};
use std::collections::BTreeMap;
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
    check_vocabulary(&model.name, model.summary.vocabulary, &text)?;
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
    let mut activations = "F32".to_string();
    let mut rounded = |what: &str, rounds: fn(&Kernel) -> bool| {
        let kernels = plan.kernels.iter().filter(|kernel| rounds(kernel));
        let names: Vec<&str> = kernels.map(|kernel| kernel.name.as_str()).collect();
        if !names.is_empty() {
            activations += &format!("; rounded to {what} as operands in {}", names.join(", "));
        }
    };
    rounded("F16", Kernel::multiplies_matrices);
    rounded("integers of 16 bits", Kernel::multiplies_integers);
    let (options, size) = (&plan.options, plan.bytes_of(BufferRole::State));
    let mut table = Table::new(["what", "how"]);
    table.row(["weights on the device, elements".into(), weights.join(", ")]);
    table.row(["activations".into(), activations]);
    table.row(["sums".into(), "F32".into()]);
    table.row(["keys, values and other states".into(), states.join(", ").to_uppercase()]);
    table.row([
        "their size".into(),
        format!(
            "{} bytes ({}) for {} positions of {} sequence{}",
            size,
            bytes(size),
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
    let mut text = format!(
        "# Quarrel on {}\n\n{} UTC, Quarrel {}. Command:\n\n```sh\n{}\n```\n",
        output.model,
        system::now(),
        output.version,
        command()
    );
    let mut section = |title: &str, body: &str| text += &format!("\n## {title}\n\n{body}");
    section("System", &machine().markdown());
    section("Device", &device(facts).markdown());
    let formats = formats(&model.source).markdown();
    section("Model", &format!("{}\n{formats}", about(model).markdown()));
    section("Precision", &sample.precision);
    let s = if args.reps == 1 { "" } else { "s" };
    let tests = print::tests(output).markdown();
    let head = format!(
        "Tokens a second, of {} repetition{s} each; `tokens/s` is the median, `seconds` that of one.",
        args.reps
    );
    section("Tests", &format!("{head}\n\n{tests}"));
    if let Some(splits) = print::splits(&output.tests) {
        section("Time of a decode step", &format!("{SPLITS}\n\n{}", splits.markdown()));
    }
    section("Kernels", &kernels(output));
    if let Some(versus) = &output.vs {
        let (heading, table) = (capital(&versus.heading()), versus.table(&output.tests));
        let command = versus.command();
        let body = format!("{heading}, by\n\n```sh\n{command}\n```\n\n{}", table.markdown());
        section("llama.cpp", &body);
    }
    section("Text", &texts(args, sample, file));
    text
}

const SPLITS: &str = "Microseconds. The host records later steps while the device is busy; the \
                      choice of the token is part of that.";

const PREDICTED: &str = "Predicted from what was measured on the device and nothing else, summed over a \
                         kernel's dispatches: the longest of its bytes in a copy of as many, of its \
                         operations at the measured rate, and of an empty dispatch; then its barriers.";

fn kernels(output: &Output) -> String {
    let mut text = format!("{PREDICTED}\n");
    for kernels in &output.kernels {
        text += &format!("\n### {}\n\n{}", kernels.heading(), kernels.table().markdown());
    }
    text
}

/// The command line of this run.
fn command() -> String {
    let quoted = |word: std::ffi::OsString| {
        let word = word.to_string_lossy().into_owned();
        if word.contains(char::is_whitespace) { format!("{word:?}") } else { word }
    };
    std::env::args_os().map(quoted).collect::<Vec<_>>().join(" ")
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

fn device(facts: &DeviceFacts) -> Table {
    let unknown = || "not measured".to_string();
    let mut table = Table::new(["what", "value"]);
    table.row(["device".into(), format!("{} ({:?})", facts.name, facts.kind)]);
    table.row(["backend".into(), facts.backend.clone()]);
    table.row(["driver".into(), facts.driver.clone()]);
    table.row(["subgroup size".into(), facts.subgroup_size.to_string()]);
    let copy = facts.speeds.copy_bytes_per_s.map(|speed| format!("{}/s", bytes(speed as u64)));
    table.row(["copies, read plus written".into(), copy.unwrap_or_else(unknown)]);
    let dispatch = facts.speeds.dispatch_us.map(|us| format!("{us:.2} µs"));
    table.row(["a dependent dispatch".into(), dispatch.unwrap_or_else(unknown)]);
    let flops = facts.speeds.flops_per_s.map(|flops| format!("{}FLOP/s", count(flops as u64)));
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
    let mut text = format!("Greedily, {TOKENS} tokens at most, after `{PROMPT}`.\n");
    let mut add = |who: &str, said: std::result::Result<String, String>| {
        text += &match said {
            // A fence longer than any in the text.
            Ok(said) => format!("\n{who}:\n\n~~~~~~text\n{}\n~~~~~~\n", said.trim_end()),
            Err(why) => format!("\n{who}: none ({why}).\n"),
        };
    };
    add("Quarrel", sample.text.clone());
    if let (Some(bench), Some(file)) = (&args.vs, file) {
        let said = llama::text(bench, file, PROMPT, TOKENS);
        add("llama.cpp", said.map_err(|error| error.to_string()));
    }
    text
}
