//! `quarrel plan`: what a model becomes on a device.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | options, and which view is wanted |
//! | `check.rs` | every kernel beside the reference |
//! | `text.rs` | the plan for people: dispatches by layer, decisions, memory |
//! | `fold.rs` | layers that are alike are shown once |
//! | `dot.rs` | the dispatches as a graph for Graphviz |
//! | `measure.rs` | what each kernel takes |
//! | `kernel.rs` | kernel text in WGSL, MSL or SPIR-V |

mod check;
mod dot;
mod fold;
mod kernel;
mod measure;
mod text;

use crate::backend::Device;
use crate::error::{CliError, Result};
use crate::model::{Model, Named};
use crate::options::PlanArgs;
use crate::output;
use clap::ValueEnum;
use measure::Measured;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{self, Plan};
use serde::Serialize;
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
-Tsvg > plan.svg\n  quarrel plan smollm2 --stage graph\n  quarrel plan --synthetic llama-8b:Q4_0\n  \
quarrel plan smollm2 --check"
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
    /// Measure what each kernel takes on this device, beside the least it could take, and what it
    /// costs that dispatches wait for each other
    #[arg(long, conflicts_with_all = ["facts", "kernel", "emit", "stage"])]
    measure: bool,
    #[command(flatten)]
    check: check::CheckArgs,
    #[command(flatten)]
    plan: PlanArgs,
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
}

/// What comes before the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The graph, as the architecture file describes it
    Graph,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let model =
        Model::bind(args.model.name()?, args.model.source(&args.plan.mapping)?, &args.plan)?;
    if let Some(Stage::Graph) = args.stage {
        return output::text(&model.graph.to_string());
    }
    if args.check.wanted() {
        return check::execute(args, &model);
    }
    let (facts, gpu) = match &args.facts {
        Some(path) => (read_facts(path)?, None),
        None => {
            let gpu = Device::start(&args.plan).wait()?.gpu("quarrel plan")?;
            (gpu.facts(), Some(gpu))
        }
    };
    let context = args.plan.context(model.summary.context_length);
    let options = args.plan.plan_options(context, 1);
    let plan = quarrel_compiler::compile(&model.graph, &facts, &options)?;
    let measured = match gpu.filter(|_| args.measure) {
        Some(gpu) => Some(measure::measure(args, &model, &gpu, &plan)?),
        None => None,
    };
    show(args, &model, &plan, measured.as_ref())
}

/// What `--json` prints: the plan and, with `--measure`, what was measured.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<&'a Measured>,
}

fn show(args: &Args, model: &Model, plan: &Plan, measured: Option<&Measured>) -> Result<()> {
    let program = plan.program(args.phase.planned()).ok_or_else(|| {
        CliError::Failure("a bug in Quarrel, please report it: the plan lacks a program".into())
    })?;
    if args.kernel.is_some() || args.emit.is_some() {
        let language = args.emit.unwrap_or(kernel::Language::Wgsl);
        return kernel::show(plan, program, args.kernel.as_deref(), language);
    }
    match if args.json { View::Json } else { args.format } {
        View::Text => {
            let measured = measured.map(Measured::text).unwrap_or_default();
            output::text(&(text::plan(&model.name, plan, program) + &measured))
        }
        View::Json => output::json(&Output { plan, measured }),
        View::Dot => output::text(&dot::program(plan, program)),
    }
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
