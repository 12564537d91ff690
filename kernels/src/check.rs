//! Checks of kernel text: that it is valid WGSL and that every backend's writer takes it.

use naga::back::{msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// Kernel text is not what it should be: a bug of ours.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The text does not parse.
    #[error("kernel text does not parse: {0}")]
    Parse(String),
    /// The text is not valid.
    #[error("kernel text is not valid: {0}")]
    Invalid(String),
    /// A writer refuses it.
    #[error("no {language} can be written: {why}")]
    Write {
        /// `MSL` or `SPIR-V`.
        language: &'static str,
        /// What the writer said.
        why: String,
    },
}

/// Parses and validates kernel text with the capabilities that kernels may use everywhere.
pub fn validate(wgsl: &str) -> Result<(naga::Module, ModuleInfo), CheckError> {
    let module = naga::front::wgsl::parse_str(wgsl)
        .map_err(|error| CheckError::Parse(error.emit_to_string(wgsl)))?;
    // `pack2x16float` and its like need no 16-bit floats of the device; Vulkan and Metal have them.
    // Kernels that use 16-bit floats, 64-bit integers or matrices are chosen for devices that have
    // them.
    let capabilities = Capabilities::SUBGROUP
        | Capabilities::SUBGROUP_BARRIER
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_INT64
        | Capabilities::COOPERATIVE_MATRIX
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| CheckError::Invalid(error.emit_to_string(wgsl)))?;
    Ok((module, info))
}

/// The Metal Shading Language text of a kernel, written with the options that wgpu's Metal backend
/// uses for trusted kernels: no bounds checks, no zeroed workgroup memory, and the buffers of group
/// 0 in slots from 0 by binding number, with their sizes in the slot after.
pub fn metal(wgsl: &str) -> Result<String, CheckError> {
    let (module, info) = validate(wgsl)?;
    let failed = |why: String| CheckError::Write { language: "MSL", why };
    let options = msl::Options {
        // What macOS 14 has; later versions only add to it.
        lang_version: (3, 1),
        per_entry_point_map: [("main".to_string(), metal_slots(&module))].into(),
        inline_samplers: Vec::new(),
        spirv_cross_compatibility: false,
        fake_missing_bindings: false,
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        task_dispatch_limits: None,
        mesh_shader_primitive_indices_clamp: false,
        emit_int_div_checks: false,
        ray_query_initialization_tracking: false,
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((naga::ShaderStage::Compute, "main".to_string())),
        allow_and_force_point_size: false,
        vertex_pulling_transform: true,
        ..Default::default()
    };
    let (text, written) = msl::write_string(&module, &info, &options, &pipeline)
        .map_err(|error| failed(error.to_string()))?;
    for entry in written.entry_point_names {
        entry.map_err(|error| failed(error.to_string()))?;
    }
    Ok(text)
}

const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// The Metal buffer slots of a kernel's bindings: wgpu counts up along the bind group layout, which
/// is ordered by binding number and has nothing before it, as kernels have no immediates.
fn metal_slots(module: &naga::Module) -> msl::EntryPointResources {
    let mut bound: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| Some((variable.binding?, variable.space)))
        .collect();
    bound.sort_by_key(|(binding, _)| (binding.group, binding.binding));
    let mut resources = msl::EntryPointResources::default();
    let mut slot = 0;
    for (binding, space) in bound {
        let mutable = matches!(
            space,
            naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE)
        );
        let target = msl::BindTarget { buffer: Some(slot), mutable, ..Default::default() };
        resources.resources.insert(binding, target);
        slot += 1;
    }
    resources.sizes_buffer = (slot > 0).then_some(slot);
    resources
}

/// The SPIR-V words of a kernel, written as wgpu's Vulkan backend writes trusted kernels.
pub fn spirv(wgsl: &str) -> Result<Vec<u32>, CheckError> {
    write_spirv(wgsl, None)
}

/// The same with the names and line numbers of the text, for people.
pub fn spirv_with_lines(wgsl: &str) -> Result<Vec<u32>, CheckError> {
    let info = spv::DebugInfo {
        source_code: wgsl,
        file_name: "kernel.wgsl",
        language: spv::SourceLanguage::WGSL,
    };
    write_spirv(wgsl, Some(info))
}

fn write_spirv(wgsl: &str, debug_info: Option<spv::DebugInfo<'_>>) -> Result<Vec<u32>, CheckError> {
    let (module, info) = validate(wgsl)?;
    let mut flags = spv::Options::default().flags;
    flags.set(spv::WriterFlags::DEBUG, debug_info.is_some());
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        flags,
        debug_info,
        ..Default::default()
    };
    spv::write_vec(&module, &info, &options, None)
        .map_err(|error| CheckError::Write { language: "SPIR-V", why: error.to_string() })
}
