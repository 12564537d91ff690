//! Loading weights in every format, and running programs, on a real device.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use quarrel_ir::format::Format;
use quarrel_ir::graph::RunDim;
use quarrel_ir::packing::pack_plane;
use quarrel_ir::plan::*;
use quarrel_runtime::{Blame, Engine, LoadOptions, RuntimeError};
use std::cell::Cell;
use support::{Builder, ONE, Weights, gpu, per};

fn noise(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(next).collect()
}

fn load(builder: &Builder, weights: &Weights) -> Result<Engine, RuntimeError> {
    Engine::load(&gpu(), &builder.plan, weights, LoadOptions::default(), &|_, _| ())
}

/// Adds a tensor of `rows` × `columns` in `format` made of `sources` to the plan.
fn add_tensor(builder: &mut Builder, sources: &[&str], rows: u64, columns: u64, format: Format) {
    let packing = format.packing();
    let planes = (0..packing.planes.len())
        .map(|plane| {
            let bytes = packing.plane_bytes(plane, rows * columns);
            let id = builder.buffer("plane", bytes, BufferRole::Weights);
            builder.whole(id)
        })
        .collect();
    let sources = sources.iter().map(|&s| s.into()).collect();
    builder.plan.load.push(LoadTensor {
        sources,
        rows,
        row_len: columns,
        columns,
        format,
        part_rows: rows,
        interleaved: 1,
        planes,
    });
}

fn planes(engine: &Engine, tensor: usize) -> Vec<Vec<u8>> {
    let read = |range: &BufferRange| {
        let words = engine.read(range.buffer, range.offset, range.bytes as usize / 4).unwrap();
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    };
    engine.plan().load[tensor].planes.iter().map(read).collect()
}

#[test]
fn every_format_arrives_as_its_planes_say() {
    let mut builder = Builder::new(8, PlanOptions::default());
    let mut weights = Weights::default();
    let mut expected = Vec::new();
    for (index, format) in Format::ALL.into_iter().enumerate() {
        // Odd numbers of rows and blocks, joined from two tensors.
        let (first, second, columns) = (3u64, 1024u64 + 5, 768u64);
        let row = format.row_bytes(columns).unwrap() as usize;
        let parts = [noise(first as usize * row, 1), noise(second as usize * row, 2)];
        let names = [format!("{index}.a"), format!("{index}.b")];
        weights.add(&names[0], format, &[first, columns], parts[0].clone());
        weights.add(&names[1], format, &[second, columns], parts[1].clone());
        let rows = first + second;
        add_tensor(&mut builder, &[&names[0], &names[1]], rows, columns, format);
        let all = parts.concat();
        let packing = format.packing();
        let planes: Vec<_> = (0..packing.planes.len())
            .map(|plane| {
                let mut out = vec![0; packing.plane_bytes(plane, rows * columns) as usize];
                pack_plane(format, plane, &all, &mut out);
                out
            })
            .collect();
        expected.push(planes);
    }
    let engine = load(&builder, &weights).unwrap();
    for (index, expected) in expected.iter().enumerate() {
        assert!(planes(&engine, index) == *expected, "{}", Format::ALL[index]);
    }
    assert_eq!(weights.released.lock().unwrap().len(), 2 * Format::ALL.len());
}

#[test]
fn rows_are_interleaved_in_every_format() {
    let mut builder = Builder::new(8, PlanOptions::default());
    let mut weights = Weights::default();
    // Rows that are interleaved come from both tensors, and in more than one piece.
    let (first, second, columns, together) = (3u64, 8192u64 + 5, 768u64, 8);
    for format in Format::ALL {
        let row = format.row_bytes(columns).unwrap() as usize;
        let names = ["a", "b"].map(|name| format!("{format}.{name}"));
        weights.add(&names[0], format, &[first, columns], noise(first as usize * row, 1));
        weights.add(&names[1], format, &[second, columns], noise(second as usize * row, 2));
        for interleaved in [1, together] {
            let names = [names[0].as_str(), &names[1]];
            add_tensor(&mut builder, &names, first + second, columns, format);
            builder.plan.load.last_mut().unwrap().interleaved = interleaved;
        }
    }
    let engine = load(&builder, &weights).unwrap();
    for (index, tensor) in engine.plan().load.iter().enumerate().skip(1).step_by(2) {
        let (plain, mixed) = (planes(&engine, index - 1), planes(&engine, index));
        let rows = tensor.interleaving().unwrap();
        for (plane, (plain, mixed)) in plain.iter().zip(&mixed).enumerate() {
            let packing = tensor.format.packing();
            let run = rows.bytes(packing, plane);
            let mut expected = vec![0; plain.len()];
            for (from, to) in plain.chunks_exact(run).zip(expected.chunks_exact_mut(run)) {
                rows.interleave(packing, plane, from, to);
            }
            assert!(*mixed == expected, "{} plane {plane}", tensor.format);
        }
    }
}

#[test]
fn rows_that_cannot_be_interleaved_are_refused() {
    let refused = |rows: u64, columns: u64, part_rows: u64, interleaved: u64| {
        let mut builder = Builder::new(8, PlanOptions::default());
        let mut weights = Weights::default();
        let bytes = vec![0; (2 * rows * columns) as usize];
        weights.add("w", Format::F16, &[rows, columns], bytes);
        add_tensor(&mut builder, &["w"], rows, columns, Format::F16);
        let tensor = builder.plan.load.last_mut().unwrap();
        (tensor.interleaved, tensor.part_rows) = (interleaved, part_rows);
        let planes = tensor.planes.clone();
        tensor.planes = planes.repeat(rows.div_ceil(part_rows) as usize);
        load(&builder, &weights).err().map(|why| why.to_string())
    };
    assert_eq!(refused(16, 64, 16, 8), None);
    for (rows, columns, part, interleaved) in
        [(12, 64, 12, 8), (16, 64, 12, 8), (16, 72, 16, 8), (16, 64, 16, 0)]
    {
        let why = refused(rows, columns, part, interleaved).unwrap();
        assert!(why.contains(&format!("{interleaved} of its rows cannot be interleaved")), "{why}");
    }
}

#[test]
fn formats_expand_to_floats() {
    let mut builder = Builder::new(8, PlanOptions::default());
    let mut weights = Weights::default();
    for format in Format::ALL {
        let bytes = noise(format.row_bytes(256 * 33).unwrap() as usize, 3);
        weights.add(format.name(), format, &[33, 256], bytes);
        add_tensor(&mut builder, &[format.name()], 33, 256, Format::F32);
        if format != Format::F32 {
            add_tensor(&mut builder, &[format.name()], 33, 256, Format::F16);
        }
    }
    let engine = load(&builder, &weights).unwrap();
    for (index, tensor) in engine.plan().load.iter().enumerate() {
        let format = Format::from_name(&tensor.sources[0]).unwrap();
        let source = noise(format.row_bytes(256 * 33).unwrap() as usize, 3);
        let mut values = vec![0.0; 256 * 33];
        format.dequantize(&source, &mut values);
        let mut got = vec![0.0; 256 * 33];
        tensor.format.dequantize(&planes(&engine, index)[0], &mut got);
        for (value, got) in values.iter().zip(&got) {
            let value = match tensor.format {
                Format::F16 => half::f16::from_f32(*value).to_f32(),
                _ => *value,
            };
            assert!(value == *got || value.is_nan() && got.is_nan(), "{format}: {value} {got}");
        }
    }
}

#[test]
fn a_tensor_of_another_shape_is_refused() {
    let mut builder = Builder::new(8, PlanOptions::default());
    let mut weights = Weights::default();
    weights.add("w", Format::F32, &[2, 8], vec![0; 64]);
    add_tensor(&mut builder, &["w"], 3, 8, Format::F32);
    let error = load(&builder, &weights).unwrap_err();
    assert_eq!(error.blame(), Blame::Input);
    assert!(error.to_string().contains("3 × 8 elements expected, found 16"), "{error}");
}

#[test]
fn progress_ends_at_the_total() {
    let mut builder = Builder::new(8, PlanOptions::default());
    let mut weights = Weights::default();
    weights.add("w", Format::F32, &[2, 8], vec![0; 64]);
    add_tensor(&mut builder, &["w"], 2, 8, Format::F16);
    let last = Cell::new((0, 0));
    let options = LoadOptions::default();
    Engine::load(&gpu(), &builder.plan, &weights, options, &|done, total| last.set((done, total)))
        .unwrap();
    assert_eq!(last.get(), (64, 64));
}

#[test]
fn a_plan_that_does_not_fit_is_refused_before_loading() {
    let mut builder = Builder::new(8, PlanOptions::default());
    builder.buffer("k", 100 << 20, BufferRole::State);
    let options = LoadOptions { available_memory: Some(50 << 20), phases: &[] };
    let error =
        Engine::load(&gpu(), &builder.plan, &Weights::default(), options, &|_, _| ()).unwrap_err();
    assert!(matches!(error, RuntimeError::DoesNotFit(_)), "{error}");
    assert!(error.to_string().contains("--ctx"), "{error}");
}

/// A plan whose prefill adds 1 to `logits[position]` for each token, then doubles row 0.
fn counting() -> Builder {
    let mut builder = Builder::new(64, PlanOptions { context: 64, ..PlanOptions::default() });
    let add = builder.kernel(
        "add",
        1,
        &[("tokens", "array<u32>", Access::Read), ("logits", "array<f32>", Access::Write)],
        "@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) {
            logits[tokens[id.x]] += 1.0; }",
    );
    let double = builder.kernel(
        "double",
        64,
        &[("logits", "array<f32>", Access::Write)],
        "@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
            logits[i] *= 2.0; }",
    );
    let io = builder.plan.io.clone();
    let first = builder.dispatch(add, &[io.tokens, io.logits], [per(RunDim::Tokens, 1), ONE, ONE]);
    let second = builder.dispatch(double, &[io.logits], [per(RunDim::OutRows, 1), ONE, ONE]);
    builder.program(Phase::Prefill, vec![first, second]);
    builder
}

#[test]
fn programs_run_in_order_and_zero_extents_are_skipped() {
    let engine = load(&counting(), &Weights::default()).unwrap();
    engine.write(engine.plan().io.tokens, &[3, 5, 7]);
    let dims = |tokens, out_rows| StepDims { tokens, out_rows, slots: 1 };
    engine.run(&[(Phase::Prefill, dims(3, 0)), (Phase::Prefill, dims(2, 1))]).unwrap();
    let logits = engine.read(engine.plan().io.logits, 0, 8).unwrap();
    let logits: Vec<f32> = logits.into_iter().map(f32::from_bits).collect();
    assert_eq!(logits, [0.0, 0.0, 0.0, 4.0, 0.0, 4.0, 0.0, 2.0]);
}

#[test]
fn a_kernel_that_does_not_compile_is_a_typed_error() {
    let mut builder = counting();
    builder.plan.kernels[1].wgsl = "this is not WGSL".into();
    let engine = load(&builder, &Weights::default()).unwrap();
    let error = engine.compile(&[Phase::Prefill]).unwrap_err();
    assert!(matches!(&error, RuntimeError::Kernel { kernel, .. } if kernel == "double"), "{error}");
    assert_eq!(error.blame(), Blame::Bug);
    let missing = engine.compile(&[Phase::Greedy]).unwrap_err();
    assert!(matches!(missing, RuntimeError::NoProgram(Phase::Greedy)), "{missing}");
}

#[test]
fn a_plan_for_another_device_is_refused() {
    let mut builder = counting();
    builder.plan.device.subgroup_size *= 2;
    let error = load(&builder, &Weights::default()).unwrap_err();
    assert!(matches!(error, RuntimeError::OtherDevice { .. }), "{error}");
}

#[test]
fn a_plan_beyond_the_limits_of_the_device_is_refused() {
    let mut builder = counting();
    builder.plan.device.max_buffer_bytes = u64::MAX;
    builder.buffer("huge", 1 << 40, BufferRole::Activation);
    let error = load(&builder, &Weights::default()).unwrap_err();
    assert!(matches!(error, RuntimeError::OtherDevice { .. }), "{error}");
    assert!(error.to_string().contains("huge"), "{error}");
}

#[test]
fn facts_and_measurements_make_sense() {
    let gpu = gpu();
    let facts = gpu.facts();
    assert!(facts.subgroup_size.is_power_of_two(), "{facts:?}");
    let speeds = gpu.measure().unwrap();
    assert!(speeds.copy_bytes_per_s.unwrap() > 1e8, "{speeds:?}");
    assert!(speeds.dispatch_us.unwrap() > 0.1, "{speeds:?}");
    assert!(speeds.round_us.unwrap() > 0.01, "{speeds:?}");
    assert!(speeds.workgroup_bytes_per_s.unwrap() > 1e7, "{speeds:?}");
    assert!(speeds.flops_per_s.unwrap() > 1e8, "{speeds:?}");
    let software = facts.kind == quarrel_ir::facts::DeviceKind::Cpu;
    assert_eq!(speeds.copies.is_empty(), software, "{speeds:?}");
    assert!(speeds.copies.is_sorted_by(|a, b| a.bytes < b.bytes && a.us <= b.us), "{speeds:?}");
    assert_eq!(speeds.matrix_flops_per_s.is_some(), !facts.matrix_shapes.is_empty());
    eprintln!("{speeds:?}");
}
