//! The sampling kernels beside a plain model of the same algorithm.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../runtime/tests/support/mod.rs"]
mod support;

use proptest::prelude::*;
use quarrel_ir::plan::*;
use quarrel_ir::sampling::{RECORDS, SLOT_WORDS, Status};
use quarrel_kernels::sampling::Stage;
use quarrel_runtime::{Engine, LoadOptions};
use support::{Builder, Weights, gpu};

/// Sampling parameters of one draw.
#[derive(Clone, Debug)]
struct Params {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    penalty: f32,
    seed: u32,
    history: Vec<u32>,
    position: u32,
}

impl Params {
    fn plain(temperature: f32, seed: u32) -> Params {
        let (top_k, top_p, min_p, penalty) = (0, 1.0, 0.0, 1.0);
        Params { temperature, top_k, top_p, min_p, penalty, seed, history: Vec::new(), position: 3 }
    }
}

const CONTEXT: u32 = 1 << 20;

/// An engine with nothing but the sampling programs.
struct Sampler {
    engine: Engine,
    vocabulary: u32,
}

impl Sampler {
    /// `threads` bounds the workgroups, to see that nothing depends on their size.
    fn new(vocabulary: u32, threads: u32) -> Sampler {
        let options = PlanOptions { context: CONTEXT, chunk: 4, ..PlanOptions::default() };
        let mut builder = Builder::new(vocabulary, options);
        let facts = quarrel_ir::facts::DeviceFacts {
            max_workgroup_threads: threads,
            kind: quarrel_ir::facts::DeviceKind::Discrete,
            ..gpu().facts()
        };
        let kernels = quarrel_kernels::sampling::kernels(&facts, vocabulary, CONTEXT, 1);
        for (phase, stages) in kernels.programs() {
            let io = builder.plan.io.clone();
            let stage = |stage: Stage| (stage.buffers(&io), stage.grid(), stage.kernel);
            builder.stages(phase, stages.into_iter().map(stage));
        }
        let weights = Weights::default();
        let options = LoadOptions::default();
        let engine = Engine::load(&gpu(), &builder.plan, &weights, options, &|_, _| ()).unwrap();
        Sampler { engine, vocabulary }
    }

    /// Token and status of one draw; checks that the logits are left as they were.
    fn draw(&self, phase: Phase, logits: &[f32], params: &Params) -> (u32, Status) {
        assert_eq!(logits.len(), self.vocabulary as usize);
        let io = &self.engine.plan().io;
        let bits: Vec<u32> = logits.iter().map(|logit| logit.to_bits()).collect();
        let mut record = vec![0; SLOT_WORDS];
        record[..8].copy_from_slice(&[
            params.temperature.to_bits(),
            params.top_k,
            params.top_p.to_bits(),
            params.min_p.to_bits(),
            params.penalty.to_bits(),
            params.seed,
            params.history.len() as u32,
            params.history.len() as u32 % 64,
        ]);
        record[8..8 + params.history.len()].copy_from_slice(&params.history);
        self.engine.write(io.logits, &bits);
        self.engine.write(io.sampler, &record);
        self.engine.write(io.stop, &[0]);
        self.engine.write(io.live, &[1]);
        // Records go round: this one lies at place 3.
        self.engine.write(io.drawn, &[2 * RECORDS + 3]);
        self.engine.write(io.tokens, &[0, 7, 7, 7]);
        self.engine.write(io.positions, &[9, params.position, 9, 9]);
        self.engine.write(io.slots, &[0; 4]);
        self.engine.write(io.out_rows, &[1]);
        self.engine.write(io.step, &[2, 1, 0, 0]);
        let dims = StepDims { tokens: 2, out_rows: 1, slots: 1 };
        self.engine.run(&[(phase, dims)]).unwrap();
        let sampled = self.engine.read(io.sampled, 3 * 16, 4).unwrap();
        assert_eq!(self.engine.read(io.drawn, 0, 1).unwrap(), [2 * RECORDS + 4]);
        assert_eq!(self.engine.read(io.logits, 0, bits.len()).unwrap(), bits);
        let status = Status::from_word(sampled[1]).unwrap();
        if status == Status::Live {
            assert_eq!(sampled[2], params.position + 2);
            let inputs = [io.tokens, io.positions, io.slots, io.out_rows];
            let inputs = inputs.map(|id| self.engine.read(id, 0, 1).unwrap()[0]);
            assert_eq!(inputs, [sampled[0], params.position + 1, 0, 0]);
            assert_eq!(self.engine.read(io.step, 0, 4).unwrap(), [1, 1, 0, 0]);
        }
        (sampled[0], status)
    }
}

/// What the kernel computes, said plainly, in f64.
mod model {
    use super::Params;

    fn mix(mut v: [u32; 4]) -> u32 {
        fn round(v: &mut [u32; 4]) {
            v[0] = v[0].wrapping_add(v[1].wrapping_mul(v[3]));
            v[1] = v[1].wrapping_add(v[2].wrapping_mul(v[0]));
            v[2] = v[2].wrapping_add(v[0].wrapping_mul(v[1]));
            v[3] = v[3].wrapping_add(v[1].wrapping_mul(v[2]));
        }
        v = v.map(|word| word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        round(&mut v);
        v = v.map(|word| word ^ (word >> 16));
        round(&mut v);
        v[0]
    }

    fn gumbel(seed: u32, position: u32, token: u32) -> f64 {
        let v = (f64::from(mix([seed, 0, position, token])) + 0.5) / f64::from(u32::MAX);
        let v = v.min(0.999_999_94);
        -(-(-v).ln_1p()).ln()
    }

    pub(super) fn penalised(logits: &[f32], params: &Params) -> Vec<f64> {
        let mut result: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        let mut seen = params.history.clone();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            let logit = &mut result[token as usize];
            let penalty = f64::from(params.penalty);
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
        result
    }

    /// Tokens that are kept, most probable first, and how close the last decision was.
    pub(super) fn kept(logits: &[f64], params: &Params) -> (Vec<usize>, f64) {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let mut margin = f64::INFINITY;
        if params.top_k > 0 && (params.top_k as usize) < order.len() {
            let k = params.top_k as usize;
            margin = margin.min(logits[order[k - 1]] - logits[order[k]]);
            order.truncate(k);
        }
        let largest = logits[order[0]];
        let mass = |token: usize| (logits[token] - largest).exp();
        if params.top_p < 1.0 {
            let total: f64 = order.iter().map(|&token| mass(token)).sum();
            let mut sum = 0.0;
            let mut keep = order.len();
            for (index, &token) in order.iter().enumerate() {
                sum += mass(token) / total;
                margin = margin.min((sum - f64::from(params.top_p)).abs());
                if sum >= f64::from(params.top_p) {
                    keep = index + 1;
                    break;
                }
            }
            // Equal logits stay together.
            if keep < order.len() {
                margin = margin.min(logits[order[keep - 1]] - logits[order[keep]]);
            }
            order.truncate(keep);
        }
        if params.min_p > 0.0 {
            let limit = largest + f64::from(params.min_p).ln();
            let nearest = order.iter().map(|&token| (logits[token] - limit).abs());
            margin = nearest.fold(margin, f64::min);
            order.retain(|&token| logits[token] >= limit);
        }
        (order, margin)
    }

    /// The token drawn, and how close the decision was.
    pub(super) fn draw(logits: &[f32], params: &Params) -> (u32, f64) {
        let logits = penalised(logits, params);
        let (kept, margin) = kept(&logits, params);
        let score = |token: usize| {
            let noise = gumbel(params.seed, params.position, token as u32);
            (logits[token] - logits[kept[0]]) / f64::from(params.temperature) + noise
        };
        let mut scores: Vec<(f64, usize)> =
            kept.iter().map(|&token| (score(token), token)).collect();
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let second = scores.get(1).map_or(f64::NEG_INFINITY, |score| score.0);
        (scores[0].1 as u32, margin.min(scores[0].0 - second))
    }
}

fn normal(count: usize, scale: f32, seed: u32) -> Vec<f32> {
    let mut state = u64::from(seed) * 2 + 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    // A sum of uniforms is close enough to a bell.
    (0..count).map(|_| scale * ((0..6).map(|_| uniform()).sum::<f32>() - 3.0)).collect()
}

fn params() -> impl Strategy<Value = Params> {
    (
        prop_oneof![Just(1.0f32), 0.1f32..3.0],
        prop_oneof![Just(0u32), Just(1), Just(40), 1u32..400],
        prop_oneof![Just(1.0f32), 0.01f32..1.0],
        prop_oneof![Just(0.0f32), 0.0f32..0.5],
        prop_oneof![Just(1.0f32), 0.5f32..2.0],
        any::<u32>(),
        prop::collection::vec(0u32..100, 0..64),
        0u32..4000,
    )
        .prop_map(|(temperature, top_k, top_p, min_p, penalty, seed, history, position)| {
            Params { temperature, top_k, top_p, min_p, penalty, seed, history, position }
        })
}

#[test]
fn draws_agree_with_the_model() {
    let samplers = [Sampler::new(1000, 256), Sampler::new(333, 64), Sampler::new(4096, 1024)];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
    let checked = std::cell::Cell::new(0);
    let cases = (0usize..3, params(), 0.5f32..6.0, any::<u32>());
    runner
        .run(&cases, |(which, params, scale, seed)| {
            let sampler = &samplers[which];
            let logits = normal(sampler.vocabulary as usize, scale, seed);
            let (expected, margin) = model::draw(&logits, &params);
            let (token, status) = sampler.draw(Phase::Sample, &logits, &params);
            prop_assert_eq!(status, Status::Live);
            if margin > 1e-4 {
                checked.set(checked.get() + 1);
                prop_assert_eq!(token, expected, "margin {}", margin);
            }
            Ok(())
        })
        .unwrap();
    assert!(checked.get() > 100, "only {} draws were clear", checked.get());
}

#[test]
fn temperature_zero_takes_the_largest_after_the_penalty() {
    let sampler = Sampler::new(1000, 256);
    let mut logits = vec![0.0; 1000];
    logits[7] = 3.0;
    logits[500] = 2.0;
    logits[999] = 2.0;
    let mut params = Params::plain(0.0, 1);
    assert_eq!(sampler.draw(Phase::Sample, &logits, &params).0, 7);
    params.penalty = 2.0;
    params.history = vec![7, 7, 7];
    assert_eq!(sampler.draw(Phase::Sample, &logits, &params).0, 500);
    params.history.push(500);
    assert_eq!(sampler.draw(Phase::Sample, &logits, &params).0, 999);
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    for vocabulary in [1u32, 3, 333, 1000, 49_152] {
        let sampler = Sampler::new(vocabulary, 1024);
        let mut logits = normal(vocabulary as usize, 2.0, vocabulary);
        let largest = |logits: &[f32]| {
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            logits.iter().position(|&logit| logit == best).unwrap() as u32
        };
        let params = Params::plain(0.0, 0);
        let draw = |logits: &[f32]| sampler.draw(Phase::Greedy, logits, &params).0;
        assert_eq!(draw(&logits), largest(&logits));
        for index in [vocabulary / 3, vocabulary / 2, vocabulary - 1] {
            logits[index as usize] = 50.0;
        }
        assert_eq!(draw(&logits), vocabulary / 3);
        logits.fill(f32::NEG_INFINITY);
        logits[vocabulary as usize - 1] = -1e30;
        assert_eq!(draw(&logits), vocabulary - 1);
        logits.fill(-0.0);
        logits[vocabulary as usize - 1] = 0.0;
        assert_eq!(draw(&logits), 0);
    }
}

#[test]
fn what_is_no_number_is_reported() {
    for vocabulary in [333, 1000] {
        let sampler = Sampler::new(vocabulary, 256);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
            for phase in [Phase::Greedy, Phase::Sample] {
                let mut logits = normal(vocabulary as usize, 2.0, 5);
                logits[217] = bad;
                let status = sampler.draw(phase, &logits, &Params::plain(1.0, 3)).1;
                assert_eq!(status, Status::NotFinite, "{bad} {phase:?}");
            }
        }
        let nothing = vec![f32::NEG_INFINITY; vocabulary as usize];
        let status = sampler.draw(Phase::Greedy, &nothing, &Params::plain(0.0, 3)).1;
        assert_eq!(status, Status::NotFinite);
        let status = sampler.draw(Phase::Sample, &nothing, &Params::plain(1.0, 3)).1;
        assert_eq!(status, Status::NotFinite);
    }
}

#[test]
fn draws_follow_the_distribution() {
    let sampler = Sampler::new(8, 64);
    let logits = [0.0, 1.0, 2.0, 3.0, -1.0, f32::NEG_INFINITY, 2.5, -4.0];
    let heat = 1.5f64;
    let mass: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) / heat).exp()).collect();
    let total: f64 = mass.iter().sum();
    let draws = 3000;
    let mut counts = [0u32; 8];
    for seed in 0..draws {
        let params = Params { position: seed * 7 % 501, ..Params::plain(heat as f32, seed) };
        counts[sampler.draw(Phase::Sample, &logits, &params).0 as usize] += 1;
    }
    assert_eq!(counts[5], 0);
    for (count, mass) in counts.iter().zip(&mass) {
        let expected = mass / total * f64::from(draws);
        let spread = (expected * (1.0 - mass / total)).sqrt().max(1.0);
        assert!((f64::from(*count) - expected).abs() < 5.0 * spread, "{counts:?}");
    }
}
