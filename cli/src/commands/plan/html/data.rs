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
    decisions: Vec<DecisionData<'a>>,
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

#[derive(Serialize)]
struct DecisionData<'a> {
    #[serde(flatten)]
    decision: &'a Decision,
    /// The values that it names.
    values: Vec<u32>,
}

pub(super) fn of<'a>(page: &Page<'a>) -> Data<'a> {
    let plan = page.plan;
    let buffers = plan.buffers.iter().map(|buffer| BufferData {
        name: &buffer.name,
        bytes: buffer.bytes,
        role: buffer.role,
        tenants: &buffer.tenants,
    });
    let decisions = plan
        .decisions
        .iter()
        .map(|decision| DecisionData { decision, values: values_in(&decision.at) });
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
        decisions: decisions.collect(),
    }
}

/// The numbers of the values in a text such as `%17 q, %19 k`.
fn values_in(text: &str) -> Vec<u32> {
    let after = text.split('%').skip(1);
    let digits = after.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        // The index is that of a character of `rest`, or its end.
        rest[..end].parse()
    });
    digits.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::values_in;

    #[test]
    fn values_are_found_in_what_decisions_say() {
        assert_eq!(values_in("%17 q, %19 k"), [17, 19]);
        assert_eq!(values_in("100% of %é %4294967296"), [0; 0]);
    }
}
