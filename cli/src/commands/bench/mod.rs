//! `quarrel bench`: tokens a second, and what share of the device's bandwidth that is.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | options, and which tests are run |
//! | `measure.rs` | the tests on one compiled plan |
//! | `kernels.rs` | what each kernel takes of a step |
//! | `roofline.rs` | what a dispatch cannot be faster than |
//! | `check.rs` | whether what is timed computes the right thing |
//! | `print.rs` | results for people |

mod check;
mod kernels;
mod measure;
mod print;
mod roofline;

use crate::backend::{Device, GpuModel};
use crate::error::{CliError, Result};
use crate::model::{Model, Named};
use crate::options::PlanArgs;
use crate::output;
use kernels::Kernels;
use measure::{Bench, Test};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{Phase, PlanOptions};
use quarrel_runtime::{BenchStep, Gpu, KernelClock};
use roofline::Roofline;
use serde::Serialize;

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
smollm2 --kernels\n  quarrel bench --synthetic llama-1b:Q4_K_M --reps 3\n  quarrel bench --synthetic \
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
    /// Show what each kernel takes of a step beside the least it could take, the one that loses most
    /// first; by timestamps where the device writes them between dispatches, else by repetition
    #[arg(long, value_name = "CLOCK", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "auto")]
    kernels: Option<Clock>,
    /// Measure nothing: compare the logits of the shape of --synthetic, cut to --layers (by default 2), with
    /// the reference's
    #[arg(long, conflicts_with = "kernels")]
    check: bool,
    /// Repetitions of each test
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
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
    model: String,
    device: String,
    backend: String,
    driver: String,
    /// Measured bandwidth of a copy, read plus written.
    copy_gb_per_s: Option<f64>,
    tests: Vec<Test>,
    /// With `--kernels`: what a dispatch cannot be faster than, and the kernels of each test.
    #[serde(skip_serializing_if = "Option::is_none")]
    roofline: Option<Roofline>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<Kernels>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    if args.check {
        return check::execute(args);
    }
    if args.prompt_len == 0 && args.gen_len == 0 {
        return Err(CliError::user("nothing to measure: --prompt-len and --gen-len are both 0"));
    }
    let context = context(args)?;
    let source = args.model.source(&args.plan.mapping)?;
    let device = Device::start(&args.plan);
    let model = Model::bind(args.model.name()?, source, &args.plan)?;
    let gpu = device.wait()?.gpu("quarrel bench")?;
    let mut facts = gpu.facts();
    gpu.measure(&mut facts)?;
    let mut run = Run { args, model, gpu, facts, context, roofline: None, output: Vec::new() };
    let tests = run.tests()?;
    let Run { model, facts, roofline, output: kernels, .. } = run;
    let DeviceFacts { name: device, backend, driver, copy_bytes_per_s, .. } = facts;
    let copy_gb_per_s = copy_bytes_per_s.map(|speed| speed / 1e9);
    let model = model.source.title(&model.name);
    let output = Output { model, device, backend, driver, copy_gb_per_s, tests, roofline, kernels };
    match args.json {
        true => output::json(&output),
        false => output::text(&print::text(&output)),
    }
}

/// Positions that the tests need.
fn context(args: &Args) -> Result<u32> {
    // At most 2^24 each.
    let depth = args.depth.iter().copied().max().unwrap_or(0);
    let needs = depth.max(1) + args.prompt_len.max(args.gen_len + 1);
    match args.plan.ctx {
        Some(ctx) if ctx < needs => Err(CliError::User(format!(
            "the tests need a context of {needs}, but --ctx is {ctx}: leave it out, or measure less"
        ))),
        Some(ctx) => Ok(ctx),
        // A multiple of what kernels like to split.
        None => Ok(needs.next_multiple_of(256)),
    }
}

/// What the tests share.
struct Run<'a> {
    args: &'a Args,
    model: Model,
    gpu: Gpu,
    facts: DeviceFacts,
    context: u32,
    roofline: Option<Roofline>,
    /// The kernels of each test, where they are wanted.
    output: Vec<Kernels>,
}

impl Run<'_> {
    /// Runs all tests: for each number of sequences a plan is compiled and loaded.
    fn tests(&mut self) -> Result<Vec<Test>> {
        if self.args.kernels.is_some() {
            let flops = self.gpu.measure_flops()?;
            self.roofline = Some(Roofline::of(&self.facts, Some(flops)));
        }
        let mut tests = Vec::new();
        for (index, &slots) in self.args.batch_size.iter().enumerate() {
            // A prompt is one sequence's: how many there are makes no difference.
            let prompts = index == 0 && self.args.prompt_len > 0;
            if prompts || self.args.gen_len > 0 {
                let mut bench = self.load(slots)?;
                self.run(&mut bench, prompts, &mut tests)?;
            }
        }
        Ok(tests)
    }

    /// Compiles and loads a plan for `slots` sequences.
    fn load(&self, slots: u32) -> Result<Bench> {
        let options = PlanOptions { slots, ..self.args.plan.plan_options(self.context, 1) };
        let compiled = GpuModel::compile(&self.model.graph, self.gpu.clone(), &options)?;
        let phases = [Phase::Prefill, Phase::Greedy, Phase::Decode];
        let session = compiled.load(self.model.source.weights(), &phases)?;
        session.engine().compile(&phases)?;
        Ok(Bench { session, reps: self.args.reps })
    }

    /// Runs the tests of one plan.
    fn run(&mut self, bench: &mut Bench, prompts: bool, tests: &mut Vec<Test>) -> Result<()> {
        let Args { prompt_len, gen_len, ref depth, kernels, .. } = *self.args;
        for &depth in depth {
            let chunk = bench.session.engine().plan().options.chunk;
            let mut steps = Vec::new();
            if prompts {
                tests.push(bench.prefill(depth, prompt_len)?);
                steps.push(BenchStep::Prefill { depth, tokens: chunk.min(prompt_len) });
            }
            if gen_len > 0 {
                tests.push(bench.decode(depth, gen_len)?);
                steps.push(BenchStep::Decode { depth });
            }
            if let (Some(clock), Some(roofline)) = (kernels, &self.roofline) {
                for step in steps {
                    self.output.push(bench.kernels(step, clock.on(&self.facts), roofline)?);
                }
            }
        }
        Ok(())
    }
}
