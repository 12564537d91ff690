//! `quarrel tune`: which variant of each kernel is the fastest on this device.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | options; rounds of measurements, and what is kept of them |
//! | `contest.rs` | a kernel's variants and what each takes |
//! | `print.rs` | the table for people |

mod contest;
mod print;

use crate::backend::{Device, GpuModel};
use crate::error::{CliError, Result};
use crate::model::{Model, Named};
use crate::options::PlanArgs;
use crate::tuned::Tuned;
use crate::{measured, output};
use contest::Contest;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{Kernel, Phase, PlanOptions, Variants};
use quarrel_runtime::{BenchStep, Gpu, KernelClock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Instant;

/// Measure which variant of each kernel is the fastest on this device
///
/// Each product and each attention of the model's plan has variants that compute the same in tiles of
/// other sizes. Those that are predicted to be close are measured, all layers in turn, and winners are
/// kept in the cache folder for this device and driver. Whatever compiles a plan takes them from
/// there, for other models with kernels of the same sizes too; --no-tuned does not.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel tune smollm2\n  quarrel tune smollm2 --all --json\n  quarrel \
tune --synthetic llama-1b:Q4_0\n  quarrel plan smollm2 --no-tuned"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: Named,
    /// Measure all variants, not only those that are predicted to be close
    #[arg(long)]
    all: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plan: PlanArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output {
    model: String,
    device: String,
    driver: String,
    seconds: f64,
    /// The file that holds winners; none where it could not be written.
    kept: Option<String>,
    kernels: Vec<Contest>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let start = Instant::now();
    let device = Device::start(&args.plan);
    let source = args.model.source(&args.plan.mapping)?;
    let model = Model::bind(args.model.name()?, source, &args.plan)?;
    let gpu = device.wait()?.gpu("quarrel tune")?;
    let facts = measured::facts_or_measure(&gpu)?;
    let options = args.plan.plan_options(args.plan.context(model.summary.context_length), 1);
    let mut tuning = Tuning::new(&model, gpu, &options, args.all)?;
    let kept = tuning.run(&facts)?;
    let output = Output {
        model: model.source.title(&model.name),
        device: facts.name.clone(),
        driver: facts.driver.clone(),
        seconds: start.elapsed().as_secs_f64(),
        kept,
        kernels: tuning.contests.into_values().collect(),
    };
    match args.json {
        true => output::json(&output),
        false => output::text(&print::text(&output)),
    }
}

/// Measurements under way.
struct Tuning<'a> {
    model: &'a Model,
    gpu: Gpu,
    options: &'a PlanOptions,
    /// By key.
    contests: BTreeMap<String, Contest>,
}

impl<'a> Tuning<'a> {
    fn new(model: &'a Model, gpu: Gpu, options: &'a PlanOptions, all: bool) -> Result<Tuning<'a>> {
        let compiled = GpuModel::compile(&model.graph, gpu.clone(), options)?;
        let choices = compiled.plan.kernels.iter().filter_map(|kernel| kernel.choice.as_ref());
        let contests = choices.map(|choice| (choice.key.clone(), Contest::new(choice, all)));
        Ok(Tuning { contests: contests.collect(), model, gpu, options })
    }

    /// Measures the variants, one of each kernel a round, and keeps winners after each round; the
    /// file that holds them.
    fn run(&mut self, facts: &DeviceFacts) -> Result<Option<String>> {
        let rounds = self.contests.values().map(Contest::len).max().unwrap_or(0);
        let mut kept = None;
        for round in 0..rounds {
            if rounds > 1 && std::io::stderr().is_terminal() {
                output::remark(&format!("round {} of {rounds}\n", round + 1));
            }
            let measured = self.round(round);
            match measured {
                // The first is that of the usual variants: if it fails, so does all else.
                Err(error) if round == 0 => return Err(error),
                Err(error) => {
                    output::remark("a round failed, and is left out:\n");
                    error.print();
                }
                Ok(()) => kept = self.keep(facts).or(kept),
            }
        }
        Ok(kept)
    }

    /// Measures variant number `round` of each kernel that has so many.
    fn round(&mut self, round: usize) -> Result<()> {
        let with = |(key, contest): (&String, &Contest)| {
            contest.name(round).map(|name| (key.clone(), name.to_owned()))
        };
        let choices: Variants = self.contests.iter().filter_map(with).collect();
        let options = PlanOptions { choices: choices.clone(), ..self.options.clone() };
        let compiled = GpuModel::compile(&self.model.graph, self.gpu.clone(), &options)?;
        let phases = [Phase::Prefill, Phase::Greedy, Phase::Decode];
        let mut session = compiled.load(self.model.source.weights(), &phases)?;
        let depth = options.context / 4;
        let tokens = options.chunk.min(options.context - depth).max(1);
        let steps = [BenchStep::Decode { depth }, BenchStep::Prefill { depth, tokens }];
        let key = |kernel: &Kernel| Some(kernel.choice.as_ref()?.key.clone());
        let wanted = |kernel: &Kernel| key(kernel).is_some_and(|key| choices.contains_key(&key));
        for step in steps {
            for time in session.bench_kernels_of(step, KernelClock::Repetition, &wanted)? {
                let key = key(compiled.plan.kernel(time.kernel));
                if let Some(contest) = key.and_then(|key| self.contests.get_mut(&key)) {
                    contest.add(round, time.us, time.dispatches);
                }
            }
        }
        Ok(())
    }

    /// Keeps what is known of winners so far; the file.
    fn keep(&self, facts: &DeviceFacts) -> Option<String> {
        let mut tuned = Tuned::load(facts);
        for (key, contest) in &self.contests {
            match contest.winner() {
                Some(winner) => tuned.winners.insert(key.clone(), winner),
                None => tuned.winners.remove(key),
            };
        }
        match tuned.keep(facts) {
            Ok(path) => Some(path.display().to_string()),
            Err(why) => {
                let note = format!("what was measured could not be kept: {why}");
                CliError::Failure(note).print();
                None
            }
        }
    }
}
