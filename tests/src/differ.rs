//! Plans run beside the reference on the same weights and tokens.

use quarrel_compiler::compile;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{Phase, Plan, PlanOptions, StepDims};
use quarrel_ir::weight::WeightSource;
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_runtime::Gpu;
use quarrel_runtime::{Engine, LoadOptions};
use std::sync::OnceLock;

/// The device that suites run on: the default one, or the one that `QUARREL_TEST_DEVICE` names.
///
/// # Panics
/// If there is none: a suite that cannot run has failed.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let wanted = std::env::var("QUARREL_TEST_DEVICE").ok();
        Gpu::open(wanted.as_deref()).unwrap_or_else(|error| panic!("no test device: {error}"))
    })
}

/// `‖a − b‖ / ‖b‖`; infinite where either has NaN.
pub fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |it: &mut dyn Iterator<Item = f64>| it.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let size = norm(&mut b.iter().map(|b| f64::from(*b)));
    let ratio = difference / size.max(1e-30);
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}

/// A plan on the test device, fed step by step.
pub struct Runner {
    engine: Engine,
}

impl Runner {
    /// Compiles and loads.
    ///
    /// # Panics
    /// If the graph does not compile or load.
    pub fn new(graph: &Graph, weights: &dyn WeightSource, options: &PlanOptions) -> Runner {
        let plan = compile(graph, &gpu().facts(), options).unwrap_or_else(|e| panic!("{e}"));
        Runner::of(&plan, weights)
    }

    /// Loads a plan.
    ///
    /// # Panics
    /// If it does not load.
    pub fn of(plan: &Plan, weights: &dyn WeightSource) -> Runner {
        let engine = Engine::load(gpu(), plan, weights, LoadOptions::default(), &|_, _| {});
        let engine = engine.unwrap_or_else(|e| panic!("{e}"));
        engine.write(plan.io.live, &vec![1; plan.options.slots as usize]);
        Runner { engine }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        self.engine.plan()
    }

    /// The loaded plan's engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs one step of `phase` and returns its logits.
    ///
    /// # Panics
    /// If the device fails.
    pub fn step(&self, phase: Phase, inputs: &StepInputs) -> Vec<f32> {
        let plan = self.engine.plan();
        let io = &plan.io;
        let dims = StepDims {
            tokens: inputs.tokens.len() as u32,
            out_rows: inputs.out_rows.len() as u32,
            slots: plan.options.slots,
        };
        self.engine.write(io.tokens, &inputs.tokens);
        self.engine.write(io.positions, &inputs.position);
        self.engine.write(io.slots, &inputs.slot);
        self.engine.write(io.out_rows, &inputs.out_rows);
        self.engine.write(io.step, &[dims.tokens, dims.out_rows, 0, 0]);
        self.engine.run(&[(phase, dims)]).unwrap_or_else(|e| panic!("{e}"));
        let words = inputs.out_rows.len() * plan.model.vocabulary as usize;
        let read = self.engine.read(io.logits, 0, words).unwrap_or_else(|e| panic!("{e}"));
        read.into_iter().map(f32::from_bits).collect()
    }
}

/// Feeds `tokens` in chunks of `chunk`, then the rest one by one, to plan and reference; the
/// largest relative distance between their logits.
///
/// # Panics
/// If either fails.
pub fn distance(
    graph: &Graph,
    weights: &dyn WeightSource,
    options: &PlanOptions,
    tokens: &[u32],
    prompt: usize,
) -> f64 {
    let runner = Runner::new(graph, weights, options);
    let mut oracle = Interpreter::new(graph.clone(), weights, 1, options.context as usize)
        .unwrap_or_else(|e| panic!("{e}"));
    let mut worst: f64 = 0.0;
    let mut at = 0;
    while at < tokens.len() {
        let (phase, len) = if at < prompt {
            (Phase::Prefill, (prompt - at).min(options.chunk as usize))
        } else {
            (Phase::Decode, 1)
        };
        let mut inputs = StepInputs::sequence(0, at as u32, &tokens[at..at + len]);
        if options.out_rows as usize >= len {
            inputs = inputs.with_all_rows();
        }
        let found = runner.step(phase, &inputs);
        let wanted = oracle.step(&inputs).unwrap_or_else(|e| panic!("{e}"));
        worst = worst.max(relative_l2(&found, &wanted));
        at += len;
    }
    worst
}
