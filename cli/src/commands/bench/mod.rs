//! `quarrel bench`: tokens a second, and what share of the device's bandwidth that is.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | options, and which tests are run |
//! | `measure.rs` | the tests on one compiled plan |
//! | `kernels.rs` | what each kernel takes of a step |
//! | `check.rs` | whether what is timed computes the right thing |
//! | `llama.rs` | llama.cpp's benchmark on the same file |
//! | `print.rs` | results for people |
//! | `report.rs`, `system.rs` | everything in one Markdown file; the machine and the day |

mod check;
pub(super) mod kernels;
mod llama;
mod measure;
mod print;
mod report;
mod system;

use crate::backend::{Device, GpuModel};
use crate::error::{CliError, Result};
use crate::measured;
use crate::model::{Model, Named};
use crate::options::{PlanArgs, SavedArgs};
use crate::pipelines::KeptPipelines;
use crate::{files, output, saved, tuned};
use kernels::Kernels;
use llama::Versus;
use measure::{Bench, Test};
use quarrel_compiler::CompileError;
use quarrel_ir::facts::{DeviceFacts, Speeds};
use quarrel_ir::plan::{Phase, PlanOptions};
use quarrel_ir::sampling::RECORDS;
use quarrel_runtime::{BenchStep, Gpu, KernelClock, StepsAtOnce};
use report::Sample;
use serde::Serialize;
use std::path::PathBuf;

/// Most sequences decoded together.
const MOST_SEQUENCES: i64 = 4096;
/// Most tokens of a prompt, of a generation, or before them.
const MOST_TOKENS: i64 = 1 << 24;

/// Measure speed
///
/// `prefill` processes a prompt; `decode` generates greedily. Each is run for each --depth, decoding
/// for each --batch-size too. Tokens are random. The device is warmed up before each test, and
/// kernels are compiled before that.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel bench smollm2\n  quarrel bench smollm2 --prompt-len 0 \
--gen-len 64 --depth 0,1024 --json\n  quarrel bench smollm2 --batch-size 1,8,32\n  quarrel bench \
smollm2 --kernels\n  quarrel bench model.gguf --vs llama.cpp/build/bin/llama-bench --report \
report.md\n  quarrel bench --synthetic llama-1b:Q4_K_M --reps 3\n  quarrel bench --synthetic \
llama-8b:Q4_0 --check"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: Named,
    /// Tokens of the prompt; 0 leaves the test out
    #[arg(long, value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(0..=MOST_TOKENS))]
    prompt_len: u32,
    /// Tokens to generate; 0 leaves the test out
    #[arg(long, value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(0..=MOST_TOKENS))]
    gen_len: u32,
    /// Tokens in the context before each test; several make a test each
    #[arg(long, value_name = "N", default_value = "0", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(0..=MOST_TOKENS))]
    depth: Vec<u32>,
    /// Sequences decoded together; several make a test each
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=MOST_SEQUENCES))]
    batch_size: Vec<u32>,
    /// Decode steps of a submission; left out, as many as take a few milliseconds
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(RECORDS)))]
    steps_at_once: Option<u32>,
    /// Show what each kernel takes of a step beside what it is predicted to take, the one that loses most
    /// first; by timestamps where the device writes them between dispatches, else by repetition
    #[arg(long, value_name = "CLOCK", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "auto")]
    kernels: Option<Clock>,
    /// Measure nothing: compare the logits of the shape of --synthetic, cut to --layers (by default
    /// 2), with the reference's
    #[arg(long, conflicts_with_all = ["kernels", "saved"])]
    check: bool,
    /// Run llama.cpp's llama-bench on the same file, for the same tests, and show the ratio; for a
    /// synthetic shape and for --weights a file is written for it and removed afterwards
    #[arg(long, value_name = "LLAMA-BENCH", conflicts_with = "check")]
    vs: Option<PathBuf>,
    /// Write all there is to say about the run to a Markdown file; kernels are timed for it
    #[arg(long, value_name = "FILE.md", conflicts_with = "check")]
    report: Option<PathBuf>,
    /// Repetitions of each test
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    saved: SavedArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

/// How the time of a kernel is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Clock {
    /// Timestamps where the device writes them between dispatches, else repetition
    Auto,
    /// Timestamps between the dispatches of a step
    Timestamps,
    /// The dispatches of one kernel again and again
    Repetition,
}

impl Clock {
    fn on(self, facts: &DeviceFacts) -> KernelClock {
        match self {
            Clock::Auto if !facts.timestamps_inside_passes => KernelClock::Repetition,
            Clock::Repetition => KernelClock::Repetition,
            Clock::Auto | Clock::Timestamps => KernelClock::Timestamps,
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output {
    /// Of Quarrel, with the commit where the build was told it.
    version: String,
    model: String,
    device: String,
    backend: String,
    driver: String,
    /// Measured bandwidth of a copy, read plus written.
    copy_gb_per_s: Option<f64>,
    tests: Vec<Test>,
    /// With `--kernels`: what predictions are made from, and the kernels of each test.
    #[serde(skip_serializing_if = "Option::is_none")]
    speeds: Option<Speeds>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<Kernels>,
    /// With `--vs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vs: Option<Versus>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    if args.check {
        return check::execute(args);
    }
    if args.prompt_len == 0 && args.gen_len == 0 {
        return Err(CliError::user("nothing to measure: --prompt-len and --gen-len are both 0"));
    }
    let needs = needs(args)?;
    if let Some(path) = &args.report {
        files::check_place("--report", path)?;
    }
    let source = args.model.source(&args.plan.mapping)?;
    args.vs.as_deref().map_or(Ok(()), llama::check)?;
    let device = Device::start(&args.plan);
    let model = Model::bind(args.model.name()?, source, &args.plan)?;
    let mut gpu = device.wait()?.gpu("quarrel bench")?;
    // Written when all that compiles has ended.
    let _kept = KeptPipelines::open(&mut gpu);
    // Before Quarrel takes the device's memory, and its time if the other program fails.
    let file = match &args.vs {
        Some(program) => Some((program, llama::file(args, &model.source)?)),
        None => None,
    };
    let mut vs = match &file {
        Some((program, file)) => Some(llama::run(args, program, file.path())?),
        None => None,
    };
    let facts = measured::facts_or_measure(&gpu)?;
    let mut run = Run::new(args, model, gpu, facts, needs);
    let tests = run.tests()?;
    if let Some(vs) = &mut vs {
        vs.compare(&tests);
    }
    let speeds = run.clock.map(|_| run.facts.speeds.clone());
    let Run { model, facts, kernels, sample, .. } = run;
    let output = Output {
        version: version(),
        model: model.source.title(&model.name),
        device: facts.name.clone(),
        backend: facts.backend.clone(),
        driver: facts.driver.clone(),
        copy_gb_per_s: facts.speeds.copy_bytes_per_s.map(|speed| speed / 1e9),
        tests,
        speeds,
        kernels,
        vs,
    };
    if let (Some(path), Some(sample)) = (&args.report, &sample) {
        let file = file.as_ref().map(|(_, file)| file.path());
        output::write(Some(path), &report::text(args, &model, &facts, &output, sample, file))?;
    }
    match args.json {
        true => output::json(&output),
        false => output::text(&print::text(&output)),
    }
}

/// Of Quarrel, with the commit where the build was told it.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("QUARREL_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("{version} ({commit})"),
        _ => version.into(),
    }
}

/// Positions that the tests need.
fn needs(args: &Args) -> Result<u32> {
    // At most 2^24 each.
    let depth = args.depth.iter().copied().max().unwrap_or(0);
    let needs = depth + args.prompt_len.max(args.gen_len + 1);
    match args.plan.ctx {
        Some(ctx) if ctx < needs => Err(CliError::User(format!(
            "the tests need a context of {needs}, but --ctx is {ctx}: leave it out, or measure less"
        ))),
        _ => Ok(needs),
    }
}

/// Positions of the plan: a multiple of what kernels like to split, but no more than the model was
/// trained for where the tests need no more.
fn context(args: &Args, model: &Model, needs: u32) -> u32 {
    let trained = model.summary.context_length.and_then(|length| u32::try_from(length).ok());
    let most = trained.unwrap_or(u32::MAX).max(needs);
    args.plan.ctx.unwrap_or(needs.next_multiple_of(256).min(most))
}

/// What the tests share.
struct Run<'a> {
    args: &'a Args,
    model: Model,
    gpu: Gpu,
    facts: DeviceFacts,
    /// Positions that the tests need, and those of the plan.
    needs: u32,
    context: u32,
    /// How kernels are timed, where they are.
    clock: Option<KernelClock>,
    /// The kernels of each test.
    kernels: Vec<Kernels>,
    /// For the report.
    sample: Option<Sample>,
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, model: Model, gpu: Gpu, facts: DeviceFacts, needs: u32) -> Run<'a> {
        let context = context(args, &model, needs);
        let wanted = args.kernels.or(args.report.is_some().then_some(Clock::Auto));
        let clock = wanted.map(|clock| clock.on(&facts));
        let (kernels, sample) = (Vec::new(), None);
        Run { args, model, gpu, facts, needs, context, clock, kernels, sample }
    }

    /// Runs all tests: for each number of sequences a plan is compiled and loaded.
    fn tests(&mut self) -> Result<Vec<Test>> {
        let mut tests = Vec::new();
        for (index, &slots) in self.args.batch_size.iter().enumerate() {
            // A prompt is one sequence's: how many there are makes no difference.
            let prompts = index == 0 && self.args.prompt_len > 0;
            if prompts || self.args.gen_len > 0 {
                let mut bench = self.load(slots)?;
                self.run(&mut bench, prompts, &mut tests)?;
                if self.args.report.is_some() && self.sample.is_none() {
                    self.sample = Some(Sample::take(&self.model, &mut bench.session));
                }
            }
        }
        Ok(tests)
    }

    /// Compiles and loads a plan for `slots` sequences.
    fn load(&self, slots: u32) -> Result<Bench> {
        let options = PlanOptions { slots, ..self.args.plan.plan_options(self.context, 1) };
        let gpu = self.gpu.clone();
        let compiled = match &self.args.saved.saved {
            Some(path) => {
                let plan = saved::read_for(path, &self.model.source, &self.args.plan)?;
                saved::check_room(&plan, &PlanOptions { context: self.needs, ..options })?;
                GpuModel::of(plan, gpu)
            }
            None => {
                let options = tuned::with(&options, &self.facts, &self.args.plan);
                let compiled = GpuModel::compile(&self.model.graph, gpu, &options);
                compiled.map_err(|error| self.at_context(error))?
            }
        };
        let phases = [Phase::Prefill, Phase::Greedy, Phase::Decode];
        let mut session = compiled.load(self.model.source.weights(), &phases)?;
        if let Some(steps) = self.args.steps_at_once {
            session.set_steps_at_once(StepsAtOnce::Fixed(steps));
        }
        session.engine().compile(&phases)?;
        Ok(Bench { session, reps: self.args.reps })
    }

    /// An error of compiling; where the context is too large and the user did not give it, with what
    /// asks for it.
    fn at_context(&self, error: CompileError) -> CliError {
        match error {
            CompileError::DoesNotFit { what, needs, device, has, instead }
                if self.args.plan.ctx.is_none() =>
            {
                let asked = "--depth, --prompt-len or --gen-len, which ask for the context";
                let instead = instead.replace("--ctx", asked);
                CompileError::DoesNotFit { what, needs, device, has, instead }.into()
            }
            error => error.into(),
        }
    }

    /// Runs the tests of one plan.
    fn run(&mut self, bench: &mut Bench, prompts: bool, tests: &mut Vec<Test>) -> Result<()> {
        let Args { prompt_len, gen_len, ref depth, .. } = *self.args;
        for &depth in depth {
            let chunk = bench.session.engine().plan().options.chunk;
            let mut steps = Vec::new();
            if prompts {
                let test = bench.prefill(depth, prompt_len)?;
                let step = BenchStep::Prefill { depth, tokens: chunk.min(prompt_len) };
                steps.push((step, (prompt_len <= chunk).then_some(1e6 * test.seconds)));
                tests.push(test);
            }
            if gen_len > 0 {
                let test = bench.decode(depth, gen_len)?;
                let us = 1e6 * test.seconds / f64::from(gen_len);
                steps.push((BenchStep::Decode { depth }, Some(us)));
                tests.push(test);
            }
            if let Some(clock) = self.clock {
                for step in steps {
                    self.kernels.push(bench.kernels(step, clock)?);
                }
            }
        }
        Ok(())
    }
}
