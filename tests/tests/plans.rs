//! Plans as data: what they say of memory holds, they survive being saved, and tampering is found.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use quarrel_compiler::compile;
use quarrel_ir::format::Format;
use quarrel_ir::graph::{Graph, RunDim};
use quarrel_ir::plan::{
    Access, BufferId, BufferRole, Content, Diff, Dispatch, Extent, KernelId, PLAN_VERSION, Phase,
    Plan, PlanError, PlanOptions, Precision, Program, Rewind, Tenant,
};
use quarrel_tests::architectures::twenty;
use quarrel_tests::little::{self, Mixture};
use quarrel_tests::small::small_models;
use quarrel_tests::synthetic::Variant;
use quarrel_tests::{facts, smollm2};
use std::collections::{BTreeMap, BTreeSet, HashSet};

fn plan(graph: &Graph, fuse: bool) -> Plan {
    plan_for_context(graph, fuse, 256)
}

fn plan_for_context(graph: &Graph, fuse: bool, context: u32) -> Plan {
    let options = PlanOptions { fuse, context, chunk: 32, ..PlanOptions::default() };
    compile(graph, &facts::apple(), &options).unwrap_or_else(|error| panic!("{error}"))
}

fn graphs() -> Vec<Graph> {
    let variants = twenty().into_iter().map(|v| Variant { layers: 2, ..v }.graph());
    variants.chain([smollm2::graph()]).collect()
}

/// Plans for a device with matrices, of values in F16, of products whose columns are shared, and of rows
/// that are listed by expert.
fn plans_by_matrices() -> Vec<Plan> {
    let formats = [Format::F16; 3];
    let mixture = Mixture { experts: 8, top: 2, width: 256, inner: 256, formats }
        .little("softmax(linear(h, \"router\"))", "sum_norm(take(p, e))");
    let options =
        PlanOptions { precision: Precision::Auto, context: 1024, ..PlanOptions::default() };
    let plan = |graph: &Graph| {
        compile(graph, &facts::nvidia(), &options).unwrap_or_else(|error| panic!("{error}"))
    };
    [little::shared_columns(2048).graph(), mixture.graph(), smollm2::graph()]
        .iter()
        .map(plan)
        .collect()
}

/// Fused and unfused plans of many models, of one whose attention is split, and by matrices.
fn plans() -> Vec<Plan> {
    let graphs = graphs();
    let short = graphs.iter().flat_map(|graph| [plan(graph, true), plan(graph, false)]);
    let long = [true, false].map(|fuse| plan_for_context(&smollm2::graph(), fuse, 8192));
    short.chain(long).chain(plans_by_matrices()).collect()
}

/// A plan's text is the whole plan: for every kind of model, on every device, fused and not.
#[test]
fn plans_survive_being_saved() {
    let mut plans = plans();
    for (name, graph) in small_models() {
        for device in [facts::apple(), facts::nvidia(), facts::llvmpipe()] {
            let options = PlanOptions { context: 64, chunk: 16, ..PlanOptions::default() };
            plans
                .push(compile(&graph, &device, &options).unwrap_or_else(|e| panic!("{name}: {e}")));
        }
    }
    for plan in plans {
        let text = plan.to_json().unwrap();
        let read = Plan::from_json(&text).unwrap();
        assert_eq!(read, plan);
        read.verify().unwrap();
    }
}

#[test]
fn a_changed_text_is_no_plan() {
    let text = plan(&Variant::default().graph(), true).to_json().unwrap();
    for place in (0..text.len()).step_by(text.len() / 200) {
        // One bit of one letter, so that it is ASCII still.
        let mut bytes = text.clone().into_bytes();
        if !bytes[place].is_ascii() {
            continue;
        }
        bytes[place] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert!(Plan::from_json(&changed).is_err(), "{place}");
    }
    assert!(Plan::from_json(&text[..text.len() - 1]).is_err());
}

/// The text of a graph is the whole graph.
#[test]
fn graphs_survive_being_printed() {
    for (name, graph) in small_models() {
        let text = graph.to_string();
        let read = Graph::from_text(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(read == graph, "{name} reads back as another graph");
    }
}

/// Every architecture file is among the models whose graphs and plans are tested here.
#[test]
fn the_models_cover_every_architecture() {
    let known: HashSet<String> = small_models().into_iter().map(|(_, graph)| graph.name).collect();
    for file in quarrel_models::arch::builtin() {
        assert!(known.contains(file.name()), "no small model is of {}", file.name());
    }
}

#[test]
fn the_same_model_has_the_same_plan() {
    let graph = smollm2::graph();
    let (first, second) = (plan(&graph, true), plan(&graph, true));
    assert_eq!(first, second);
    assert_ne!(first.identity, plan(&graph, false).identity);
}

/// A buffer's tenants in one program, by the buffer's number.
fn tenants<'a>(plan: &'a Plan, program: &Program) -> BTreeMap<u32, Vec<&'a Tenant>> {
    let of_program = |buffer: &'a quarrel_ir::plan::Buffer| {
        buffer.tenants.iter().filter(|t| t.program == program.name).collect()
    };
    (0u32..).zip(plan.buffers.iter().map(of_program)).collect()
}

#[test]
fn tenants_of_a_buffer_do_not_overlap() {
    for plan in plans() {
        for program in &plan.programs {
            for (buffer, tenants) in tenants(&plan, program) {
                let bytes = plan.buffers[buffer as usize].bytes;
                for (index, one) in tenants.iter().enumerate() {
                    assert!(one.first <= one.last && one.bytes <= bytes, "{one:?} of {bytes}");
                    assert!((one.last as usize) < program.dispatches.len(), "{one:?}");
                    for other in &tenants[index + 1..] {
                        let apart = one.last < other.first || other.last < one.first;
                        assert!(apart, "{one:?} and {other:?} share buffer {buffer}");
                    }
                }
            }
        }
    }
}

/// The tenants are what the dispatches do: each is written first, by one dispatch, and every read
/// of an activation finds a tenant that was written before, which the contents name.
#[test]
fn dispatches_read_what_was_written() {
    for plan in plans() {
        for program in &plan.programs {
            let tenants = tenants(&plan, program);
            for (at, dispatch) in (0u32..).zip(&program.dispatches) {
                check_activations(&plan, &tenants, at, dispatch);
            }
        }
    }
}

fn check_activations(
    plan: &Plan,
    tenants: &BTreeMap<u32, Vec<&Tenant>>,
    at: u32,
    dispatch: &Dispatch,
) {
    let declared = &plan.kernel(dispatch.kernel).bindings;
    let contents = dispatch.contents.iter().zip(declared);
    for (range, (content, binding)) in dispatch.bindings.iter().zip(contents) {
        if plan.buffer(range.buffer).role != BufferRole::Activation {
            continue;
        }
        let holds = |tenant: &&&Tenant| match binding.access {
            Access::Write => tenant.first == at,
            Access::Read => tenant.first < at && at <= tenant.last,
        };
        let mut found = tenants[&range.buffer.0].iter().filter(holds);
        let tenant = found.next().unwrap_or_else(|| panic!("{at}: no tenant for {range:?}"));
        assert!(range.bytes >= tenant.bytes, "{range:?} of {tenant:?}");
        assert!(found.next().is_none(), "two tenants for {range:?}");
        let value = match content {
            Content::Value(value) | Content::Halves(value) => format!("%{value} "),
            Content::Partials { value, .. } => format!("partials of %{value} "),
            Content::Shares { value, .. } => format!("shares of %{value} "),
            Content::Groups { value, .. } => format!("groups by %{value} "),
            other => panic!("{at}: {tenant:?} is said to be {other:?}"),
        };
        assert!(tenant.value.starts_with(&value), "{content:?} of {tenant:?}");
    }
}

/// What is in memory otherwise than as it is: what is shared or listed is written and read, and products
/// by matrices are all that reads F16.
#[test]
fn values_in_other_forms_are_written_and_read() {
    let mut seen = BTreeSet::new();
    for plan in plans_by_matrices() {
        for dispatch in plan.programs.iter().flat_map(|program| &program.dispatches) {
            let kernel = plan.kernel(dispatch.kernel);
            for (content, binding) in dispatch.contents.iter().zip(&kernel.bindings) {
                let form = match content {
                    Content::Halves(_) => "halves",
                    Content::Shares { .. } => "shares",
                    Content::Groups { .. } => "groups",
                    _ => continue,
                };
                let reads = binding.access == Access::Read;
                assert!(!reads || form != "halves" || kernel.variant.starts_with("F16 matrices"));
                if let (Content::Shares { shares, .. }, false) = (content, reads) {
                    assert_eq!(dispatch.grid[2], Extent::Const(*shares));
                }
                seen.insert((form, reads));
            }
        }
    }
    let forms = ["groups", "halves", "shares"];
    let all: BTreeSet<_> = forms.iter().flat_map(|form| [(*form, false), (*form, true)]).collect();
    assert_eq!(seen, all);
}

#[test]
fn no_dispatch_binds_a_buffer_both_ways() {
    for plan in plans() {
        for dispatch in plan.programs.iter().flat_map(|program| &program.dispatches) {
            let declared = &plan.kernel(dispatch.kernel).bindings;
            let with = |access: Access| -> Vec<BufferId> {
                let bound = dispatch.bindings.iter().zip(declared);
                bound.filter(|(_, b)| b.access == access).map(|(range, _)| range.buffer).collect()
            };
            let (read, written) = (with(Access::Read), with(Access::Write));
            let distinct: HashSet<BufferId> = written.iter().copied().collect();
            assert!(read.iter().all(|buffer| !distinct.contains(buffer)), "{dispatch:?}");
            assert_eq!(distinct.len(), written.len(), "written twice: {dispatch:?}");
            assert!(!written.is_empty(), "{dispatch:?} does nothing");
        }
    }
}

#[test]
fn every_tensor_has_one_place() {
    for graph in graphs() {
        for fuse in [true, false] {
            let plan = plan(&graph, fuse);
            let mut loaded: Vec<&str> =
                plan.load.iter().flat_map(|t| t.sources.iter().map(String::as_str)).collect();
            let mut wanted: Vec<&str> = graph.weights.iter().map(|w| w.name.as_str()).collect();
            loaded.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(loaded, wanted);
            let mut ranges: Vec<_> = plan.load.iter().flat_map(|t| &t.planes).collect();
            ranges.sort_by_key(|range| (range.buffer, range.offset));
            for pair in ranges.windows(2) {
                let apart = pair[0].offset + pair[0].bytes <= pair[1].offset;
                assert!(apart || pair[0].buffer != pair[1].buffer, "{pair:?} overlap");
            }
        }
    }
}

#[test]
fn fusion_saves_bytes_and_dispatches() {
    for graph in graphs() {
        let (fused, unfused) = (plan(&graph, true), plan(&graph, false));
        for phase in [Phase::Decode, Phase::Prefill] {
            let of = |plan: &Plan| {
                let all = &plan.program(phase).unwrap().dispatches;
                let sum = |f: &dyn Fn(&Dispatch) -> u64| all.iter().map(f).sum::<u64>();
                let tokens = if phase == Phase::Decode { 1 } else { 32 };
                let bytes = sum(&|d| d.cost.bytes(tokens, 100));
                let flops = sum(&|d| d.cost.flops(tokens, 100));
                (all.len(), bytes, flops)
            };
            let (with, without) = (of(&fused), of(&unfused));
            assert!(with.0 < without.0, "{phase:?}: {with:?} and {without:?} dispatches");
            assert!(with.1 < without.1, "{phase:?}: {with:?} and {without:?} bytes");
            assert!(with.2 > 0 && without.2 > 0);
        }
        assert_eq!(fused.bytes_of(BufferRole::State), unfused.bytes_of(BufferRole::State));
    }
}

/// The error that one change to a good plan leads to.
fn broken(change: impl Fn(&mut Plan)) -> PlanError {
    let mut plan = plan(&Variant::default().graph(), true);
    plan.verify().unwrap();
    change(&mut plan);
    plan.verify().expect_err("the change is not found")
}

/// As [`broken`], for a change to the third dispatch of the first program.
fn broken_dispatch(change: impl Fn(&mut Dispatch)) -> PlanError {
    broken(|plan| change(&mut plan.programs[0].dispatches[2]))
}

#[test]
fn another_version_is_refused() {
    let next = PLAN_VERSION + 1;
    assert_eq!(broken(|plan| plan.version = next), PlanError::Version(next));
}

#[test]
fn states_that_go_back_too_far_are_found() {
    let error = broken(|plan| plan.rewind = Rewind::AtMost(plan.options.context + 1));
    assert!(matches!(error, PlanError::Rewind { .. }), "{error}");
}

#[test]
fn what_does_not_exist_is_found() {
    let dangling = |error: PlanError, wanted: &str| match error {
        PlanError::Dangling { what, index: 9999, .. } => assert_eq!(what, wanted),
        other => panic!("{other:?}"),
    };
    dangling(broken(|plan| plan.io.logits = BufferId(9999)), "buffer");
    dangling(broken(|plan| plan.load[0].planes[0].buffer = BufferId(9999)), "buffer");
    dangling(broken_dispatch(|d| d.bindings[0].buffer = BufferId(9999)), "buffer");
    dangling(broken_dispatch(|d| d.kernel = KernelId(9999)), "kernel");
}

#[test]
fn wrong_numbers_of_bindings_are_found() {
    for more in [false, true] {
        let error = broken_dispatch(|dispatch| match more {
            true => dispatch.bindings.push(dispatch.bindings[0]),
            false => dispatch.bindings.truncate(1),
        });
        assert!(matches!(error, PlanError::BindingCount { .. }), "{error:?}");
    }
}

#[test]
fn wrong_ranges_are_found() {
    let binding = |error: PlanError, wanted: &str| match error {
        PlanError::Binding { why, .. } => assert_eq!(why, wanted),
        other => panic!("{other:?}"),
    };
    let outside = "is outside its buffer";
    binding(broken_dispatch(|d| d.bindings[0].offset += 1 << 40), outside);
    binding(broken_dispatch(|d| d.bindings[0].offset = u64::MAX), outside);
    binding(broken_dispatch(|d| d.bindings[0].bytes += 1 << 40), outside);
    binding(broken(|plan| plan.load[0].planes[0].bytes += 1 << 40), outside);
    let shift = |dispatch: &mut Dispatch| {
        dispatch.bindings[0].offset += 4;
        dispatch.bindings[0].bytes -= 4;
    };
    binding(broken_dispatch(shift), "is not aligned as the device wants");
    let words = "is not a positive number of words";
    binding(broken_dispatch(|d| d.bindings[0].bytes -= 2), words);
    binding(broken_dispatch(|d| d.bindings[0].bytes = 0), words);
    let small = broken(|plan| plan.device.max_binding_bytes = 64);
    binding(small, "is larger than the device binds");
}

#[test]
fn a_buffer_bound_both_ways_is_found() {
    let error = broken(|plan| {
        let dispatch = &mut plan.programs[0].dispatches[2];
        let declared = &plan.kernels[dispatch.kernel.0 as usize].bindings;
        let place = |access| declared.iter().position(|b| b.access == access).unwrap();
        let written = dispatch.bindings[place(Access::Write)];
        dispatch.bindings[place(Access::Read)] = written;
    });
    assert!(matches!(error, PlanError::Conflict { .. }), "{error:?}");
}

#[test]
fn what_the_device_lacks_is_found() {
    let limit = |error: PlanError, wanted: &str| match error {
        PlanError::Limit { what, needs, has, .. } => {
            assert_eq!(what, wanted);
            assert!(needs > has, "{needs} {has}");
        }
        other => panic!("{other:?}"),
    };
    limit(broken(|plan| plan.device.max_buffer_bytes = 64), "bytes a buffer");
    limit(broken(|plan| plan.device.max_workgroup_bytes = 64), "bytes of workgroup memory");
    limit(broken(|plan| plan.kernels[1].workgroup_bytes = 1 << 20), "bytes of workgroup memory");
    limit(broken(|plan| plan.device.max_workgroup_threads = 8), "threads a workgroup");
    limit(broken(|plan| plan.device.max_storage_buffers = 2), "storage buffers");
    let grid = "workgroups along one axis";
    limit(broken_dispatch(|d| d.grid[0] = Extent::Const(65_536)), grid);
    let tiles = Extent::Tiles { dim: RunDim::Tokens, tile: 1, times: 3000 };
    limit(broken_dispatch(|d| d.grid[1] = tiles), grid);
}

/// A table of learned positions has no row for what is beyond it.
#[test]
fn a_context_beyond_the_learned_positions_is_refused() {
    let graph = quarrel_tests::tiny::Tiny::open("gpt2").graph();
    let options = |context| PlanOptions { context, ..PlanOptions::default() };
    let refused = quarrel_compiler::compile(&graph, &quarrel_tests::facts::apple(), &options(513));
    let message = refused.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("512 learned positions"), "{message}");
    assert!(
        quarrel_compiler::compile(&graph, &quarrel_tests::facts::apple(), &options(512)).is_ok()
    );
}

#[test]
fn what_a_step_is_made_of_is_there() {
    let nothing = |change: fn(&mut Plan), wanted: &str| match broken(change) {
        PlanError::Nothing(what) => assert_eq!(what, wanted),
        other => panic!("{other:?}"),
    };
    nothing(|plan| plan.options.chunk = 0, "chunk");
    nothing(|plan| plan.options.slots = 0, "number of slots");
    nothing(|plan| plan.model.vocabulary = 0, "vocabulary");
    let small = |change: fn(&mut Plan), wanted: &str| match broken(change) {
        PlanError::Room { what, needs, has } => assert!(what == wanted && needs > has, "{what}"),
        other => panic!("{other:?}"),
    };
    small(|plan| plan.options.chunk = 64, "tokens");
    small(|plan| plan.model.vocabulary = u32::MAX, "logits");
    small(|plan| plan.io.stop = plan.io.step, "stop tokens");
    small(|plan| plan.options.context = u32::MAX, "positions");
    let held = |plan: &mut Plan| {
        let mut tenants = plan.buffers.iter_mut().flat_map(|buffer| &mut buffer.tenants);
        tenants.next().unwrap().bytes = u64::MAX;
    };
    assert!(matches!(broken(held), PlanError::Tenant { .. }));
    let odd = broken(|plan| plan.buffers[0].bytes += 4);
    assert!(matches!(odd, PlanError::Size { .. }), "{odd:?}");
    let tiles = Extent::Tiles { dim: RunDim::Tokens, tile: 0, times: 1 };
    let tile = broken_dispatch(|d| d.grid[1] = tiles);
    assert!(matches!(tile, PlanError::Tile { .. }), "{tile:?}");
    let work = broken_dispatch(|d| d.cost.token_flops = u64::MAX);
    assert!(matches!(work, PlanError::Work { .. }), "{work:?}");
}

/// The places of numbers in a plan's JSON, two of each kind.
fn numbers(
    value: &serde_json::Value,
    at: &str,
    kind: &str,
    found: &mut BTreeMap<String, Vec<String>>,
) {
    match value {
        serde_json::Value::Number(_) => {
            let places = found.entry(kind.into()).or_default();
            if places.len() < 2 {
                places.push(at.into());
            }
        }
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                numbers(item, &format!("{at}/{index}"), kind, found);
            }
        }
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                numbers(field, &format!("{at}/{name}"), &format!("{kind}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// All that can be asked of a plan that is not run.
fn ask(plan: &Plan) {
    for phase in plan.programs.iter().map(|program| program.phase) {
        let program = plan.program(phase).unwrap();
        plan.totals(phase);
        plan.predicted_us(phase);
        plan.barriers(phase);
        plan.held(program);
        let values: Vec<u32> = plan.values(phase).into_keys().collect();
        for pair in values.windows(2).take(8) {
            plan.explain(phase, [pair[0], pair[1]]);
        }
    }
    assert!(Diff::between(plan, plan).is_empty());
}

/// Whatever numbers a plan has, with a checksum that is right: it is refused, or harmless to look at.
#[test]
fn wrong_numbers_are_refused_or_harmless() {
    let plan = plan(&Variant { layers: 1, ..Variant::default() }.graph(), true);
    let good = serde_json::to_value(&plan).unwrap();
    let mut kinds = BTreeMap::new();
    numbers(&good, "", "", &mut kinds);
    assert!(kinds.len() > 40, "{kinds:?}");
    for place in kinds.into_values().flatten() {
        for number in [0, 1, 3, u64::from(u32::MAX), u64::MAX] {
            let mut changed = good.clone();
            *changed.pointer_mut(&place).unwrap() = number.into();
            if let Ok(changed) = serde_json::from_value::<Plan>(changed)
                && changed.verify().is_ok()
            {
                ask(&changed);
            }
        }
    }
}
