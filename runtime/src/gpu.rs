//! Finding adapters and opening one: the only place that asks wgpu for a device.

use crate::error::RuntimeError;
use crate::faults::Faults;
use crate::probe;
use crate::quiet::quietly;
use crate::spread::{self, Threads};
use crate::trace::Tracer;
use quarrel_ir::facts::{DeviceFacts, DeviceKind, Speeds};
use std::sync::Arc;

/// The graphics interfaces that kernels run through.
const BACKENDS: wgpu::Backends = wgpu::Backends::VULKAN.union(wgpu::Backends::METAL);

/// Features that are used where an adapter reports them.
const WANTED: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SHADER_INT64)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
    .union(wgpu::Features::PIPELINE_CACHE);

/// What one adapter is, without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// Its place in the list; a selector may name it.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// The graphics interface behind it.
    pub backend: String,
    /// The driver and its version, where known.
    pub driver: String,
    /// What kind of processor it is.
    pub kind: DeviceKind,
    /// Why Quarrel cannot use it, if so.
    pub unusable: Option<String>,
}

/// All adapters, in the order in which selectors count them.
pub fn adapters() -> Vec<AdapterSummary> {
    quietly(|| enumerate().1.iter().enumerate().map(|(i, a)| summary(i, a)).collect())
}

/// An opened device. Clones share it.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) adapter: wgpu::Adapter,
    pub(crate) faults: Arc<Faults>,
    /// Compiled pipelines that outlive the process, where the device has such a thing.
    pub(crate) kept: Option<wgpu::PipelineCache>,
    facts: Arc<DeviceFacts>,
    tracer: Option<Arc<Tracer>>,
}

impl Gpu {
    /// The same device, with what is done on it told to `tracer`.
    pub fn traced_by(self, tracer: Arc<Tracer>) -> Gpu {
        Gpu { tracer: Some(tracer), ..self }
    }

    /// Who is told what is done on the device.
    pub(crate) fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.as_ref()
    }

    /// Opens an adapter and probes its subgroup size.
    ///
    /// `selector` is an index into [`adapters`], part of a name, or a backend's name, in any case;
    /// without one, discrete GPUs come before integrated, virtual and software ones.
    ///
    /// # Errors
    /// No adapter, none that matches, or one that lacks a feature or cannot be opened.
    pub fn open(selector: Option<&str>) -> Result<Gpu, RuntimeError> {
        quietly(|| {
            named(|| {
                let threads = Threads::now();
                let (_instance, adapters) = enumerate();
                let summaries: Vec<_> =
                    adapters.iter().enumerate().map(|(i, a)| summary(i, a)).collect();
                let chosen = select(&summaries, selector)?;
                // `select` returns an index into the list that it was given.
                let gpu = Gpu::open_adapter(adapters[chosen].clone(), &summaries[chosen])?;
                if gpu.facts.kind == DeviceKind::Cpu {
                    threads.spread_new();
                }
                Ok(gpu)
            })
        })
    }

    fn open_adapter(adapter: wgpu::Adapter, summary: &AdapterSummary) -> Result<Gpu, RuntimeError> {
        if let Some(what) = summary.unusable.clone() {
            return Err(RuntimeError::Unsupported { device: summary.name.clone(), what });
        }
        let features = adapter.features() & WANTED;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("quarrel"),
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features: experimental(features),
            // Weights get allocations of their own either way; small blocks keep the rest small.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) = opened.map_err(|why| RuntimeError::Open {
            device: summary.name.clone(),
            why: why.to_string(),
        })?;
        let faults = Faults::watch(&device, &summary.name);
        let facts = Arc::new(facts_of(&adapter, summary, features));
        let mut gpu = Gpu { device, queue, adapter, faults, kept: None, facts, tracer: None };
        let subgroup_size = probe::subgroup_size(&gpu)?;
        gpu.facts = Arc::new(DeviceFacts { subgroup_size, ..(*gpu.facts).clone() });
        Ok(gpu)
    }

    /// What a plan needs to know of this device; speeds are `None` until
    /// [`measure`](Gpu::measure) fills them in.
    pub fn facts(&self) -> DeviceFacts {
        (*self.facts).clone()
    }

    /// Measures how fast the device is: copies, dispatches, arithmetic; takes about three seconds.
    ///
    /// # Errors
    /// If the device fails.
    pub fn measure(&self) -> Result<Speeds, RuntimeError> {
        // Figures that mean something, and that are the same after a trip through JSON.
        let us = |us: f64| (1e3 * us).round() / 1e3;
        let mut copies = probe::copies(self)?;
        copies.iter_mut().for_each(|copy| copy.us = us(copy.us));
        Ok(Speeds {
            copy_bytes_per_s: Some(probe::copy_bytes_per_s(self)?.round()),
            dispatch_us: Some(us(probe::dispatch_us(self)?)),
            round_us: Some(us(probe::round_us(self)?)),
            copies,
            workgroup_bytes_per_s: Some(probe::workgroup_bytes_per_s(self)?.round()),
            flops_per_s: Some(probe::flops_per_s(self)?.round()),
            matrix_flops_per_s: probe::matrix_flops_per_s(self)?.map(f64::round),
        })
    }

    /// Waits for a submission, or for all that were made.
    pub(crate) fn wait(
        &self,
        submission: Option<wgpu::SubmissionIndex>,
        during: &str,
    ) -> Result<(), RuntimeError> {
        let wait = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        // wgpu panics when the device is lost while it waits; that is no bug of the caller's.
        let polled =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.device.poll(wait)));
        self.faults.check(during)?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(why)) => {
                Err(RuntimeError::Refused { during: during.into(), why: why.to_string() })
            }
            Err(_) => Err(RuntimeError::DeviceLost {
                during: during.into(),
                why: "waiting for it failed".into(),
            }),
        }
    }
}

/// Runs `work` in a thread of its own whose name a driver's threads inherit; in this one if the system
/// has no thread to give.
fn named<T: Send>(work: impl Fn() -> T + Sync) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(spread::NAME.into());
        match thread.spawn_scoped(scope, &work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

/// Leave to use experimental features, where one is wanted.
#[expect(
    unsafe_code,
    reason = "cooperative matrices are only to be had as an experimental feature"
)]
fn experimental(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        // SAFETY: the one experimental feature asked for is cooperative matrices, whose kernels use
        // only shapes that the adapter lists and whose loads and stores the plan keeps in bounds.
        unsafe { wgpu::ExperimentalFeatures::enabled() }
    } else {
        wgpu::ExperimentalFeatures::disabled()
    }
}

fn enumerate() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: BACKENDS,
        // Neither validation layers nor labels: plans are checked before they get here. Software
        // Vulkan counts as non-compliant in some versions of Mesa, and is wanted all the same.
        flags: wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(BACKENDS));
    (instance, adapters)
}

fn summary(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
    let info = adapter.get_info();
    let unusable = (!adapter.features().contains(wgpu::Features::SUBGROUP))
        .then(|| "subgroup operations".to_owned());
    AdapterSummary {
        index,
        name: info.name,
        backend: info.backend.to_str().to_owned(),
        driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
            wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
            wgpu::DeviceType::Cpu => DeviceKind::Cpu,
            wgpu::DeviceType::Other => DeviceKind::Other,
        },
        unusable,
    }
}

/// The index of the adapter that `selector` names, or of the best.
fn select(known: &[AdapterSummary], selector: Option<&str>) -> Result<usize, RuntimeError> {
    if known.is_empty() {
        let interface = if cfg!(target_vendor = "apple") { "Metal" } else { "Vulkan" };
        return Err(RuntimeError::NoAdapter(interface));
    }
    let rank = |adapter: &AdapterSummary| {
        let kind = match adapter.kind {
            DeviceKind::Discrete => 0,
            DeviceKind::Integrated => 1,
            DeviceKind::Virtual => 2,
            DeviceKind::Other => 3,
            DeviceKind::Cpu => 4,
        };
        (adapter.unusable.is_some(), kind, adapter.index)
    };
    let matches = |adapter: &&AdapterSummary| match selector {
        None => true,
        Some(text) => {
            let (text, name) = (text.to_lowercase(), adapter.name.to_lowercase());
            match text.parse::<usize>() {
                Ok(index) if index < known.len() => adapter.index == index,
                // A word of a name, such as 4090.
                Ok(_) => name.split(|c: char| !c.is_alphanumeric()).any(|word| word == text),
                Err(_) => !text.is_empty() && (name.contains(&text) || adapter.backend == text),
            }
        }
    };
    let best = known.iter().filter(matches).min_by_key(|adapter| rank(adapter));
    best.map(|adapter| adapter.index).ok_or_else(|| RuntimeError::NoSuchAdapter {
        selector: selector.unwrap_or_default().to_owned(),
        known: list(known),
    })
}

fn list(known: &[AdapterSummary]) -> String {
    let lines: Vec<_> =
        known.iter().map(|a| format!("{} {} ({})", a.index, a.name, a.backend)).collect();
    lines.join(", ")
}

fn facts_of(
    adapter: &wgpu::Adapter,
    summary: &AdapterSummary,
    features: wgpu::Features,
) -> DeviceFacts {
    let limits = adapter.limits();
    let matrices = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
    let shapes = if matrices { adapter.cooperative_matrix_properties() } else { Vec::new() };
    let half_to_float = |shape: &wgpu::CooperativeMatrixProperties| {
        shape.ab_type == wgpu::CooperativeScalarType::F16
            && shape.cr_type == wgpu::CooperativeScalarType::F32
            && !shape.saturating_accumulation
    };
    DeviceFacts {
        name: summary.name.clone(),
        backend: summary.backend.clone(),
        driver: summary.driver.clone(),
        kind: summary.kind,
        subgroup_size: adapter.get_info().subgroup_min_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_workgroup_threads: limits
            .max_compute_invocations_per_workgroup
            .min(limits.max_compute_workgroup_size_x),
        max_grid: limits.max_compute_workgroups_per_dimension,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        binding_alignment: limits.min_storage_buffer_offset_alignment,
        shader_f16: features.contains(wgpu::Features::SHADER_F16),
        shader_int64: features.contains(wgpu::Features::SHADER_INT64),
        matrix_shapes: shapes
            .into_iter()
            .filter(half_to_float)
            .map(|shape| (shape.m_size, shape.n_size, shape.k_size))
            .collect(),
        timestamps_inside_passes: features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES),
        speeds: Speeds::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<AdapterSummary> {
        let one = |index, name: &str, kind| AdapterSummary {
            index,
            name: name.into(),
            backend: "vulkan".into(),
            driver: String::new(),
            kind,
            unusable: None,
        };
        vec![
            one(0, "llvmpipe (LLVM 15.0.6, 256 bits)", DeviceKind::Cpu),
            one(1, "Intel Iris", DeviceKind::Integrated),
            one(2, "NVIDIA H100", DeviceKind::Discrete),
            one(3, "NVIDIA GeForce RTX 4090", DeviceKind::Discrete),
        ]
    }

    #[test]
    fn a_discrete_gpu_is_preferred() {
        assert_eq!(select(&known(), None).unwrap(), 2);
        assert_eq!(select(&known(), Some("vulkan")).unwrap(), 2);
    }

    #[test]
    fn selectors_are_indices_or_parts_of_names() {
        assert_eq!(select(&known(), Some("0")).unwrap(), 0);
        assert_eq!(select(&known(), Some("iris")).unwrap(), 1);
        assert_eq!(select(&known(), Some("4090")).unwrap(), 3);
        for wrong in ["7", "409", "", "radeon"] {
            let error = select(&known(), Some(wrong)).unwrap_err().to_string();
            assert!(error.contains("Intel Iris"), "{error}");
        }
    }

    #[test]
    fn without_adapters_the_error_says_what_to_do() {
        let error = select(&[], None).unwrap_err().to_string();
        assert!(error.contains("mesa-vulkan-drivers"), "{error}");
        assert!(error.contains("--device reference"), "{error}");
    }
}
