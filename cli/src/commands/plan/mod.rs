//! `quarrel plan`: what a model becomes on a device.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | options, and which view is wanted |
//! | `check.rs` | every kernel beside the reference |
//! | `text.rs` | the plan for people: dispatches by layer, decisions, memory |
//! | `explain.rs` | why two values share a kernel or not |
//! | `fold.rs` | layers that are alike are shown once |
//! | `barriers.rs` | what makes dispatches wait |
//! | `dot.rs` | the dispatches as a graph for Graphviz |
//! | `html/` | the plan as one page |
//! | `measure.rs` | what each kernel takes |
//! | `step.rs` | the step for which costs are shown |
//! | `kernel.rs` | kernel text in WGSL, MSL or SPIR-V |

mod barriers;
mod check;
mod dot;
mod explain;
mod fold;
mod html;
mod kernel;
mod measure;
mod step;
mod text;

use crate::backend::Device;
use crate::error::{CliError, Result};
use crate::measured;
use crate::model::{Model, Named};
use crate::options::{PlanArgs, SavedArgs};
use crate::{output, saved, tuned};
use clap::ValueEnum;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{self, Plan, PlanOptions};
use std::path::{Path, PathBuf};

/// Show the compiled plan
///
/// The text view shows each dispatch with the kernel it runs, the ops that are fused into it and why,
/// what it moves and computes; layers that are alike are shown once.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel plan smollm2\n  quarrel plan smollm2 --phase prefill \
--no-fuse\n  quarrel plan smollm2 --kernel product_1 --emit msl\n  quarrel devices --json > \
facts.json; quarrel plan smollm2 --for facts.json --json\n  quarrel plan smollm2 --format dot | dot \
-Tsvg > plan.svg\n  quarrel plan smollm2 --format html --output plan.html\n  quarrel plan smollm2 --stage graph\n  quarrel plan smollm2 --explain q k\n  quarrel plan --synthetic llama-8b:Q4_0\n  \
quarrel plan smollm2 --save smollm2.plan; quarrel run smollm2 --plan smollm2.plan \"Hello\"\n  \
quarrel plan smollm2 --check; quarrel plan smollm2 --check \"Once upon a time\" --json\n  \
quarrel plan smollm2 --measure"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: Named,
    /// Which program to show
    #[arg(long, value_enum, default_value_t = Phase::Decode)]
    phase: Phase,
    /// How to show the plan
    #[arg(long, value_enum, default_value_t = View::Text)]
    format: View,
    /// Write the page of --format html to a file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The plan as JSON: the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Show the text of one kernel
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// The language of kernel text; without --kernel, that of all kernels of the phase
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    emit: Option<kernel::Language>,
    /// Compile for the device that a file of facts describes; it need not be present
    #[arg(long = "for", value_name = "FACTS.json", conflicts_with = "device")]
    facts: Option<PathBuf>,
    /// Show a stage before the plan
    #[arg(long, value_enum)]
    stage: Option<Stage>,
    /// Measure what each kernel takes on this device, beside what it is predicted to take, and what it
    /// costs that dispatches wait for each other
    #[arg(long, conflicts_with_all = ["facts", "kernel", "emit", "stage", "save", "explain", "barriers", "saved"])]
    measure: bool,
    #[command(flatten)]
    check: check::CheckArgs,
    /// Say why two values are computed by one kernel or by two; a value is %17, a name such as q, or
    /// one in a certain layer, q@3
    #[arg(long, num_args = 2, value_names = ["A", "B"],
          conflicts_with_all = ["kernel", "emit", "stage", "save"])]
    explain: Option<Vec<String>>,
    /// Show the barriers of a step: what causes each, and what would remove it
    #[arg(long, conflicts_with_all = ["kernel", "emit", "stage", "save", "explain"])]
    barriers: bool,
    /// Write the plan to a file, which `run --plan` and others take in place of compiling
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "json", "kernel", "emit", "stage"])]
    save: Option<PathBuf>,
    /// Sequences that are decoded together
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    slots: u32,
    /// Rows of logits that one prompt step yields: `logits --all` and `perplexity` want many
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=512))]
    out_rows: u32,
    #[command(flatten)]
    saved: SavedArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

/// Microseconds of each dispatch of a program, where they are known.
type Times = Vec<Option<f64>>;

/// A program of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Phase {
    /// One token
    Decode,
    /// A chunk of a prompt
    Prefill,
}

impl Phase {
    fn planned(self) -> plan::Phase {
        match self {
            Phase::Decode => plan::Phase::Decode,
            Phase::Prefill => plan::Phase::Prefill,
        }
    }
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum View {
    /// For people
    Text,
    /// The plan's own data
    Json,
    /// For Graphviz
    Dot,
    /// One page for a browser, which needs no other file and no network
    Html,
}

/// What comes before the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The graph, as the architecture file describes it
    Graph,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let source = args.model.source(&args.plan.mapping)?;
    if let Some(path) = &args.saved.saved {
        if args.check.wanted() {
            let plan = saved::read_for(path, &source, &args.plan)?;
            let model = Model::bind(args.model.name()?, source, &args.plan)?;
            return check::execute(args, &model, Some(plan));
        }
        let plan = saved::read_for(path, &source, &args.plan)?;
        return show(args, args.model.name()?, &plan, &[]);
    }
    let model = Model::bind(args.model.name()?, source, &args.plan)?;
    if let Some(Stage::Graph) = args.stage {
        return output::text(&model.graph.to_string());
    }
    if args.check.wanted() {
        return check::execute(args, &model, None);
    }
    let plan = compile(args, &model)?;
    match &args.save {
        Some(path) => saved::write(path, &plan),
        None if args.measure => measure::execute(args, &model, plan),
        None => show(args, &model.name, &plan, &[]),
    }
}

/// Compiles the model as the options say.
fn compile(args: &Args, model: &Model) -> Result<Plan> {
    let facts = match &args.facts {
        Some(path) => read_facts(path)?,
        None => {
            let gpu = Device::start(&args.plan).wait()?.gpu("quarrel plan")?;
            // A prediction is made of speeds.
            if args.measure { measured::facts_or_measure(&gpu)? } else { measured::facts(&gpu) }
        }
    };
    let context = args.plan.context(model.summary.context_length);
    let options = args.plan.plan_options(context, args.out_rows);
    let options = PlanOptions { slots: args.slots, ..options };
    model.compile(&facts, &tuned::with(&options, &facts, &args.plan))
}

/// Shows a plan; `measured` has microseconds of each dispatch, by program, where they are known.
fn show(args: &Args, model: &str, plan: &Plan, measured: &[Times]) -> Result<()> {
    if args.output.is_some() && (args.format != View::Html || args.json) {
        return Err(CliError::user("--output is for the page: add --format html"));
    }
    let program = plan.program(args.phase.planned()).ok_or_else(|| {
        CliError::Failure("a bug in Quarrel, please report it: the plan lacks a program".into())
    })?;
    if args.kernel.is_some() || args.emit.is_some() {
        let language = args.emit.unwrap_or(kernel::Language::Wgsl);
        return kernel::show(plan, program, args.kernel.as_deref(), language);
    }
    if let Some(names) = &args.explain {
        let found = explain::find(plan, program.phase, names)?;
        return match args.json {
            true => output::json(&found),
            false => output::text(&explain::text(plan, program.phase, &found)),
        };
    }
    if let Some(found) = plan.barriers(program.phase).filter(|_| args.barriers) {
        return match args.json {
            true => output::json(&found),
            false => output::text(&barriers::text(plan, program, &found)),
        };
    }
    match if args.json { View::Json } else { args.format } {
        View::Text => output::text(&text::plan(model, plan, program)),
        View::Json => output::text(&format!("{}\n", plan.to_json()?)),
        View::Dot => output::text(&dot::program(plan, program)),
        View::Html => output::write(args.output.as_deref(), &page(args, model, plan, measured)?),
    }
}

/// The page, beside which stands what each op costs by itself.
fn page(args: &Args, name: &str, plan: &Plan, measured: &[Times]) -> Result<String> {
    let model = Model::bind(name, args.model.source(&args.plan.mapping)?, &args.plan)?;
    // A plan from a file says nothing of what was fused but the ops.
    if plan::identity(&model.graph, &plan.device, &plan.options) != plan.identity {
        return Err(CliError::user(
            "the plan was made from another graph than the architecture file describes: name the \
             one that it was made with (--arch), or compile it again",
        ));
    }
    let op_by_op = PlanOptions { fuse: false, ..plan.options.clone() };
    // What does not fit a device op by op is shown without this.
    let unfused = quarrel_compiler::compile(&model.graph, &plan.device, &op_by_op).ok();
    let page = html::Page {
        model: name,
        graph: &quarrel_compiler::canonical(&model.graph)?,
        plan,
        unfused: unfused.as_ref(),
        measured,
    };
    html::page(&page)
        .map_err(|why| CliError::Failure(format!("a bug in Quarrel, please report it: {why}")))
}

/// The device facts in a file: what `quarrel devices --json` prints.
fn read_facts(path: &Path) -> Result<DeviceFacts> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|why| {
        CliError::User(format!("the device facts in {name} cannot be read: {why}"))
    })?;
    serde_json::from_str(&text).map_err(|why| {
        CliError::User(format!(
            "{name} holds no device facts: {why}. `quarrel devices --json` prints some"
        ))
    })
}
