//! Kernels to pipelines: each compiled once, when a program first needs it, several at a time.

use crate::error::RuntimeError;
use crate::gpu::Gpu;
use crate::trace;
use quarrel_ir::plan::{Access, Kernel, KernelId, Plan};
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// The kernels of one plan, compiled on demand.
#[derive(Debug)]
pub(crate) struct Pipelines {
    gpu: Gpu,
    plan: Arc<Plan>,
    /// One layout for each sequence of accesses.
    layouts: HashMap<Vec<Access>, wgpu::BindGroupLayout>,
    /// Message of the compiler where a kernel does not compile.
    compiled: Vec<OnceLock<Result<wgpu::ComputePipeline, String>>>,
    /// Set when nobody wants the rest of a background compilation.
    abandoned: AtomicBool,
}

impl Pipelines {
    pub(crate) fn new(gpu: &Gpu, plan: &Arc<Plan>) -> Pipelines {
        let mut layouts = HashMap::new();
        for kernel in &plan.kernels {
            layouts
                .entry(accesses(kernel))
                .or_insert_with_key(|access| bind_group_layout(gpu, access));
        }
        Pipelines {
            gpu: gpu.clone(),
            plan: Arc::clone(plan),
            layouts,
            compiled: plan.kernels.iter().map(|_| OnceLock::new()).collect(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// The bind group layout of a kernel of the plan.
    pub(crate) fn layout(&self, id: KernelId) -> &wgpu::BindGroupLayout {
        // `new` made a layout for each kernel's accesses.
        &self.layouts[&accesses(self.plan.kernel(id))]
    }

    /// The pipeline of a kernel, compiled now if it has not been.
    pub(crate) fn get(&self, id: KernelId) -> Result<&wgpu::ComputePipeline, RuntimeError> {
        let kernel = self.plan.kernel(id);
        // `compiled` has one place for each kernel.
        let place = &self.compiled[id.0 as usize];
        let result = place.get_or_init(|| {
            let mut compiling = trace::begin(self.gpu.tracer(), "compile a kernel");
            if let Some(span) = &mut compiling {
                span.detail("kernel", &kernel.name);
            }
            compile(&self.gpu, &kernel.name, &kernel.wgsl, self.layout(id)).map_err(|error| {
                match error {
                    RuntimeError::Kernel { why, .. } => why,
                    other => other.to_string(),
                }
            })
        });
        result
            .as_ref()
            .map_err(|why| RuntimeError::Kernel { kernel: kernel.name.clone(), why: why.clone() })
    }

    /// Whether all of `ids` are compiled, or have failed.
    pub(crate) fn ready(&self, ids: &[KernelId]) -> bool {
        ids.iter().all(|id| self.compiled[id.0 as usize].get().is_some())
    }

    /// Compiles those of `ids` that are not, on all processors.
    pub(crate) fn compile_all(&self, ids: &[KernelId]) -> Result<(), RuntimeError> {
        self.compile_quietly(ids);
        ids.iter().try_for_each(|&id| self.get(id).map(|_| ()))
    }

    /// As [`compile_all`](Pipelines::compile_all), with errors kept for later.
    fn compile_quietly(&self, ids: &[KernelId]) {
        let missing: Vec<_> =
            ids.iter().filter(|id| self.compiled[id.0 as usize].get().is_none()).collect();
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(&&id) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.abandoned.load(Ordering::Relaxed) {
                    return;
                }
                // An error is stored, and reported to whoever needs the kernel.
                let _ = self.get(id);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..workers.min(missing.len()) {
                scope.spawn(work);
            }
            work();
        });
    }
}

/// A compilation that goes on beside other work; dropping it stops it after the current kernels.
#[derive(Debug)]
pub(crate) struct Background {
    pipelines: Arc<Pipelines>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts compiling `ids`.
    pub(crate) fn start(pipelines: &Arc<Pipelines>, ids: Vec<KernelId>) -> Background {
        let shared = Arc::clone(pipelines);
        let thread = std::thread::Builder::new()
            .name("compile kernels".into())
            .spawn(move || shared.compile_quietly(&ids))
            // Without a thread the kernels are compiled when they are needed.
            .ok();
        Background { pipelines: Arc::clone(pipelines), thread }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A driver must not be inside its compiler when the process ends.
        self.pipelines.abandoned.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has stored nothing that is used here.
            let _ = thread.join();
        }
        self.pipelines.abandoned.store(false, Ordering::Relaxed);
    }
}

fn accesses(kernel: &Kernel) -> Vec<Access> {
    kernel.bindings.iter().map(|binding| binding.access).collect()
}

/// A layout of storage buffers with these accesses, bound from 0 on.
pub(crate) fn bind_group_layout(gpu: &Gpu, access: &[Access]) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = (0u32..)
        .zip(access)
        .map(|(binding, access)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    })
}

/// Compiles WGSL with the entry point `main`.
#[expect(unsafe_code, reason = "the checks that wgpu would add cost time in every load")]
pub(crate) fn compile(
    gpu: &Gpu,
    name: &str,
    wgsl: &str,
    layout: &wgpu::BindGroupLayout,
) -> Result<wgpu::ComputePipeline, RuntimeError> {
    let device = &gpu.device;
    // Scopes catch the errors of this thread alone, so that each goes to its own kernel.
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let source = wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(wgsl.into()),
    };
    // SAFETY: kernels come from plans that the compiler made; those that were saved have a checksum
    // against damage, and whoever runs another's has been told that it is a program. Bindings are
    // verified to lie within their buffers, and grids and loops are derived from the same sizes;
    // kernels divide by constants that are not zero, their loops end, and they use neither ray
    // queries nor mesh shaders.
    let module = unsafe {
        device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked())
    };
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[],
            // Kernels write workgroup memory before they read it.
            zero_initialize_workgroup_memory: false,
        },
        cache: gpu.kept.as_ref(),
    });
    let internal = pollster::block_on(internal.pop());
    let error = pollster::block_on(validation.pop()).or(internal);
    match error {
        None => Ok(pipeline),
        Some(error) => {
            Err(RuntimeError::Kernel { kernel: name.to_owned(), why: error.to_string() })
        }
    }
}
