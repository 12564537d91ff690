//! What the page's script reads: the plan, arranged so that the page need not search.

use super::{Page, graph, programs};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{Access, BufferRole, Decision, Kernel, ModelFacts, PlanOptions, Tenant};
use serde::Serialize;

/// Everything but kernel text.
#[derive(Serialize)]
pub(super) struct Data<'a> {
    title: &'a str,
    identity: &'a str,
    version: u32,
    model: &'a ModelFacts,
    options: &'a PlanOptions,
    device: &'a DeviceFacts,
    programs: Vec<programs::ProgramData>,
    ops: Vec<graph::OpData>,
    kernels: Vec<KernelData<'a>>,
    buffers: Vec<BufferData<'a>>,
    decisions: &'a [Decision],
}

#[derive(Serialize)]
struct KernelData<'a> {
    name: &'a str,
    family: &'a str,
    variant: &'a str,
    threads: u32,
    workgroup_bytes: u32,
    /// Names of the bindings, and whether each is written.
    bindings: Vec<(&'a str, bool)>,
}

impl<'a> KernelData<'a> {
    fn of(kernel: &'a Kernel) -> KernelData<'a> {
        let bindings = kernel.bindings.iter();
        KernelData {
            name: &kernel.name,
            family: &kernel.family,
            variant: &kernel.variant,
            threads: kernel.workgroup,
            workgroup_bytes: kernel.workgroup_bytes,
            bindings: bindings.map(|b| (b.name.as_str(), b.access == Access::Write)).collect(),
        }
    }
}

#[derive(Serialize)]
struct BufferData<'a> {
    name: &'a str,
    bytes: u64,
    role: BufferRole,
    tenants: &'a [Tenant],
}

pub(super) fn of<'a>(page: &Page<'a>) -> Data<'a> {
    let plan = page.plan;
    let buffers = plan.buffers.iter().map(|buffer| BufferData {
        name: &buffer.name,
        bytes: buffer.bytes,
        role: buffer.role,
        tenants: &buffer.tenants,
    });
    Data {
        title: page.model,
        identity: &plan.identity,
        version: plan.version,
        model: &plan.model,
        options: &plan.options,
        device: &plan.device,
        programs: programs::of(page),
        ops: graph::ops(page),
        kernels: plan.kernels.iter().map(KernelData::of).collect(),
        buffers: buffers.collect(),
        decisions: &plan.decisions,
    }
}
