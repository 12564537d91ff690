//! Sampling on the CPU, in the order and with the random numbers of the sampling kernels.

use quarrel_ir::sampling::HISTORY;
use quarrel_runtime::SamplingParams;

/// Draws tokens for one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    /// The last tokens, at most [`HISTORY`].
    history: Vec<u32>,
}

impl Sampler {
    /// A sampler for a sequence that begins with `prompt`.
    pub fn new(params: SamplingParams, prompt: &[u32]) -> Sampler {
        let recent = prompt.iter().skip(prompt.len().saturating_sub(HISTORY));
        Sampler { params, history: recent.copied().collect() }
    }

    /// Draws the token that follows the one at `position`. The logits are finite and at least one.
    pub fn draw(&mut self, logits: &[f32], position: usize) -> u32 {
        self.draw_by(logits, position).0
    }

    /// As [`draw`](Sampler::draw), with how far the next best token was behind; infinite where there
    /// was none.
    pub fn draw_by(&mut self, logits: &[f32], position: usize) -> (u32, f64) {
        let mut kept: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
        self.penalise(&mut kept);
        // Largest first, the lowest id among equals first.
        kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.params.temperature > 0.0 {
            self.narrow(&mut kept);
        } else {
            kept.truncate(2);
        }
        let score = |&(token, logit): &(u32, f32)| match self.params.temperature > 0.0 {
            true => {
                let noise = self.gumbel(position as u32, token);
                (token, f64::from(logit) / f64::from(self.params.temperature) + noise)
            }
            false => (token, f64::from(logit)),
        };
        let (mut best, mut second) = ((0, f64::NEG_INFINITY), f64::NEG_INFINITY);
        // Of equals the first, which has the lowest id.
        for (token, score) in kept.iter().map(score) {
            if score > best.1 {
                (best, second) = ((token, score), best.1);
            } else {
                second = second.max(score);
            }
        }
        let token = best.0;
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(token);
        (token, best.1 - second)
    }

    fn penalise(&self, logits: &mut [(u32, f32)]) {
        let penalty = self.params.repeat_penalty;
        let penalised = logits.iter_mut().filter(|(token, _)| self.history.contains(token));
        if penalty != 1.0 {
            for (_, logit) in penalised {
                *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
            }
        }
    }

    /// Top-k, top-p at temperature 1, min-p: each keeps the tokens at or above some logit, all of those
    /// that are equal to it. `kept` is sorted, largest first, and stays so.
    fn narrow(&self, kept: &mut Vec<(u32, f32)>) {
        let SamplingParams { top_k, top_p, min_p, .. } = self.params;
        let largest = kept.first().map_or(0.0, |first| first.1);
        let mass = |logit: f32| f64::from(logit - largest).exp();
        if let Some(&(_, last)) = (top_k as usize).checked_sub(1).and_then(|k| kept.get(k)) {
            kept.retain(|(_, logit)| *logit >= last);
        }
        let whole: f64 = kept.iter().map(|(_, logit)| mass(*logit)).sum();
        let mut sum = 0.0;
        let wanted = f64::from(top_p) * whole;
        let reached = kept.iter().find(|(_, logit)| {
            sum += mass(*logit);
            sum >= wanted
        });
        if let Some(&(_, last)) = reached.filter(|_| top_p < 1.0) {
            kept.retain(|(_, logit)| *logit >= last);
        }
        kept.retain(|(_, logit)| mass(*logit) >= f64::from(min_p));
    }

    /// Gumbel noise from a hash of seed, slot 0, position and token.
    fn gumbel(&self, position: u32, token: u32) -> f64 {
        let seed = (self.params.seed ^ (self.params.seed >> 32)) as u32;
        let word = mix([seed, 0, position, token]);
        let share = (f64::from(word) + 0.5) / 4_294_967_296.0;
        -(-(-share).ln_1p()).ln()
    }
}

/// The first of four mixed words; Jarzynski and Olano, Hash Functions for GPU Rendering, 2020
/// (pcg4d).
fn mix(input: [u32; 4]) -> u32 {
    let [mut x, mut y, mut z, mut w] =
        input.map(|word| word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    x = x.wrapping_add(y.wrapping_mul(w));
    y = y.wrapping_add(z.wrapping_mul(x));
    z = z.wrapping_add(x.wrapping_mul(y));
    w = w.wrapping_add(y.wrapping_mul(z));
    (x, y, w) = (x ^ (x >> 16), y ^ (y >> 16), w ^ (w >> 16));
    // The second round; only its first word is wanted.
    x.wrapping_add(y.wrapping_mul(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> SamplingParams {
        SamplingParams { temperature: 1.0, ..SamplingParams::default() }
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        let mut sampler = Sampler::new(SamplingParams::default(), &[]);
        assert_eq!(sampler.draw(&[0.0, 2.0, 2.0, 1.0], 0), 1);
    }

    #[test]
    fn the_penalty_lasts_as_long_as_the_history() {
        let penalised = SamplingParams { repeat_penalty: 2.0, ..SamplingParams::default() };
        let mut sampler = Sampler::new(penalised, &[1]);
        assert_eq!(sampler.draw(&[1.5, 2.0], 0), 0);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let mut sampler = Sampler::new(params(), &[]);
        let draws = (0..4000).filter(|&at| sampler.draw(&[0.0, 1.0], at) == 1).count();
        // e / (1 + e) = 0.731.
        assert!((0.70..0.76).contains(&(draws as f64 / 4000.0)), "{draws}");
    }

    #[test]
    fn top_k_top_p_and_min_p_keep_what_they_say() {
        let logits: Vec<(u32, f32)> = vec![(0, 3.0), (1, 2.0), (2, 1.0), (3, -9.0)];
        let kept = |params: SamplingParams| {
            let mut kept = logits.clone();
            Sampler::new(params, &[]).narrow(&mut kept);
            kept.len()
        };
        assert_eq!(kept(SamplingParams { top_k: 2, ..params() }), 2);
        assert_eq!(kept(SamplingParams { top_p: 0.5, ..params() }), 1);
        assert_eq!(kept(SamplingParams { min_p: 0.1, ..params() }), 3);
        assert_eq!(kept(params()), 4);
    }

    #[test]
    fn equal_tokens_are_kept_together() {
        let kept = |params: SamplingParams| {
            let mut kept = vec![(0, 3.0), (1, 2.0), (2, 2.0), (3, 2.0), (4, -9.0)];
            Sampler::new(params, &[]).narrow(&mut kept);
            kept.len()
        };
        assert_eq!(kept(SamplingParams { top_k: 2, ..params() }), 4);
        assert_eq!(kept(SamplingParams { top_p: 0.5, ..params() }), 4);
    }
}
