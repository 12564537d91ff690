//! Checks of kernel text: that it is valid WGSL and that every backend's writer takes it.

use naga::back::{msl, spv};
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
    let capabilities = Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| CheckError::Invalid(error.emit_to_string(wgsl)))?;
    Ok((module, info))
}

/// The Metal Shading Language text of a kernel, written with the options that wgpu's Metal backend
/// uses for trusted kernels: no bounds checks, no zeroed workgroup memory, and the buffers of group
/// 0 in slots from 0 with their sizes in the slot after.
pub fn metal(wgsl: &str) -> Result<String, CheckError> {
    let (module, info) = validate(wgsl)?;
    let failed = |why: String| CheckError::Write { language: "MSL", why };
    let mut resources = msl::EntryPointResources::default();
    let mut slot = 0;
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = variable.binding else { continue };
        let mutable = matches!(
            variable.space,
            naga::AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE)
        );
        let target = msl::BindTarget { buffer: Some(slot), mutable, ..Default::default() };
        resources.resources.insert(binding, target);
        slot += 1;
    }
    resources.sizes_buffer = Some(slot);
    let options = msl::Options {
        lang_version: (3, 1),
        per_entry_point_map: [("main".to_string(), resources)].into(),
        bounds_check_policies: naga::proc::BoundsCheckPolicies {
            index: naga::proc::BoundsCheckPolicy::Unchecked,
            buffer: naga::proc::BoundsCheckPolicy::Unchecked,
            image_load: naga::proc::BoundsCheckPolicy::Unchecked,
            binding_array: naga::proc::BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: false,
        fake_missing_bindings: false,
        force_loop_bounding: false,
        mesh_shader_primitive_indices_clamp: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((naga::ShaderStage::Compute, "main".to_string())),
        ..Default::default()
    };
    let (text, written) = msl::write_string(&module, &info, &options, &pipeline)
        .map_err(|error| failed(error.to_string()))?;
    for entry in written.entry_point_names {
        entry.map_err(|error| failed(error.to_string()))?;
    }
    Ok(text)
}

/// The SPIR-V words of a kernel.
pub fn spirv(wgsl: &str) -> Result<Vec<u32>, CheckError> {
    let (module, info) = validate(wgsl)?;
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(&module, &info, &options, None)
        .map_err(|error| CheckError::Write { language: "SPIR-V", why: error.to_string() })
}
