//! Sampling parameters, and the words in which kernels read them.

use crate::error::RuntimeError;
use quarrel_ir::sampling::{HISTORY, MAX_STOP_TOKENS, SLOT_WORDS};

/// How the next token is chosen from the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits before the draw; 0 takes the largest logit.
    pub temperature: f32,
    /// Keeps this many of the most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the fewest tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens with at least this share of the largest probability; 0 keeps all.
    pub min_p: f32,
    /// Makes the tokens of the last [`HISTORY`] less probable; 1 does nothing.
    pub repeat_penalty: f32,
    /// The same seed, prompt and device give the same tokens.
    pub seed: u64,
}

impl Default for SamplingParams {
    /// The largest logit.
    fn default() -> SamplingParams {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }
}

impl SamplingParams {
    /// Whether the largest logit of the model is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 && self.repeat_penalty == 1.0
    }

    /// Refuses parameters that make no sense.
    ///
    /// # Errors
    /// Names the parameter.
    pub fn check(&self) -> Result<(), RuntimeError> {
        let share = 0.0..=1.0;
        let wrong = |name, value, expected| Err(RuntimeError::Sampling { name, value, expected });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            wrong("temperature", self.temperature, "it must be 0 or more")
        } else if !share.contains(&self.top_p) {
            wrong("top-p", self.top_p, "it must be between 0 and 1")
        } else if !share.contains(&self.min_p) {
            wrong("min-p", self.min_p, "it must be between 0 and 1")
        } else if !(self.repeat_penalty.is_finite() && self.repeat_penalty > 0.0) {
            wrong("repeat penalty", self.repeat_penalty, "it must be more than 0")
        } else {
            Ok(())
        }
    }

    /// The slot's record for a sequence that begins with `tokens`.
    pub fn record(&self, tokens: &[u32]) -> [u32; SLOT_WORDS] {
        let mut words = [0; SLOT_WORDS];
        let recent = &tokens[tokens.len().saturating_sub(HISTORY)..];
        words[0] = self.temperature.to_bits();
        words[1] = self.top_k;
        words[2] = self.top_p.to_bits();
        words[3] = self.min_p.to_bits();
        words[4] = self.repeat_penalty.to_bits();
        words[5] = (self.seed ^ (self.seed >> 32)) as u32;
        words[6] = recent.len() as u32;
        words[7] = (recent.len() % HISTORY) as u32;
        // `recent` has at most HISTORY tokens, and the record room for them.
        words[8..8 + recent.len()].copy_from_slice(recent);
        words
    }
}

/// The words of the stop buffer.
pub(crate) fn stop_words(stop: &[u32]) -> Result<Vec<u32>, RuntimeError> {
    if stop.len() > MAX_STOP_TOKENS {
        return Err(RuntimeError::StopTokens(stop.len()));
    }
    Ok(std::iter::once(stop.len() as u32).chain(stop.iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_the_last_tokens() {
        let tokens: Vec<u32> = (0..100).collect();
        let record = SamplingParams { seed: 1 << 32 | 2, ..Default::default() }.record(&tokens);
        assert_eq!(record[5..8], [3, 64, 0]);
        assert_eq!(record[8], 36);
        assert_eq!(record[71], 99);
        let record = SamplingParams::default().record(&[7, 8]);
        assert_eq!(record[6..11], [2, 2, 7, 8, 0]);
    }

    #[test]
    fn senseless_parameters_are_named() {
        let params = SamplingParams { top_p: 1.5, ..Default::default() };
        assert!(params.check().unwrap_err().to_string().contains("top-p is 1.5"));
        let params = SamplingParams { temperature: f32::NAN, ..Default::default() };
        assert!(params.check().is_err());
        assert!(SamplingParams::default().check().is_ok());
    }
}
