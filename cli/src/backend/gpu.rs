//! Models on a GPU: opening the device, compiling, loading, and the session as a [`Backend`].

use super::Backend;
use crate::background::Pending;
use crate::error::{CliError, Result};
use crate::measured;
use crate::memory::available_memory;
use crate::options::PlanArgs;
use crate::progress::LoadBar;
use quarrel_compiler::CompileError;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{Phase, Plan, PlanOptions};
use quarrel_ir::weight::WeightSource;
use quarrel_runtime::{Engine, GenerateOptions, Generation, Gpu, LoadOptions, Session, Trace};
use std::ops::ControlFlow;

/// Bytes of logits that one prompt step yields at most, where those of every row are wanted.
const LOGIT_BYTES: u64 = 32 << 20;

/// What a model runs on.
#[derive(Debug)]
pub(crate) enum Device {
    /// A GPU, or a software one.
    Gpu(Gpu),
    /// The CPU interpreter.
    Reference,
}

impl Device {
    /// Starts opening the device that was asked for.
    pub(crate) fn start(plan: &PlanArgs) -> Pending<Result<Device>> {
        let (reference, selector) = (plan.is_reference(), plan.device.clone());
        Pending::start(move || match reference {
            true => Ok(Device::Reference),
            false => Ok(Device::Gpu(Gpu::open(selector.as_deref())?)),
        })
    }

    /// The GPU, for commands that need a compiled plan.
    pub(crate) fn gpu(self, command: &str) -> Result<Gpu> {
        match self {
            Device::Gpu(gpu) => Ok(gpu),
            Device::Reference => Err(CliError::User(format!(
                "`{command}` needs a GPU: the reference interpreter runs the graph without \
                 compiling it"
            ))),
        }
    }
}

/// Rows of logits that one step yields where those of every row are wanted.
pub(crate) fn rows_at_once(vocabulary: u64) -> u32 {
    let rows = LOGIT_BYTES / (4 * vocabulary.max(1));
    // At most 512.
    rows.clamp(1, 512) as u32
}

/// A model compiled for an open device.
#[derive(Debug)]
pub(crate) struct GpuModel {
    gpu: Gpu,
    pub(crate) plan: Plan,
}

impl GpuModel {
    /// Compiles `graph` for `gpu`.
    pub(crate) fn compile(
        graph: &Graph,
        gpu: Gpu,
        options: &PlanOptions,
    ) -> std::result::Result<GpuModel, CompileError> {
        let plan = quarrel_compiler::compile(graph, &measured::facts(&gpu), options)?;
        Ok(GpuModel { gpu, plan })
    }

    /// A plan that was compiled before.
    pub(crate) fn of(plan: Plan, gpu: Gpu) -> GpuModel {
        GpuModel { gpu, plan }
    }

    /// Loads the weights; kernels of `phases` are compiled meanwhile, first needed first.
    pub(crate) fn load(&self, weights: &dyn WeightSource, phases: &[Phase]) -> Result<Session> {
        let bar = LoadBar::new();
        let load = LoadOptions { available_memory: available_memory(), phases };
        let progress = |done, whole| bar.at(done, whole);
        Ok(Session::new(Engine::load(&self.gpu, &self.plan, weights, load, &progress)?))
    }
}

impl Backend for Session {
    fn generate(
        &mut self,
        prompt: &[u32],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generation> {
        Ok(Session::generate(self, prompt, options, on_token)?)
    }

    fn generate_batch(
        &mut self,
        prompts: &[&[u32]],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>> {
        Ok(Session::generate_batch(self, prompts, options, on_token)?)
    }

    fn trace(&self) -> Result<Option<Trace>> {
        Ok(self.engine().trace()?)
    }

    fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        Ok(Session::logits(self, tokens)?)
    }

    fn all_logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let width = self.engine().plan().model.vocabulary.max(1) as usize;
        Session::all_logits(self, tokens, |first, rows| {
            (first..).zip(rows.chunks_exact(width)).try_for_each(|(at, row)| on_row(at, row))
        })
    }
}
