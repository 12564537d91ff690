//! The kernels are valid WGSL, translate to MSL, and keep the limits that Metal sets.

use super::{SamplingKernels, kernels};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use quarrel_ir::facts::{DeviceFacts, DeviceKind, Speeds};
use quarrel_ir::plan::Kernel;

fn facts(kind: DeviceKind, threads: u32) -> DeviceFacts {
    DeviceFacts {
        name: "a device".into(),
        backend: "metal".into(),
        driver: String::new(),
        kind,
        subgroup_size: 32,
        max_workgroup_bytes: 32 << 10,
        max_workgroup_threads: threads,
        max_grid: 65535,
        max_storage_buffers: 29,
        max_binding_bytes: 1 << 30,
        max_buffer_bytes: 1 << 30,
        binding_alignment: 256,
        shader_f16: false,
        shader_int64: false,
        matrix_shapes: Vec::new(),
        timestamps_inside_passes: false,
        speeds: Speeds::default(),
    }
}

fn check(kernel: &Kernel) {
    let module = naga::front::wgsl::parse_str(&kernel.wgsl)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&kernel.wgsl)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&kernel.wgsl)));
    let options = naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() };
    let pipeline = naga::back::msl::PipelineOptions::default();
    naga::back::msl::write_string(&module, &info, &options, &pipeline).expect("MSL");
    let entry = &module.entry_points[0];
    assert_eq!(entry.workgroup_size, [kernel.workgroup, 1, 1]);
    let layouts = {
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("sizes");
        layouter
    };
    let workgroup: u32 = module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
        .map(|(_, variable)| layouts[variable.ty].size)
        .sum();
    assert_eq!(workgroup, kernel.workgroup_bytes, "{}", kernel.name);
    assert!(workgroup <= 32 << 10, "{}: {workgroup} bytes", kernel.name);
}

#[test]
fn they_are_valid_everywhere() {
    for kind in [DeviceKind::Cpu, DeviceKind::Discrete, DeviceKind::Integrated] {
        for threads in [128, 256, 1024] {
            for vocabulary in [49_152, 50_257, 262_144, 3] {
                let SamplingKernels { greedy, sample } =
                    kernels(&facts(kind, threads), vocabulary, 4096, 3);
                for stage in greedy.iter().chain([&sample]) {
                    check(&stage.kernel);
                }
            }
        }
    }
}
