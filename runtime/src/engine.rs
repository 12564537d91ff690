//! The engine: a plan with its buffers filled and its kernels at hand, ready to run steps.

use crate::error::RuntimeError;
use crate::gpu::Gpu;
use crate::memory;
use crate::pipelines::{Background, Pipelines};
use crate::program::{Prepared, kernels};
use crate::readback;
use crate::trace::{self, Trace};
use quarrel_ir::plan::{BufferId, BufferRole, Phase, Plan, StepDims};
use quarrel_ir::weight::WeightSource;
use std::sync::{Arc, OnceLock};

/// What loading depends on besides plan and weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions<'a> {
    /// Bytes of system memory that are free; the memory verdict uses them on devices that share it.
    pub available_memory: Option<u64>,
    /// Phases whose kernels are compiled while the weights load, first needed first. Others are
    /// compiled when they are needed.
    pub phases: &'a [Phase],
}

/// A loaded plan.
#[derive(Debug)]
pub struct Engine {
    // Dropped first: it may be inside the driver's compiler.
    background: Option<Background>,
    gpu: Gpu,
    plan: Arc<Plan>,
    buffers: Vec<wgpu::Buffer>,
    pipelines: Arc<Pipelines>,
    /// Programs by the place of their phase in [`PHASES`].
    programs: [OnceLock<Prepared>; 4],
}

const PHASES: [Phase; 4] = [Phase::Decode, Phase::Prefill, Phase::Greedy, Phase::Sample];

impl Engine {
    /// Checks the plan, allocates its buffers and loads the weights into them. `progress` is told
    /// the bytes loaded and to load.
    ///
    /// # Errors
    /// An invalid plan, one for another device, one that does not fit into memory, weights that it
    /// was not compiled for, or a failing device.
    pub fn load(
        gpu: &Gpu,
        plan: &Plan,
        weights: &dyn WeightSource,
        options: LoadOptions<'_>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Engine, RuntimeError> {
        plan.verify()?;
        check_device(gpu, plan)?;
        if let Some(available) = memory::available(gpu, options.available_memory) {
            memory::verdict(plan, &gpu.facts().name, available)?;
        }
        let plan = Arc::new(plan.clone());
        let buffers = allocate(gpu, &plan)?;
        let pipelines = Arc::new(Pipelines::new(gpu, &plan));
        let programs = [const { OnceLock::new() }; 4];
        let gpu = gpu.clone();
        let mut engine = Engine { background: None, gpu, plan, buffers, pipelines, programs };
        engine.compile_in_background(options.phases);
        {
            let _loading = trace::begin(engine.gpu.tracer(), "load the weights");
            crate::load::load(&engine.gpu, &engine.plan, &engine.buffers, weights, progress)?;
        }
        if let Some(tracer) = engine.gpu.tracer() {
            tracer.compare_clocks(&engine)?;
        }
        Ok(engine)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Compiles the kernels of `phases` and returns when they are ready.
    ///
    /// # Errors
    /// A phase without a program, or a kernel that does not compile.
    pub fn compile(&self, phases: &[Phase]) -> Result<(), RuntimeError> {
        let mut ids = Vec::new();
        for &phase in phases {
            ids.extend_from_slice(self.program(phase)?.kernels());
        }
        self.pipelines.compile_all(&ids)
    }

    /// Starts compiling the kernels of `phases` beside other work; phases without a program are
    /// passed over.
    pub fn compile_in_background(&mut self, phases: &[Phase]) {
        let ids: Vec<_> =
            phases.iter().filter_map(|&phase| self.plan.program(phase)).flat_map(kernels).collect();
        if !self.pipelines.ready(&ids) {
            // An earlier compilation ends first.
            self.background = None;
            self.background = Some(Background::start(&self.pipelines, ids));
        }
    }

    /// Compiles what `programs` still need.
    pub(crate) fn ready(&self, programs: &[(Phase, StepDims)]) -> Result<(), RuntimeError> {
        for &(phase, _) in programs {
            if !self.pipelines.ready(self.program(phase)?.kernels()) {
                self.compile(&[phase])?;
            }
        }
        Ok(())
    }

    /// Whether the kernels of `phases` are compiled.
    pub(crate) fn compiled(&self, phases: &[Phase]) -> bool {
        phases.iter().all(|&phase| {
            self.plan.program(phase).is_some_and(|p| self.pipelines.ready(&kernels(p)))
        })
    }

    /// The program for `phase` with its bind groups, made on first use.
    pub(crate) fn program(&self, phase: Phase) -> Result<&Prepared, RuntimeError> {
        let program = self.plan.program(phase).ok_or(RuntimeError::NoProgram(phase))?;
        // `PHASES` lists every phase.
        let place = PHASES.iter().position(|&known| known == phase).unwrap_or(0);
        Ok(self.programs[place]
            .get_or_init(|| Prepared::new(&self.gpu, program, &self.pipelines, &self.buffers)))
    }

    /// Records whole programs one after another in one pass.
    pub(crate) fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        programs: &[(Phase, StepDims)],
    ) -> Result<(), RuntimeError> {
        match self.gpu.tracer() {
            None => self.record_timed(encoder, programs, None),
            Some(tracer) => {
                let _recording = tracer.begin("record");
                tracer.record(self, encoder, programs)
            }
        }
    }

    /// What was traced since the plan was loaded; `None` where nobody traces.
    ///
    /// # Errors
    /// A failing device.
    pub fn trace(&self) -> Result<Option<Trace>, RuntimeError> {
        self.gpu.tracer().map(|tracer| tracer.finish(self)).transpose()
    }

    /// The dispatches of a program that run at these dims: their places, kernels' names and layers.
    pub(crate) fn dispatches(
        &self,
        (phase, dims): (Phase, StepDims),
    ) -> Result<Vec<(usize, String, Option<u32>)>, RuntimeError> {
        let program = self.plan.program(phase).ok_or(RuntimeError::NoProgram(phase))?;
        let all = program.dispatches.iter().enumerate();
        let runs = all.filter(|(_, d)| d.grid.iter().all(|extent| extent.at(dims) > 0));
        let named = runs.map(|(i, d)| (i, self.plan.kernel(d.kernel).name.clone(), d.layer));
        Ok(named.collect())
    }

    /// As [`record`](Engine::record), with timestamps at the beginning and the end of the pass.
    pub(crate) fn record_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        programs: &[(Phase, StepDims)],
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) -> Result<(), RuntimeError> {
        let mut pass = encoder
            .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        for &(phase, dims) in programs {
            let program = self.program(phase)?;
            program.record(&mut pass, &self.pipelines, dims, 0..program.len())?;
        }
        Ok(())
    }

    /// Records dispatch `index` of a program.
    pub(crate) fn record_one(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        phase: Phase,
        dims: StepDims,
        index: usize,
    ) -> Result<(), RuntimeError> {
        self.program(phase)?.record(pass, &self.pipelines, dims, index..index + 1)
    }

    /// Bind groups for a program of the plan's kernels over the plan's buffers and, after them,
    /// `extra`.
    pub(crate) fn prepare(
        &self,
        program: &quarrel_ir::plan::Program,
        extra: &[wgpu::Buffer],
    ) -> Prepared {
        let buffers: Vec<wgpu::Buffer> = self.buffers.iter().chain(extra).cloned().collect();
        Prepared::new(&self.gpu, program, &self.pipelines, &buffers)
    }

    /// Records all of a prepared program.
    pub(crate) fn record_prepared(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        program: &Prepared,
        dims: StepDims,
    ) -> Result<(), RuntimeError> {
        program.record(pass, &self.pipelines, dims, 0..program.len())
    }

    /// Submits dispatch `index` of a program alone.
    pub(crate) fn submit_one(
        &self,
        phase: Phase,
        dims: StepDims,
        index: usize,
    ) -> Result<(), RuntimeError> {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        self.record_one(&mut encoder.begin_compute_pass(&Default::default()), phase, dims, index)?;
        self.gpu.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Submits `programs`, one after another in one compute pass, at these dims. Kernels that are
    /// not compiled yet are compiled first.
    ///
    /// # Errors
    /// A phase without a program, a kernel that does not compile, or a failing device.
    pub fn run(
        &self,
        programs: &[(Phase, StepDims)],
    ) -> Result<wgpu::SubmissionIndex, RuntimeError> {
        self.ready(programs)?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        self.record(&mut encoder, programs)?;
        let submission = {
            let _submitting = trace::begin(self.gpu.tracer(), "submit");
            self.gpu.queue.submit([encoder.finish()])
        };
        self.gpu.faults.check("running a step")?;
        Ok(submission)
    }

    /// Submits dispatch `index` of the program of `phase` alone, at these dims; its kernel is compiled
    /// first where it has not been.
    ///
    /// # Errors
    /// As [`run`](Engine::run).
    ///
    /// # Panics
    /// If the program has no such dispatch.
    pub fn run_one(&self, phase: Phase, dims: StepDims, index: usize) -> Result<(), RuntimeError> {
        self.ready(&[(phase, dims)])?;
        self.submit_one(phase, dims, index)?;
        self.gpu.faults.check("running a dispatch")
    }

    /// Waits until all that was submitted is done.
    ///
    /// # Errors
    /// A failing device.
    pub fn wait(&self) -> Result<(), RuntimeError> {
        self.gpu.wait(None, "running a step")
    }

    /// The device buffer of a plan's buffer.
    ///
    /// # Panics
    /// If the id is of another plan.
    pub(crate) fn buffer(&self, id: BufferId) -> &wgpu::Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Writes words to the start of a buffer before the next submission.
    ///
    /// # Panics
    /// If the id is of another plan.
    pub fn write(&self, id: BufferId, words: &[u32]) {
        self.write_at(id, 0, words);
    }

    /// Writes words from byte `offset` of a buffer, a multiple of 4, before the next submission.
    ///
    /// # Panics
    /// If the id is of another plan.
    pub fn write_at(&self, id: BufferId, offset: u64, words: &[u32]) {
        self.gpu.queue.write_buffer(self.buffer(id), offset, bytemuck::cast_slice(words));
    }

    /// Reads `words` words from byte `offset` of a buffer when all that was submitted is done.
    ///
    /// # Errors
    /// A failing device.
    ///
    /// # Panics
    /// If the id is of another plan.
    pub fn read(&self, id: BufferId, offset: u64, words: usize) -> Result<Vec<u32>, RuntimeError> {
        readback::read_words(&self.gpu, self.buffer(id), offset, words)
    }

    /// Reads the first `rows` rows of logits into `logits`, whose old contents are dropped.
    pub(crate) fn read_logits(
        &self,
        rows: usize,
        logits: &mut Vec<f32>,
    ) -> Result<(), RuntimeError> {
        logits.clear();
        let bytes = 4 * rows as u64 * u64::from(self.plan.model.vocabulary);
        readback::read_pieces(&self.gpu, self.buffer(self.plan.io.logits), 0, bytes, |bytes| {
            let floats =
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            logits.extend(floats);
        })
    }

    /// Sets all buffers with this role to zero.
    pub(crate) fn clear(&self, role: BufferRole) {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        for (buffer, planned) in self.buffers.iter().zip(&self.plan.buffers) {
            if planned.role == role {
                encoder.clear_buffer(buffer, 0, None);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
    }
}

/// Refuses plans whose kernels may not work on this device.
fn check_device(gpu: &Gpu, plan: &Plan) -> Result<(), RuntimeError> {
    let (facts, planned) = (gpu.facts(), &plan.device);
    let limits = plan.verify_on(&facts).map_err(|error| error.to_string());
    let why = if facts.subgroup_size != planned.subgroup_size {
        format!("its subgroup size is {}, not {}", facts.subgroup_size, planned.subgroup_size)
    } else if planned.shader_f16 && !facts.shader_f16 {
        "it has no 16-bit floats".to_owned()
    } else if planned.shader_int64 && !facts.shader_int64 {
        "it has no 64-bit integers".to_owned()
    } else if planned.matrix_shapes.iter().any(|shape| !facts.matrix_shapes.contains(shape)) {
        "it lacks a cooperative matrix shape".to_owned()
    } else if let Err(why) = limits {
        why
    } else {
        return Ok(());
    };
    let (planned, device) = (planned.name.clone(), facts.name);
    Err(RuntimeError::OtherDevice { planned, device, why })
}

/// Makes the plan's buffers. wgpu sees to it that they are zero when first used.
fn allocate(gpu: &Gpu, plan: &Plan) -> Result<Vec<wgpu::Buffer>, RuntimeError> {
    let usage =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let make = |buffer: &quarrel_ir::plan::Buffer| {
        let made = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(&buffer.name),
            size: buffer.bytes,
            usage,
            mapped_at_creation: false,
        });
        gpu.faults.check(&format!("allocating {} bytes for {:?}", buffer.bytes, buffer.name))?;
        Ok(made)
    };
    plan.buffers.iter().map(make).collect()
}
