//! What runs a model: the GPU runtime, or the reference interpreter. Commands do not care which.

mod gpu;
mod reference;

pub(crate) use gpu::{Device, GpuModel, rows_at_once};
pub(crate) use reference::ReferenceBackend;

use crate::error::Result;
use quarrel_runtime::{GenerateOptions, Generation, Trace};
use std::ops::ControlFlow;

/// Sequences on a model.
pub(crate) trait Backend {
    /// Continues `prompt`. What is held of it from before is not processed again. `on_token` gets
    /// each token as it is known, a stop token included.
    fn generate(
        &mut self,
        prompt: &[u32],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generation>;

    /// Continues several prompts, together where the backend can: no more than the slots that it
    /// was made for. `on_token` gets the prompt's index and each token.
    fn generate_batch(
        &mut self,
        prompts: &[&[u32]],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>>;

    /// What was traced; `None` where nobody traces, or the backend cannot.
    fn trace(&self) -> Result<Option<Trace>> {
        Ok(None)
    }

    /// The logits that follow `tokens`.
    fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>>;

    /// The logits that follow each of `tokens`, row by row, with the row's index.
    fn all_logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()>;
}
