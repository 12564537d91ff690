//! Plans for devices that are not present, above all Apple GPUs: within their limits, with kernels
//! that Metal and Vulkan take, in few dispatches.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use naga::{AddressSpace, StorageAccess, TypeInner};
use quarrel_compiler::compile;
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::format::Format;
use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_ir::plan::{Access, Dispatch, Kernel, Phase, Place, Plan, PlanOptions, Precision};
use quarrel_kernels::check;
use quarrel_tests::architectures::{draw, twenty};
use quarrel_tests::little::{self, Block, Little};
use quarrel_tests::synthetic::Variant;
use quarrel_tests::{facts, smollm2};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Metal's argument table for buffers; wgpu puts the sizes of the others in one.
const METAL_BUFFERS: usize = 31;

fn plan(graph: &Graph, device: &DeviceFacts, fuse: bool) -> Plan {
    // All rows of logits, so that small models have products of many rows too.
    let precision = Precision::Auto;
    let options = PlanOptions { fuse, precision, out_rows: 512, ..PlanOptions::default() };
    let plan = compile(graph, device, &options).unwrap_or_else(|error| panic!("{error}"));
    plan.verify().unwrap();
    assert_eq!(&plan.device, device);
    plan
}

fn decode(plan: &Plan) -> &[Dispatch] {
    &plan.program(Phase::Decode).unwrap().dispatches
}

/// Checks every kernel that a program of `plan` runs; the names of the families.
fn check_kernels(plan: &Plan) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for program in &plan.programs {
        used.extend(program.dispatches.iter().map(|dispatch| dispatch.kernel));
    }
    assert_eq!(used.len(), plan.kernels.len(), "every kernel is run");
    for kernel in &plan.kernels {
        check_kernel(&plan.device, kernel);
    }
    plan.kernels.iter().map(|kernel| kernel.family.clone()).collect()
}

fn check_kernel(device: &DeviceFacts, kernel: &Kernel) {
    let at = format!("{} ({})", kernel.name, kernel.variant);
    let fail = |error: check::CheckError| -> ! { panic!("{at}: {error}\n{}", kernel.wgsl) };
    let msl = check::metal(&kernel.wgsl).unwrap_or_else(|error| fail(error));
    assert!(msl.contains("kernel void"), "{at}: no entry point in\n{msl}");
    for index in 0..kernel.bindings.len() {
        assert!(msl.contains(&format!("[[buffer({index})]]")), "{at}: no buffer {index} in\n{msl}");
    }
    let words = check::spirv(&kernel.wgsl).unwrap_or_else(|error| fail(error));
    assert_eq!(words[0], 0x0723_0203, "{at}: SPIR-V begins with its magic number");
    let (module, info) = check::validate(&kernel.wgsl).unwrap_or_else(|error| fail(error));
    check_declarations(kernel, &module, &at);
    check_types(device, &module, &at);
    check_memory(kernel, &module, &info, &at);
    assert!(kernel.bindings.len() < METAL_BUFFERS, "{at}: too many buffers for Metal");
}

/// What the plan says of a kernel is what its text says.
fn check_declarations(kernel: &Kernel, module: &naga::Module, at: &str) {
    let entry = &module.entry_points[0];
    assert_eq!((module.entry_points.len(), entry.name.as_str()), (1, "main"), "{at}");
    assert_eq!(entry.workgroup_size, [kernel.workgroup, 1, 1], "{at}");
    let mut bound: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| {
            let AddressSpace::Storage { access } = variable.space else { return None };
            let access = match access.contains(StorageAccess::STORE) {
                true => Access::Write,
                false => Access::Read,
            };
            Some((variable.binding.unwrap().binding as usize, variable.name.clone()?, access))
        })
        .collect();
    bound.sort_by_key(|(binding, ..)| *binding);
    let declared = kernel.bindings.iter().enumerate();
    let declared: Vec<_> = declared.map(|(i, b)| (i, b.name.clone(), b.access)).collect();
    assert_eq!(bound, declared, "{at}");
}

/// Nothing that Metal lacks: only storage and workgroup memory, no 64-bit or atomic floats, and
/// matrices of the device's shapes alone.
fn check_types(device: &DeviceFacts, module: &naga::Module, at: &str) {
    for (_, variable) in module.global_variables.iter() {
        let known = matches!(
            variable.space,
            AddressSpace::Storage { .. } | AddressSpace::WorkGroup | AddressSpace::Private
        );
        assert!(known, "{at}: {:?} in {:?}", variable.name, variable.space);
    }
    for (_, ty) in module.types.iter() {
        match ty.inner {
            TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => {
                let wide = scalar == naga::Scalar::U64 && device.backend == "vulkan";
                assert!(scalar.width <= 4 || wide, "{at}: {scalar:?}");
            }
            TypeInner::Atomic(scalar) => {
                assert!(scalar.kind != naga::ScalarKind::Float && scalar.width == 4, "{at}");
            }
            TypeInner::CooperativeMatrix { columns, rows, .. } => {
                let (m, n) = (rows as u32, columns as u32);
                let known = device.matrix_shapes.iter().any(|&(rows, columns, _)| {
                    (rows == m || rows == n) && (columns == m || columns == n)
                });
                assert!(known, "{at}: a matrix of {m} x {n} on {}", device.name);
            }
            TypeInner::Matrix { .. }
            | TypeInner::Array { .. }
            | TypeInner::Struct { .. }
            | TypeInner::Pointer { .. }
            | TypeInner::ValuePointer { .. } => {}
            ref other => panic!("{at}: {other:?} is no type for kernels"),
        }
    }
}

/// Workgroup memory is what the plan says or less, each variable aligned as Metal aligns it.
fn check_memory(kernel: &Kernel, module: &naga::Module, info: &naga::valid::ModuleInfo, at: &str) {
    let entry = info.get_entry_point(0);
    let shared = module.global_variables.iter().filter(|(handle, variable)| {
        variable.space == AddressSpace::WorkGroup && !entry[*handle].is_empty()
    });
    let sizes = shared.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()));
    let bytes: u32 = sizes.sum();
    assert!(bytes <= kernel.workgroup_bytes, "{at}: {bytes} > {}", kernel.workgroup_bytes);
    // Overstated by much, a plan would be refused that could run.
    assert!(kernel.workgroup_bytes <= bytes + 256, "{at}: {} >> {bytes}", kernel.workgroup_bytes);
}

#[test]
fn smollm2_on_devices_that_are_not_here() {
    let graph = smollm2::graph();
    for device in [facts::apple(), facts::nvidia(), facts::llvmpipe()] {
        for fuse in [true, false] {
            let plan = plan(&graph, &device, fuse);
            let families = check_kernels(&plan);
            for family in ["product", "attention", "rows"] {
                assert!(families.contains(family), "no {family} kernel in {families:?}");
                // Prompts are multiplied by matrices where there are any.
                let by_matrices = |kernel: &&Kernel| {
                    kernel.family == family && kernel.variant.starts_with("F16 matrices")
                };
                let expected = family != "rows" && !device.matrix_shapes.is_empty();
                let found = plan.kernels.iter().any(|kernel| by_matrices(&kernel));
                assert_eq!(found, expected, "{family} on {}", device.name);
            }
        }
    }
}

/// Keys and values in 8 bits take a dispatch of their own in each layer.
#[test]
fn smollm2_with_states_in_blocks() {
    for device in [facts::apple(), facts::nvidia(), facts::llvmpipe()] {
        for context in [1024, 8192] {
            let state = Some(StateFormat::Q8);
            let options = PlanOptions { context, state, ..PlanOptions::default() };
            let plan = compile(&smollm2::graph(), &device, &options).unwrap();
            check_kernels(&plan);
            let of_layer = decode(&plan).iter().filter(|d| d.layer == Some(15));
            assert_eq!(of_layer.count(), 6, "{context} on {}", device.name);
        }
    }
}

/// Contexts whose attention is split: not at all, combined in place, and in a kernel of its own.
#[test]
fn smollm2_over_long_contexts() {
    for device in [facts::apple(), facts::nvidia()] {
        for (context, split, most) in [(1024, false, 5), (8192, true, 5), (65_536, true, 6)] {
            let options = PlanOptions { context, ..PlanOptions::default() };
            let plan = compile(&smollm2::graph(), &device, &options).unwrap();
            let families = check_kernels(&plan);
            assert_eq!(families.contains("combine"), most == 6, "{context} on {}", device.name);
            let of_layer = decode(&plan).iter().filter(|d| d.layer == Some(15));
            assert_eq!(of_layer.count(), most, "{context} on {}", device.name);
            let splits = |kernel: &Kernel| kernel.variant.contains("splits");
            let attention = plan.kernels.iter().filter(|kernel| kernel.family == "attention");
            assert_eq!(attention.clone().any(splits), split, "{context} on {}", device.name);
            assert_eq!(attention.count(), 2, "one for decode steps, one for prompts");
        }
    }
}

#[test]
fn synthetic_models_on_an_apple_gpu() {
    let device = facts::apple();
    let mut all = twenty();
    all.push(Variant::default());
    for variant in all {
        let graph = variant.graph();
        for fuse in [true, false] {
            check_kernels(&plan(&graph, &device, fuse));
        }
    }
}

#[test]
fn every_format_on_an_apple_gpu() {
    for (seed, format) in (50u8..).zip(Format::ALL) {
        let drawn = draw(&little::product(format), 1, seed);
        check_kernels(&plan(&drawn[0].graph(), &facts::apple(), true));
        let wide = Little::new(format, 256).line("logits = linear(h, \"w\")");
        let plan = plan(&wide.matrix("w", format, 96, 256).graph(), &facts::apple(), true);
        check_kernels(&plan);
        let by_matrices = |kernel: &Kernel| kernel.variant.starts_with("F16 matrices of 8 x 8");
        assert!(plan.kernels.iter().any(by_matrices), "{format:?}: no matrices");
        let rows = Little::new(format, 256).line("logits = h * 2");
        check_kernels(&self::plan(&rows.graph(), &facts::apple(), true));
    }
}

/// Heads of which each subgroup has a part, as registers do not hold them whole.
#[test]
fn large_heads_by_matrices() {
    let drawn = draw(&little::block(), 1, 60)[0].clone();
    for head in [192, 256] {
        let block = Block { head, rope_dims: head, formats: [Format::F16; 3], ..drawn.clone() };
        for device in [facts::apple(), facts::nvidia()] {
            let plan = plan(&block.little().graph(), &device, true);
            let of_parts = |kernel: &Kernel| kernel.variant.ends_with("2 parts of a head");
            assert!(plan.kernels.iter().any(of_parts), "{head} on {}", device.name);
            check_kernels(&plan);
        }
    }
}

/// Products whose columns workgroups share, as devices with large tiles have them.
#[test]
fn shared_columns_on_a_large_gpu() {
    let plan = plan(&little::shared_columns(2048).graph(), &facts::nvidia(), true);
    assert!(plan.kernels.iter().any(|kernel| kernel.variant.ends_with("workgroups share columns")));
    check_kernels(&plan);
}

/// Heads and rows that are not read four or eight elements at a time.
#[test]
fn odd_sizes_on_an_apple_gpu() {
    let blocks = draw(&little::odd_block(), 4, 80).into_iter().map(|block| block.little());
    for little in blocks.chain(draw(&little::odd_rows(), 4, 81)) {
        for fuse in [true, false] {
            check_kernels(&plan(&little.graph(), &facts::apple(), fuse));
        }
    }
}

/// What is staged of long rows fits into the least workgroup memory that devices have, whatever the
/// size of their subgroups and the number of sequences.
#[test]
fn long_rows_in_little_memory() {
    for (format, columns) in [(Format::Q4_0, 16384u64), (Format::F16, 16384), (Format::Q2_K, 8192)]
    {
        for (rows, subgroup_size, slots) in [
            (64u64, 64u32, 1u32),
            (64, 64, 3),
            (64, 32, 2),
            (64, 128, 1),
            (4096, 64, 2),
            (32768, 64, 1),
        ] {
            let device = DeviceFacts {
                kind: DeviceKind::Discrete,
                subgroup_size,
                matrix_shapes: vec![],
                ..facts::nvidia()
            };
            let graph = Little::new(Format::F32, columns)
                .line("x = rms_norm(h, \"norm\", 0.00001)")
                .line("logits = linear(x, \"w\") + linear(h, \"w\")")
                .tensor("norm.weight", Format::F32, &[columns])
                .matrix("w", format, rows, columns)
                .graph();
            for bytes in [32, 48] {
                let device = DeviceFacts { max_workgroup_bytes: bytes << 10, ..device.clone() };
                let options = PlanOptions { slots, chunk: 4, ..PlanOptions::default() };
                let plan = compile(&graph, &device, &options);
                let what =
                    format!("{format:?}, {rows} rows, subgroups of {subgroup_size}, {slots} slots");
                check_kernels(&plan.unwrap_or_else(|error| panic!("{what}: {error}")));
            }
        }
    }
}

#[test]
fn smollm2_decodes_in_five_dispatches_a_layer() {
    for device in [facts::apple(), facts::nvidia(), facts::llvmpipe()] {
        let plan = plan(&smollm2::graph(), &device, true);
        let all = decode(&plan);
        assert_eq!(plan.model.layers, 30);
        for layer in 0..30 {
            let count = all.iter().filter(|dispatch| dispatch.layer == Some(layer)).count();
            assert!((1..=5).contains(&count), "{count} in layer {layer} on {}", device.name);
        }
        assert!(all.len() <= 152, "{} dispatches on {}", all.len(), device.name);
    }
}

#[test]
fn no_device_is_asked_for_more_than_it_has() {
    let graph = smollm2::graph();
    let plan = plan(&graph, &facts::apple(), true);
    let mut smaller = plan.clone();
    let most = plan.kernels.iter().map(|kernel| kernel.workgroup_bytes).max().unwrap();
    smaller.device.max_workgroup_bytes = most - 1;
    assert!(smaller.verify().is_err());
    let options = PlanOptions::default();
    let tiny = DeviceFacts { max_binding_bytes: 1 << 20, ..facts::apple() };
    let error = compile(&graph, &tiny, &options).unwrap_err().to_string();
    assert!(error.contains("token_embd.weight") && error.contains("Apple M3 Pro"), "{error}");
}

/// A dispatch in a few lines: kernel, ops by place, reason.
fn describe(plan: &Plan, dispatch: &Dispatch) -> String {
    let kernel = plan.kernel(dispatch.kernel);
    let mut text = format!("{}: {}\n", kernel.family, kernel.variant);
    for (title, place) in
        [("prologue", Place::Prologue), ("anchor", Place::Anchor), ("epilogue", Place::Epilogue)]
    {
        let ops = dispatch.ops.iter().filter(|op| op.place == place);
        let names: Vec<String> = ops
            .map(|op| match &op.name {
                Some(name) => format!("{} ({name})", op.op),
                None => op.op.clone(),
            })
            .collect();
        if !names.is_empty() {
            let _ = writeln!(text, "  {title}: {}", names.join(", "));
        }
    }
    let reason = if dispatch.reason.is_empty() { "nothing joins it" } else { &dispatch.reason };
    let _ = writeln!(text, "  because: {reason}");
    text
}

#[test]
fn the_decode_plan_of_smollm2_reads_well() {
    let plan = plan(&smollm2::graph(), &facts::apple(), true);
    let lines: String = decode(&plan)
        .iter()
        .filter(|dispatch| matches!(dispatch.layer, None | Some(15)))
        .map(|dispatch| match dispatch.layer {
            Some(layer) => format!("layer {layer}, {}", describe(&plan, dispatch)),
            None => describe(&plan, dispatch),
        })
        .collect();
    insta::assert_snapshot!(lines);
}

/// Rows that are few share the columns of each between subgroups, and a few rows of x are held all at
/// once.
#[test]
fn products_suit_their_size_on_a_large_gpu() {
    let variant = |format, rows, columns, slots| {
        let little = Little::new(Format::F32, 64)
            .line("logits = linear(linear(h, \"x\"), \"w\")")
            .matrix("x", Format::F16, columns, 64)
            .matrix("w", format, rows, columns);
        let precision = Precision::Auto;
        let options = PlanOptions { slots, precision, ..PlanOptions::default() };
        let plan = compile(&little.graph(), &facts::nvidia(), &options).unwrap();
        let product = |d: &&Dispatch| plan.kernel(d.kernel).family == "product";
        let dispatch = decode(&plan).iter().rfind(product).unwrap();
        plan.kernel(dispatch.kernel).variant.clone()
    };
    let mut text = String::new();
    for (format, rows, columns, slots) in [
        (Format::F16, 576, 576, 1),
        (Format::F16, 576, 1536, 1),
        (Format::F16, 2048, 8192, 1),
        (Format::Q4_0, 2048, 8192, 1),
        (Format::F16, 16384, 2048, 1),
        (Format::F16, 2048, 8192, 4),
        (Format::F16, 16384, 2048, 8),
        (Format::F16, 16384, 2048, 16),
        (Format::F16, 16384, 2048, 32),
    ] {
        let variant = variant(format, rows, columns, slots);
        let _ = writeln!(text, "{format:?} {rows} x {columns}, {slots}: {variant}");
    }
    insta::assert_snapshot!(text);
}
