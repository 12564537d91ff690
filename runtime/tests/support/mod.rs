//! Hand-built plans for tests: the smallest that a runtime accepts, with kernels written here.
#![allow(dead_code, reason = "each test file uses part of it")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use quarrel_ir::format::Format;
use quarrel_ir::plan::*;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use quarrel_runtime::Gpu;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

/// The software device; its absence fails the test.
pub fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(None).expect("tests need a Vulkan device")).clone()
}

/// Weights in memory; remembers what was released.
#[derive(Default)]
pub struct Weights {
    tensors: HashMap<String, (TensorInfo, Vec<u8>)>,
    pub released: Mutex<Vec<String>>,
}

impl Weights {
    pub fn add(&mut self, name: &str, format: Format, shape: &[u64], bytes: Vec<u8>) {
        let info = TensorInfo { name: name.into(), format, shape: shape.to_vec() };
        self.tensors.insert(name.into(), (info, bytes));
    }
}

impl WeightSource for Weights {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|tensor| &tensor.0)
    }
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        let found = self.tensors.get(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        Ok(Cow::Borrowed(&found.1))
    }
    fn release(&self, name: &str) {
        self.released.lock().unwrap().push(name.into());
    }
}

/// Builds a plan buffer by buffer.
pub struct Builder {
    pub plan: Plan,
}

/// The buffers that the host writes and reads, which come first.
const fn io() -> Io {
    Io {
        tokens: BufferId(0),
        positions: BufferId(1),
        slots: BufferId(2),
        out_rows: BufferId(3),
        step: BufferId(4),
        logits: BufferId(5),
        largest: BufferId(6),
        live: BufferId(7),
        sampler: BufferId(8),
        sampled: BufferId(9),
        drawn: BufferId(10),
        stop: BufferId(11),
    }
}

impl Builder {
    pub fn new(vocabulary: u32, options: PlanOptions) -> Builder {
        let (chunk, slots) = (options.chunk.max(options.slots), options.slots);
        let rows = options.out_rows.max(slots);
        let mut plan = Plan {
            version: PLAN_VERSION,
            identity: String::new(),
            checksum: String::new(),
            model: ModelFacts {
                architecture: "test".into(),
                vocabulary,
                layers: 1,
                ..ModelFacts::default()
            },
            options,
            device: gpu().facts(),
            rewind: Rewind::All,
            position_bytes: 0,
            buffers: Vec::new(),
            io: io(),
            kernels: Vec::new(),
            programs: Vec::new(),
            load: Vec::new(),
            decisions: Vec::new(),
        };
        let sampler = quarrel_ir::sampling::SLOT_WORDS as u32 * slots;
        let stop = 1 + quarrel_ir::sampling::MAX_STOP_TOKENS as u32;
        let io = [
            ("tokens", chunk),
            ("positions", chunk),
            ("slots", chunk),
            ("out_rows", rows),
            ("step", 4),
            ("logits", rows * vocabulary),
            ("largest", 2 * rows * quarrel_ir::sampling::MOST_PARTS),
            ("live", slots),
            ("sampler", sampler),
            ("sampled", 4 * slots * quarrel_ir::sampling::RECORDS),
            ("drawn", slots),
            ("stop", stop),
        ];
        for (name, words) in io {
            plan.buffers.push(Buffer {
                name: name.into(),
                bytes: (4 * u64::from(words)).next_multiple_of(16),
                role: BufferRole::Io,
                tenants: Vec::new(),
            });
        }
        Builder { plan }
    }

    pub fn buffer(&mut self, name: &str, bytes: u64, role: BufferRole) -> BufferId {
        let id = BufferId(self.plan.buffers.len() as u32);
        let bytes = bytes.next_multiple_of(16);
        self.plan.buffers.push(Buffer { name: name.into(), bytes, role, tenants: Vec::new() });
        id
    }

    pub fn whole(&self, id: BufferId) -> BufferRange {
        BufferRange { buffer: id, offset: 0, bytes: self.plan.buffer(id).bytes }
    }

    /// Adds a kernel; bindings are `(name, WGSL type, access)`.
    pub fn kernel(
        &mut self,
        name: &str,
        workgroup: u32,
        bindings: &[(&str, &str, Access)],
        body: &str,
    ) -> KernelId {
        let mut wgsl = String::new();
        for (index, (name, ty, access)) in bindings.iter().enumerate() {
            let mode = if *access == Access::Read { "read" } else { "read_write" };
            wgsl += &format!("@group(0) @binding({index}) var<storage, {mode}> {name}: {ty};\n");
        }
        wgsl += body;
        let bindings = bindings
            .iter()
            .map(|(name, _, access)| KernelBinding { name: (*name).into(), access: *access })
            .collect();
        self.add_kernel(Kernel {
            name: name.into(),
            family: "test".into(),
            variant: String::new(),
            choice: None,
            wgsl,
            bindings,
            workgroup,
            workgroup_bytes: 0,
        })
    }

    pub fn add_kernel(&mut self, kernel: Kernel) -> KernelId {
        self.plan.kernels.push(kernel);
        KernelId(self.plan.kernels.len() as u32 - 1)
    }

    /// A dispatch over whole buffers.
    pub fn dispatch(&self, kernel: KernelId, buffers: &[BufferId], grid: [Extent; 3]) -> Dispatch {
        let op =
            FusedOp { value: 0, op: "op".into(), name: None, layer: None, place: Place::Anchor };
        Dispatch {
            kernel,
            bindings: buffers.iter().map(|&id| self.whole(id)).collect(),
            contents: vec![Content::Io; buffers.len()],
            grid,
            layer: Some(3),
            ops: vec![op],
            reason: String::new(),
            cost: Cost::default(),
        }
    }

    /// A program of kernels over whole buffers.
    pub fn stages(
        &mut self,
        phase: Phase,
        stages: impl Iterator<Item = (Vec<BufferId>, [Extent; 3], Kernel)>,
    ) {
        let mut dispatches = Vec::new();
        for (buffers, grid, kernel) in stages {
            let kernel = self.add_kernel(kernel);
            dispatches.push(self.dispatch(kernel, &buffers, grid));
        }
        self.program(phase, dispatches);
    }

    pub fn program(&mut self, phase: Phase, dispatches: Vec<Dispatch>) {
        let name = format!("{phase:?}");
        self.plan.programs.push(Program { name, phase, dispatches });
    }
}

pub const ONE: Extent = Extent::Const(1);

pub const fn per(dim: quarrel_ir::graph::RunDim, tile: u32) -> Extent {
    Extent::Tiles { dim, tile, times: 1 }
}
