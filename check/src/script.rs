//! Which steps are run, and which layers are compared.

use crate::CheckError;
use quarrel_ir::plan::{Phase, Plan, StepDims};
use quarrel_reference::StepInputs;
use std::collections::BTreeSet;

/// A text to check a plan with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Token ids, processed in chunks as the plan has them.
    pub prompt: Vec<u32>,
    /// Decode steps after it, each with the likeliest token.
    pub decode: usize,
    /// What is compared.
    pub layers: Layers,
}

/// The layers that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layers {
    /// All of them: the reference computes the whole model.
    All,
    /// These, and what is outside of layers: the reference begins each with what the device computed
    /// before it, and there is no chain to compare.
    Some(BTreeSet<u32>),
}

impl Layers {
    /// Whether dispatches of this layer are compared.
    pub fn contains(&self, layer: Option<u32>) -> bool {
        match (self, layer) {
            (Layers::All, _) | (_, None) => true,
            (Layers::Some(some), Some(layer)) => some.contains(&layer),
        }
    }
}

/// One step of a script.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) phase: Phase,
    pub(crate) inputs: StepInputs,
    pub(crate) dims: StepDims,
}

impl Step {
    /// Position of its first token.
    pub(crate) fn first(&self) -> u32 {
        self.inputs.position.first().copied().unwrap_or(0)
    }

    /// Positions of the sequence after it.
    pub(crate) fn end(&self) -> u32 {
        self.inputs.position.last().map_or(0, |last| last + 1)
    }
}

impl Script {
    /// Refuses texts that the plan has no room for.
    pub(crate) fn fits(&self, plan: &Plan) -> Result<(), CheckError> {
        let (options, vocabulary) = (&plan.options, plan.model.vocabulary);
        let needs = self.prompt.len().saturating_add(self.decode);
        let why = if self.prompt.is_empty() {
            "the prompt has no tokens".to_owned()
        } else if needs > options.context as usize {
            format!(
                "{} tokens and {} more do not fit a context of {} positions: give fewer, or a \
                 larger --ctx",
                self.prompt.len(),
                self.decode,
                options.context
            )
        } else if let Some(token) = self.prompt.iter().find(|&&token| token >= vocabulary) {
            format!("token {token} is beyond the vocabulary, which ends at {}", vocabulary - 1)
        } else if options.slots != 1 {
            "only plans of one sequence can be checked".to_owned()
        } else {
            return Ok(());
        };
        Err(CheckError::Script(why))
    }

    /// The prompt's steps.
    pub(crate) fn prompt_steps(&self, plan: &Plan) -> Vec<Step> {
        let chunk = plan.options.chunk.max(1) as usize;
        let mut first = 0;
        let step = |tokens: &[u32]| {
            let mut inputs = StepInputs::sequence(0, first as u32, tokens);
            first += tokens.len();
            // The logits of the prompt's last token are all that a session asks for.
            if first < self.prompt.len() {
                inputs.out_rows.clear();
            }
            let dims = StepDims {
                tokens: tokens.len() as u32,
                out_rows: inputs.out_rows.len() as u32,
                slots: 1,
            };
            Step { phase: Phase::Prefill, inputs, dims }
        };
        self.prompt.chunks(chunk).map(step).collect()
    }

    /// The decode step of `token` at `position`.
    pub(crate) fn decode_step(position: u32, token: u32) -> Step {
        Step {
            phase: Phase::Decode,
            inputs: StepInputs::sequence(0, position, &[token]),
            dims: StepDims { tokens: 1, out_rows: 1, slots: 1 },
        }
    }
}
