//! `quarrel bench`: tokens a second, and what share of the device's bandwidth that is.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | options, tests, the table of results |
//! | `kernels.rs` | what each kernel takes of a step |
//! | `roofline.rs` | what a dispatch cannot be faster than |

mod kernels;
mod roofline;

use crate::backend::{Device, GpuModel};
use crate::error::{CliError, Result};
use crate::model::{Model, Named};
use crate::options::PlanArgs;
use crate::output::{self, Table};
use kernels::Kernels;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{Phase, Plan};
use quarrel_runtime::{BenchStep, GenerateOptions, KernelClock, SamplingParams, Session};
use roofline::Roofline;
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// GPUs lower their clocks when idle: they are kept busy this long before a measurement.
const WARM_UP: Duration = Duration::from_millis(250);

/// Measure speed
///
/// `prefill` processes a prompt; `decode` generates greedily after --depth tokens. Tokens are random.
/// The device is warmed up before each test, and kernels are compiled before that.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel bench smollm2\n  quarrel bench smollm2 --prompt-len 0 \
--gen-len 64 --depth 1024 --json\n  quarrel bench --synthetic llama-1b:Q4_0 --reps 3"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: Named,
    /// Tokens of the prompt; 0 leaves the test out
    #[arg(long, value_name = "N", default_value_t = 512)]
    prompt_len: usize,
    /// Tokens to generate; 0 leaves the test out
    #[arg(long, value_name = "N", default_value_t = 128)]
    gen_len: usize,
    /// Tokens in the context before each test
    #[arg(long, value_name = "N", default_value_t = 0)]
    depth: usize,
    /// Show what each kernel takes of a step beside the least it could take, the one that loses most
    /// first; by timestamps where the device writes them between dispatches, else by repetition
    #[arg(long, value_name = "CLOCK", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "auto")]
    kernels: Option<Clock>,
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
#[derive(Serialize)]
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

/// One test's result.
#[derive(Serialize)]
struct Test {
    name: &'static str,
    n: usize,
    depth: usize,
    batch: u32,
    tokens_per_s: Spread,
    bytes_per_token: f64,
    gb_per_s: f64,
    dispatches_per_token: f64,
}

/// A figure over the repetitions.
#[derive(Clone, Copy, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let (last, middle) = (values.len().saturating_sub(1), values.len() / 2);
        let median = match values.len() % 2 {
            0 => (at(middle.saturating_sub(1)) + at(middle)) / 2.0,
            _ => at(middle),
        };
        Spread { median, min: at(0), max: at(last) }
    }
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    if args.prompt_len == 0 && args.gen_len == 0 {
        return Err(CliError::user("nothing to measure: --prompt-len and --gen-len are both 0"));
    }
    let source = args.model.source(&args.plan.mapping)?;
    let device = Device::start(&args.plan);
    let model = Model::bind(args.model.name()?, source, &args.plan)?;
    let gpu = device.wait()?.gpu("quarrel bench")?;
    let mut facts = gpu.facts();
    gpu.measure(&mut facts)?;
    let options = args.plan.plan_options(context(args)?, 1);
    let roofline = match args.kernels {
        Some(_) => Some(Roofline::of(&facts, Some(gpu.measure_flops()?))),
        None => None,
    };
    let compiled = GpuModel::compile(&model.graph, gpu, &options)?;
    let phases = [Phase::Prefill, Phase::Greedy, Phase::Decode];
    let session = compiled.load(model.source.weights(), &phases)?;
    session.engine().compile(&phases)?;
    let mut bench = Bench { session, plan: compiled.plan, args };
    let mut tests = Vec::new();
    if args.prompt_len > 0 {
        tests.push(bench.prefill()?);
    }
    if args.gen_len > 0 {
        tests.push(bench.decode()?);
    }
    let mut kernels = Vec::new();
    if let (Some(clock), Some(roofline)) = (args.kernels, &roofline) {
        kernels = bench.kernels(clock.on(&facts), roofline)?;
    }
    let DeviceFacts { name: device, backend, driver, copy_bytes_per_s, .. } = facts;
    let copy_gb_per_s = copy_bytes_per_s.map(|speed| speed / 1e9);
    let model = model.name;
    report(
        args,
        &Output { model, device, backend, driver, copy_gb_per_s, tests, roofline, kernels },
    )
}

/// Positions that the tests need.
fn context(args: &Args) -> Result<u32> {
    let needs = args.depth.max(1) + args.prompt_len.max(args.gen_len + 1);
    let needs = u32::try_from(needs)
        .map_err(|_| CliError::User(format!("{needs} tokens are more than any context holds")))?;
    match args.plan.ctx {
        Some(ctx) if ctx < needs => Err(CliError::User(format!(
            "the tests need a context of {needs}, but --ctx is {ctx}: leave it out, or measure less"
        ))),
        Some(ctx) => Ok(ctx),
        // A multiple of what kernels like to split.
        None => Ok(needs.next_multiple_of(256)),
    }
}

/// What tests share.
struct Bench<'a> {
    session: Session,
    plan: Plan,
    args: &'a Args,
}

impl Bench<'_> {
    fn prefill(&mut self) -> Result<Test> {
        let Args { prompt_len: n, depth, .. } = *self.args;
        let head = self.tokens(depth, 0);
        let mut round = 0;
        let values = self.repeat(|bench| {
            round += 1;
            let whole = [head.as_slice(), &bench.tokens(n, round)].concat();
            if depth > 0 {
                bench.session.sync(&head)?;
            } else {
                bench.session.reset();
            }
            bench.session.engine().wait()?;
            let start = Instant::now();
            let processed = bench.session.sync(&whole)?;
            bench.session.engine().wait()?;
            Ok(processed as f64 / start.elapsed().as_secs_f64())
        })?;
        let mut cost = Cost::default();
        let chunk = self.plan.options.chunk as usize;
        for first in (0..n).step_by(chunk) {
            let tokens = chunk.min(n - first);
            cost.add(&self.plan, Phase::Prefill, tokens, depth + first + tokens / 2);
        }
        Ok(self.test("prefill", n, values, cost))
    }

    fn decode(&mut self) -> Result<Test> {
        let Args { gen_len: n, depth, .. } = *self.args;
        let prompt = self.tokens(depth.max(1), 0);
        let options =
            GenerateOptions { sampling: SamplingParams::default(), max_tokens: n + 1, stop: &[] };
        let values = self.repeat(|bench| {
            let made =
                bench.session.generate(&prompt, options, &mut |_| ControlFlow::Continue(()))?;
            Ok(made.timings.decode_steps as f64 / made.timings.decode.as_secs_f64())
        })?;
        let mut cost = Cost::default();
        for step in 0..n {
            cost.add(&self.plan, Phase::Decode, 1, depth + 1 + step);
            cost.add(&self.plan, Phase::Greedy, 1, 0);
        }
        Ok(self.test("decode", n, values, cost))
    }

    /// The kernels of each test.
    fn kernels(&mut self, clock: KernelClock, roofline: &Roofline) -> Result<Vec<Kernels>> {
        let Args { prompt_len, gen_len, depth, .. } = *self.args;
        // `context` has seen to it that these fit.
        let (depth, chunk) = (depth as u32, self.plan.options.chunk);
        let mut steps = Vec::new();
        if prompt_len > 0 {
            let tokens = chunk.min(prompt_len as u32);
            steps.push(BenchStep::Prefill { depth, tokens });
        }
        if gen_len > 0 {
            steps.push(BenchStep::Decode { depth });
        }
        let session = &mut self.session;
        steps.into_iter().map(|step| kernels::measure(session, step, clock, roofline)).collect()
    }

    /// Warms up, then measures as often as was asked for.
    fn repeat(&mut self, mut once: impl FnMut(&mut Self) -> Result<f64>) -> Result<Vec<f64>> {
        let start = Instant::now();
        while {
            once(self)?;
            start.elapsed() < WARM_UP
        } {}
        (0..self.args.reps).map(|_| once(self)).collect()
    }

    /// Pseudo-random tokens; those of different rounds begin differently.
    fn tokens(&self, count: usize, round: u64) -> Vec<u32> {
        let vocabulary = u64::from(self.plan.model.vocabulary.max(1));
        let first = round % vocabulary;
        let mut state = round;
        let rest = std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % vocabulary
        });
        // Below the vocabulary, which is a u32.
        std::iter::once(first).chain(rest).take(count).map(|token| token as u32).collect()
    }

    fn test(&self, name: &'static str, n: usize, values: Vec<f64>, cost: Cost) -> Test {
        let tokens_per_s = Spread::of(values);
        let bytes_per_token = cost.bytes as f64 / n as f64;
        Test {
            name,
            n,
            depth: self.args.depth,
            batch: self.plan.options.slots,
            tokens_per_s,
            bytes_per_token,
            gb_per_s: bytes_per_token * tokens_per_s.median / 1e9,
            dispatches_per_token: cost.dispatches as f64 / n as f64,
        }
    }
}

/// Bytes and dispatches of a test, by the plan's own account.
#[derive(Clone, Copy, Default)]
struct Cost {
    bytes: u64,
    dispatches: u64,
}

impl Cost {
    fn add(&mut self, plan: &Plan, phase: Phase, tokens: usize, context: usize) {
        let dispatches = plan.program(phase).map_or(&[][..], |program| &program.dispatches);
        let (tokens, context) = (tokens as u64, context as u64);
        self.bytes += dispatches.iter().map(|d| d.cost.bytes(tokens, context)).sum::<u64>();
        self.dispatches += dispatches.len() as u64;
    }
}

fn report(args: &Args, output: &Output) -> Result<()> {
    if args.json {
        return output::json(output);
    }
    let Output { model, device, backend, copy_gb_per_s: copy, tests, .. } = output;
    let mut table = Table::new([
        "test",
        "tokens",
        "depth",
        "tokens/s",
        "min",
        "max",
        "MB/token",
        "GB/s",
        "of copy",
        "dispatches",
    ]);
    for test in tests {
        let share =
            copy.map_or(String::new(), |copy| format!("{:.0} %", 1e2 * test.gb_per_s / copy));
        table.row([
            test.name.into(),
            test.n.to_string(),
            test.depth.to_string(),
            format!("{:.1}", test.tokens_per_s.median),
            format!("{:.1}", test.tokens_per_s.min),
            format!("{:.1}", test.tokens_per_s.max),
            format!("{:.2}", test.bytes_per_token / 1e6),
            format!("{:.1}", test.gb_per_s),
            share,
            format!("{:.1}", test.dispatches_per_token),
        ]);
    }
    let copy = copy.map_or(String::new(), |copy| format!(", copies {copy:.1} GB/s"));
    let mut text = format!("{model} on {device} ({backend}{copy})\n\n{}", table.render());
    for kernels in &output.kernels {
        text += &format!("\n{}\n\n{}", kernels.heading(), kernels.table().render());
    }
    output::text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_between() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of(vec![4.0, 1.0]).max, 4.0);
    }
}
