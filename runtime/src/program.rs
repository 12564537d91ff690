//! Programs of a plan, made ready to record: bind groups made once, grids over the run-time dims.

use crate::error::RuntimeError;
use crate::gpu::Gpu;
use crate::pipelines::Pipelines;
use quarrel_ir::plan::{Extent, KernelId, Program, StepDims};

/// A program with its bind groups.
#[derive(Debug)]
pub(crate) struct Prepared {
    dispatches: Vec<PreparedDispatch>,
    kernels: Vec<KernelId>,
}

#[derive(Debug)]
struct PreparedDispatch {
    kernel: KernelId,
    group: wgpu::BindGroup,
    grid: [Extent; 3],
}

impl Prepared {
    /// Makes the bind groups of `program` over the plan's `buffers`.
    pub(crate) fn new(
        gpu: &Gpu,
        program: &Program,
        pipelines: &Pipelines,
        buffers: &[wgpu::Buffer],
    ) -> Prepared {
        let dispatches = program.dispatches.iter().map(|dispatch| {
            let entries: Vec<_> = (0u32..)
                .zip(&dispatch.bindings)
                .map(|(binding, range)| wgpu::BindGroupEntry {
                    binding,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        // The plan was verified: its ranges name buffers that exist.
                        buffer: &buffers[range.buffer.0 as usize],
                        offset: range.offset,
                        size: std::num::NonZero::new(range.bytes),
                    }),
                })
                .collect();
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: pipelines.layout(dispatch.kernel),
                entries: &entries,
            });
            PreparedDispatch { kernel: dispatch.kernel, group, grid: dispatch.grid }
        });
        Prepared { dispatches: dispatches.collect(), kernels: kernels(program) }
    }

    /// The kernels it needs, each once.
    pub(crate) fn kernels(&self) -> &[KernelId] {
        &self.kernels
    }

    /// Number of dispatches.
    pub(crate) fn len(&self) -> usize {
        self.dispatches.len()
    }

    /// Records dispatches `range` with grids at `dims`; a dispatch with a zero extent is left out.
    pub(crate) fn record(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        pipelines: &Pipelines,
        dims: StepDims,
        range: std::ops::Range<usize>,
    ) -> Result<(), RuntimeError> {
        let mut current = None;
        // Callers count dispatches with `len`.
        for dispatch in &self.dispatches[range] {
            let [x, y, z] = dispatch.grid.map(|extent| extent.at(dims));
            if x == 0 || y == 0 || z == 0 {
                continue;
            }
            if current != Some(dispatch.kernel) {
                pass.set_pipeline(pipelines.get(dispatch.kernel)?);
                current = Some(dispatch.kernel);
            }
            pass.set_bind_group(0, &dispatch.group, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
        Ok(())
    }
}

/// The kernels of `program`, each once, in the order of their first use.
pub(crate) fn kernels(program: &Program) -> Vec<KernelId> {
    let mut seen = std::collections::HashSet::new();
    let ids = program.dispatches.iter().map(|dispatch| dispatch.kernel);
    ids.filter(|&id| seen.insert(id)).collect()
}
