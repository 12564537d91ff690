//! `quarrel plan`: what a model becomes on a device.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | options, and which view is wanted |
//! | `check.rs` | every kernel beside the reference |
//! | `text.rs` | the plan for people: dispatches by layer, decisions, memory |
//! | `explain.rs` | why two values share a kernel or not |
//! | `memory.rs` | what a plan needs of memory, and what values share |
//! | `fold.rs` | layers that are alike are shown once |
//! | `barriers.rs` | what makes dispatches wait |
//! | `compare.rs` | `plan diff`: what differs between two plans, and why |
//! | `what_if.rs` | what a change is predicted to bring |
//! | `stages.rs` | what the compiler's passes leave and change |
//! | `dot.rs` | the dispatches as a graph for Graphviz |
//! | `html/` | the plan as one page |
//! | `measure.rs` | what each kernel takes |
//! | `step.rs` | the step for which costs are shown |
//! | `kernel.rs` | kernel text in WGSL, MSL or SPIR-V |

mod barriers;
mod check;
mod compare;
mod dot;
mod explain;
mod fold;
mod html;
mod kernel;
mod measure;
mod memory;
mod stages;
mod step;
mod text;
mod what_if;

use crate::backend::Device;
use crate::error::{CliError, Result};
use crate::model::{Model, Named};
use crate::options::{PlanArgs, SavedArgs};
use crate::{measured, output, saved, tuned};
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
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  quarrel plan smollm2\n  quarrel plan smollm2 --phase prefill \
--no-fuse\n  quarrel plan smollm2 --kernel product_1 --emit msl\n  quarrel devices --json > \
facts.json; quarrel plan smollm2 --for facts.json --json\n  quarrel plan smollm2 --format dot | dot \
-Tsvg > plan.svg\n  quarrel plan smollm2 --format html --output plan.html\n  quarrel plan smollm2 --stage graph\n  quarrel plan smollm2 --explain q k\n  quarrel plan smollm2 --what-if split=8 --what-if ctx=8192\n  quarrel plan smollm2 --what-if no-fuse --measure\n  quarrel plan diff smollm2 \"smollm2 --no-fuse\"\n  quarrel plan --synthetic llama-8b:Q4_0\n  \
quarrel plan smollm2 --save smollm2.plan; quarrel run smollm2 --plan smollm2.plan \"Hello\"\n  \
quarrel plan smollm2 --check; quarrel plan smollm2 --check \"Once upon a time\" --json\n  \
quarrel plan smollm2 --measure"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    subject: Subject,
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
    /// Show what a pass of the compiler leaves
    #[arg(long, value_enum, value_name = "PASS")]
    stage: Option<stages::Stage>,
    /// Show what each pass of the compiler changed
    #[arg(long, conflicts_with = "stage")]
    trace_passes: bool,
    /// Measure what each kernel takes on this device, beside what it is predicted to take, and what it
    /// costs that dispatches wait for each other; with --what-if, of both plans
    #[arg(long, conflicts_with_all = ["facts", "kernel", "emit", "stage", "trace_passes", "save", "explain", "barriers", "saved"])]
    measure: bool,
    #[command(flatten)]
    check: check::CheckArgs,
    /// Say why two values are computed by one kernel or by two; a value is %17, a name such as q, or
    /// one in a certain layer, q@3
    #[arg(long, num_args = 2, value_names = ["A", "B"],
          conflicts_with_all = ["kernel", "emit", "stage", "trace_passes", "save"])]
    explain: Option<Vec<String>>,
    /// Show the barriers of a step: what causes each, and what would remove it
    #[arg(long,
          conflicts_with_all = ["kernel", "emit", "stage", "trace_passes", "save", "explain"])]
    barriers: bool,
    /// Compile again with a change, and show what it is predicted to bring: fuse=A,B,
    /// variant=KEY:NAME (--kernel shows both), split=N, no-fuse, no-coop, subgroup=N, ctx=N, chunk=N or
    /// slots=N (repeatable)
    #[arg(long, value_name = "CHANGE", conflicts_with_all = ["kernel", "emit", "stage",
          "trace_passes", "save", "explain", "barriers", "saved"])]
    what_if: Vec<String>,
    /// Write the plan to a file, which `run --plan` and others take in place of compiling
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["format", "json", "kernel", "emit", "stage", "trace_passes"])]
    save: Option<PathBuf>,
    #[command(flatten)]
    saved: SavedArgs,
}

/// What is done with plans other than to show one.
#[derive(clap::Subcommand, Debug)]
enum Action {
    Diff(compare::Args),
}

/// What is compiled: a model, for a device, with options.
#[derive(clap::Args, Clone, Debug)]
struct Subject {
    #[command(flatten)]
    model: Named,
    /// Compile for the device that a file of facts describes; it need not be present
    #[arg(long = "for", value_name = "FACTS.json", conflicts_with = "device")]
    facts: Option<PathBuf>,
    /// Sequences that are decoded together
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    slots: u32,
    /// Rows of logits that one prompt step yields: `logits --all` and `perplexity` want many
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=512))]
    out_rows: u32,
    #[command(flatten)]
    plan: PlanArgs,
}

/// Microseconds of each dispatch of a program, where they are known.
type Times = Vec<Option<f64>>;

impl Subject {
    /// The options for `model`.
    fn options(&self, model: &Model) -> PlanOptions {
        let context = self.plan.context(model.summary.context_length);
        let options = self.plan.plan_options(context, self.out_rows);
        PlanOptions { slots: self.slots, ..options }
    }

    /// The device, and the options for `model` on it; what the device was measured for where that is
    /// known, or is `measure`d.
    fn target(&self, model: &Model, measure: bool) -> Result<(DeviceFacts, PlanOptions)> {
        let facts = match &self.facts {
            Some(path) => read_facts(path)?,
            None => {
                let gpu = Device::start(&self.plan).wait()?.gpu("quarrel plan")?;
                // A prediction is made of speeds.
                if measure { measured::facts_or_measure(&gpu)? } else { measured::facts(&gpu) }
            }
        };
        let options = tuned::with(&self.options(model), &facts, &self.plan);
        Ok((facts, options))
    }
}

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

pub(crate) fn execute(args: &Args) -> Result<()> {
    if let Some(Action::Diff(args)) = &args.action {
        return compare::execute(args);
    }
    let Subject { model, plan, .. } = &args.subject;
    let source = model.source(&plan.mapping)?;
    if let Some(path) = &args.saved.saved {
        let saved = saved::read_for(path, &source, plan)?;
        if args.check.wanted() {
            let model = Model::bind(model.name()?, source, plan)?;
            return check::execute(args, &model, Some(saved));
        }
        return show(args, model.name()?, &saved, &[]);
    }
    let model = Model::bind(model.name()?, source, plan)?;
    if args.stage == Some(stages::Stage::Graph) {
        return output::text(&model.graph.to_string());
    }
    if args.check.wanted() {
        return check::execute(args, &model, None);
    }
    let (device, options) = args.subject.target(&model, args.measure)?;
    if args.stage.is_some() || args.trace_passes {
        let passes = stages::passes(&model.graph, &device, &options)?;
        return output::text(&match args.stage {
            Some(stage) => stages::text(&passes, stage)?,
            None => stages::trace(&passes),
        });
    }
    let plan = model.compile(&device, &options)?;
    if !args.what_if.is_empty() {
        return what_if::execute(args, &model, &plan);
    }
    match &args.save {
        Some(path) => saved::write(path, &plan),
        None if args.measure => measure::execute(args, &model, plan),
        None => show(args, &model.name, &plan, &[]),
    }
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
    let Subject { model, plan: asked, .. } = &args.subject;
    let model = Model::bind(name, model.source(&asked.mapping)?, asked)?;
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
