//! `--check`: every kernel beside the reference, on this device and with the model's own weights.

use super::Args;
use crate::backend::{Device, GpuModel};
use crate::error::{CliError, Result};
use crate::measured;
use crate::memory::available_memory;
use crate::model::{Model, check_vocabulary};
use crate::output::{self, Table};
use crate::text::Text;
use quarrel_check::{Diverging, KernelErrors, Layers, Report, Script};
use quarrel_ir::graph::{Graph, Op, RunDim};
use quarrel_ir::plan::{Phase, Plan};
use serde::Serialize;
use std::num::NonZero;

/// What a text is where none is given: more tokens than one tile of most kernels.
const TEXT: &str = "A compiler reads a model as a graph, puts together what one kernel can compute, and \
                    writes each kernel for the device at hand. Then somebody asks whether the numbers \
                    are right, and";
/// Tokens of a prompt for models without a tokenizer.
const TOKENS: u32 = 40;
/// Multiplications that the reference may take for one processor before only some layers are compared.
const MOST_WORK: f64 = 2.5e10;

/// How `--check` checks.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Checking")]
pub(super) struct CheckArgs {
    /// Run each kernel on this device and compare it with the reference, by a text [default: one of
    /// ours]; the exit code is 1 where one diverges
    #[arg(long, value_name = "PROMPT", num_args = 0..=1,
          conflicts_with_all = ["facts", "kernel", "emit", "stage", "format", "save", "explain", "barriers",
                                "measure"])]
    check: Option<Option<String>>,
    /// Token ids in place of the text of --check
    #[arg(long, value_name = "IDS", value_delimiter = ',', requires = "check")]
    prompt_tokens: Option<Vec<u32>>,
    /// Decode steps after the prompt of --check
    #[arg(long, value_name = "N", requires = "check", default_value_t = 2)]
    check_steps: u32,
    /// Layers that --check compares: `all`, or numbers such as 0,12,25 [default: all, or the first,
    /// one in the middle and the last where the reference would take too long or too much memory]
    #[arg(long, value_name = "LAYERS", requires = "check", value_parser = layers_of)]
    check_layers: Option<Layers>,
}

impl CheckArgs {
    /// Whether a check is wanted.
    pub(super) fn wanted(&self) -> bool {
        self.check.is_some()
    }
}

fn layers_of(text: &str) -> std::result::Result<Layers, String> {
    if text == "all" {
        return Ok(Layers::All);
    }
    let numbers = text.split(',').map(|number| number.trim().parse::<u32>());
    let numbers = numbers.collect::<std::result::Result<_, _>>();
    numbers.map(Layers::Some).map_err(|_| "layers are `all`, or numbers such as 0,12,25".into())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    model: &'a str,
    device: String,
    prompt_tokens: &'a [u32],
    #[serde(flatten)]
    report: &'a Report,
}

/// Checks a plan that was saved, or the one that the options ask for.
pub(super) fn execute(args: &Args, model: &Model, saved: Option<Plan>) -> Result<()> {
    let text = args.check.prompt_tokens.is_none().then(|| model.source.start_text());
    let gpu = Device::start(&args.subject.plan).wait()?.gpu("quarrel plan --check")?;
    let plan = match saved {
        Some(plan) => plan,
        None => {
            let context = args.subject.plan.context(model.summary.context_length);
            model.compile(&measured::facts(&gpu), &args.subject.plan.plan_options(context, 1))?
        }
    };
    let prompt = match text {
        Some(text) => prompt(args, model, text.wait(), plan.options.context)?,
        None => args.check.prompt_tokens.clone().unwrap_or_default(),
    };
    let device = gpu.facts().name;
    let compiled = GpuModel::of(plan, gpu);
    let layers = layers(args, model, prompt.len(), compiled.plan.model.layers)?;
    let script = Script { prompt, decode: args.check.check_steps as usize, layers };
    let phases = [Phase::Prefill, Phase::Decode, Phase::Greedy, Phase::Sample];
    let session = compiled.load(model.source.weights(), &phases)?;
    let graph = quarrel_compiler::canonical(&model.graph)?;
    let weights = model.source.weights();
    let report = quarrel_check::check(session.engine(), &graph, weights, &script)?;
    let title = model.source.title(&model.name);
    if args.json {
        let prompt_tokens = &script.prompt;
        output::json(&Output { model: &title, device, prompt_tokens, report: &report })?;
    } else {
        output::text(&text_of(&title, &device, &script, &report))?;
    }
    match (report.passed, report.first) {
        (true, _) => Ok(()),
        (false, Some(first)) => Err(CliError::Failure(diverging(&first))),
        (false, None) => Err(CliError::Failure(
            "the steps in one pass yield other logits than their dispatches one by one".into(),
        )),
    }
}

/// The ids of the text that was given, or of ours; of a model without a tokenizer some ids.
fn prompt(args: &Args, model: &Model, text: Result<Text>, context: u32) -> Result<Vec<u32>> {
    let vocabulary = u32::try_from(model.summary.vocabulary).unwrap_or(u32::MAX).max(1);
    let room = context.saturating_sub(args.check.check_steps).max(1) as usize;
    let given = args.check.check.clone().flatten();
    let mut ids = match (given, text) {
        (Some(given), text) => return Ok(text?.tokenizer.encode_prompt(&given)?),
        (None, Ok(text))
            if check_vocabulary(&model.name, model.summary.vocabulary, &text).is_ok() =>
        {
            text.tokenizer.encode_prompt(TEXT)?
        }
        // Knuth's multiplicative hash.
        (None, _) => (1..=TOKENS).map(|i| i.wrapping_mul(2_654_435_761) % vocabulary).collect(),
    };
    ids.truncate(room);
    Ok(ids)
}

/// The layers that are compared.
fn layers(args: &Args, model: &Model, tokens: usize, count: u32) -> Result<Layers> {
    match &args.check.check_layers {
        Some(Layers::Some(some)) => match some.iter().find(|layer| **layer >= count) {
            Some(layer) => Err(CliError::User(format!(
                "there is no layer {layer}: the model has {count}, counted from 0"
            ))),
            None => Ok(Layers::Some(some.clone())),
        },
        Some(Layers::All) => Ok(Layers::All),
        None => {
            let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
            let work = work(&model.graph) * (tokens as f64 + f64::from(args.check.check_steps));
            let memory = available_memory().is_some_and(|free| model.source.size() > free / 2);
            Ok(match memory || work > MOST_WORK * processors as f64 {
                true => Layers::Some([0, count / 2, count.saturating_sub(1)].into()),
                false => Layers::All,
            })
        }
    }
}

/// Multiplications of a token.
fn work(graph: &Graph) -> f64 {
    let of = |value| {
        let tensor = graph.tensor(value).filter(|tensor| tensor.rows == Some(RunDim::Tokens));
        let columns =
            graph.operands(value).first().and_then(|x| graph.tensor(*x)).map(|x| x.last());
        match graph.op(value) {
            Op::Linear | Op::ExpertLinear => {
                tensor.map_or(0, |t| t.width()) as f64 * columns.unwrap_or(0) as f64
            }
            _ => 0.0,
        }
    };
    graph.values().map(of).sum()
}

/// `product_3 in decode, layer 4: …`
fn diverging(first: &Diverging) -> String {
    let Diverging { program, kernel, ops, at, in_chain } = first;
    let layer = at.layer.map_or(String::new(), |layer| format!(", layer {layer}"));
    let how = match in_chain {
        true => ", which is right alone, but not after what ran before it",
        false => "",
    };
    let ops =
        if ops.is_empty() { String::new() } else { format!("; it computes {}", ops.join(", ")) };
    format!(
        "{kernel} in {program}{layer} diverges{how}: {} is {:.1e} off (largest difference {:.1e}), at \
         most {:.0e} for {}{ops}",
        at.value,
        at.difference.relative,
        at.difference.largest,
        at.tolerance.within,
        at.tolerance.why
    )
}

fn text_of(model: &str, device: &str, script: &Script, report: &Report) -> String {
    let prompts = report.steps.len().saturating_sub(script.decode);
    let layers = match &report.layers {
        None => "all layers".to_owned(),
        Some(some) => {
            let numbers: Vec<String> = some.iter().map(u32::to_string).collect();
            format!(
                "layers {} alone, each from what the device computed before it (--check-layers all \
                 compares all)",
                numbers.join(", ")
            )
        }
    };
    let mut table = Table::new([
        "kernel", "program", "results", "alone", "largest", "at most", "chain", "layer", "what",
    ]);
    report.kernels.iter().filter(|row| row.compared > 0).for_each(|row| table.row(cells(row)));
    let logits = report.chain.logits.map_or(String::new(), |logits| {
        format!(
            "logits of the steps as they run: {logits:.1e} off, at most {:.0e}\n",
            report.chain.within
        )
    });
    let verdict = match report.passed {
        true => "every kernel is within its tolerance\n",
        false => "",
    };
    format!(
        "{model} on {device} beside the reference: a prompt of {} tokens in {prompts} step{}, then {} \
         token by token; {layers}\n\n{}\n{logits}{verdict}",
        script.prompt.len(),
        if prompts == 1 { "" } else { "s" },
        script.decode,
        table.render(),
    )
}

fn cells(row: &KernelErrors) -> [String; 9] {
    let figure = |x: f64| if x == 0.0 { "0".to_owned() } else { format!("{x:.1e}") };
    let worst =
        |of: &dyn Fn(&quarrel_check::Worst) -> String| row.worst.as_ref().map_or(String::new(), of);
    let within = worst(&|worst| match worst.tolerance.within {
        0.0 => "0".to_owned(),
        within => format!("{within:.0e}"),
    });
    [
        row.kernel.clone(),
        row.program.clone(),
        row.compared.to_string(),
        worst(&|worst| figure(worst.difference.relative)) + if row.passed { "" } else { " !" },
        worst(&|worst| figure(worst.difference.largest)),
        within,
        row.chain.map_or("-".to_owned(), figure),
        worst(&|worst| worst.layer.map_or("-".to_owned(), |layer| layer.to_string())),
        row.ops.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_all_or_numbers() {
        assert_eq!(layers_of("all"), Ok(Layers::All));
        assert_eq!(layers_of("3, 0"), Ok(Layers::Some([0, 3].into())));
        assert!(layers_of("first").is_err());
    }
}
