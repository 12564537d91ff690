//! `quarrel devices`: what models can run on.

use crate::error::Result;
use crate::{measured, output};
use quarrel_ir::facts::{DeviceFacts, Speeds};
use quarrel_runtime::{AdapterSummary, Gpu, adapters};
use std::fmt::Write;

/// Show the devices that models can run on
///
/// For each: what it is, the features and limits that matter, the subgroup size that a kernel
/// counted, and its speeds where they were measured. Those are kept in the cache folder: `plan`
/// predicts times by them.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel devices\n  quarrel devices --measure\n  quarrel devices \
--device 0 --json > facts.json"
)]
pub(crate) struct Args {
    /// Only this device: a number or part of a name
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Measure copies, dispatches and arithmetic, and keep the result: about three seconds a device
    #[arg(long)]
    measure: bool,
    /// Print the facts of one device (--device, else the one that is used by default) as JSON, which
    /// `quarrel plan --for` reads
    #[arg(long)]
    json: bool,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    if args.json || args.device.is_some() {
        let facts = facts(args, args.device.as_deref())?;
        return match args.json {
            true => output::json_file(&facts),
            false => output::text(&show(&facts)),
        };
    }
    let found = adapters();
    if found.is_empty() {
        // The error of opening none says what to do about it.
        drop(Gpu::open(None)?);
    }
    for adapter in &found {
        output::text(&describe(args, adapter)?)?;
    }
    output::text("reference: the CPU interpreter, slow and exact; always there\n")
}

fn describe(args: &Args, adapter: &AdapterSummary) -> Result<String> {
    let AdapterSummary { index, name, unusable, .. } = adapter;
    match unusable {
        Some(what) => Ok(format!("{index}: {name}: cannot be used, it has no {what}\n\n")),
        None => {
            let facts = facts(args, Some(&index.to_string()))?;
            Ok(format!("{index}: {}\n", show(&facts)))
        }
    }
}

fn facts(args: &Args, selector: Option<&str>) -> Result<DeviceFacts> {
    let gpu = Gpu::open(selector)?;
    if args.measure { measured::measure(&gpu) } else { Ok(measured::facts(&gpu)) }
}

/// Facts for people.
fn show(facts: &DeviceFacts) -> String {
    let yes = |has: bool| if has { "yes" } else { "no" };
    let shapes: Vec<String> =
        facts.matrix_shapes.iter().map(|(m, n, k)| format!("{m}×{n}×{k}")).collect();
    let matrices = if shapes.is_empty() { "none".into() } else { shapes.join(", ") };
    let mut text = format!("{} ({}, {:?})\n", facts.name, facts.backend, facts.kind);
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "   driver                {}\n   \
         subgroup size         {}\n   \
         16-bit floats         {}\n   \
         64-bit integers       {}\n   \
         cooperative matrices  {matrices}\n   \
         timestamps in passes  {}\n   \
         workgroup             {} threads, {} of memory\n   \
         largest grid          {}\n   \
         storage buffers       {} a kernel, {} a binding, {} a buffer\n",
        facts.driver,
        facts.subgroup_size,
        yes(facts.shader_f16),
        yes(facts.shader_int64),
        yes(facts.timestamps_inside_passes),
        facts.max_workgroup_threads,
        output::bytes(facts.max_workgroup_bytes.into()),
        facts.max_grid,
        facts.max_storage_buffers,
        output::bytes(facts.max_binding_bytes),
        output::bytes(facts.max_buffer_bytes),
    );
    text + &speeds(&facts.speeds)
}

/// What was measured, for people.
fn speeds(speeds: &Speeds) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "   {what:<21} {value}");
    };
    if let Some(speed) = speeds.copy_bytes_per_s {
        line("copy", format!("{}/s", output::bytes(speed as u64)));
    }
    if let Some(speed) = speeds.workgroup_bytes_per_s {
        line("copy, one workgroup", format!("{}/s", output::bytes(speed as u64)));
    }
    if let Some(time) = speeds.dispatch_us {
        line("dispatch", format!("{time:.2} µs"));
    }
    if let Some(time) = speeds.round_us {
        line("load and two barriers", format!("{time:.2} µs"));
    }
    for copy in &speeds.copies {
        let rate = output::bytes((copy.bytes as f64 / copy.us * 1e6) as u64);
        let moved = output::bytes(copy.bytes);
        line("dispatch that copies", format!("{moved:>8} in {:.2} µs, {rate}/s", copy.us));
    }
    for (what, speed) in [("F32", speeds.flops_per_s), ("matrices, F16", speeds.matrix_flops_per_s)]
    {
        if let Some(speed) = speed {
            line(what, format!("{}FLOP/s", output::count(speed as u64)));
        }
    }
    text
}
