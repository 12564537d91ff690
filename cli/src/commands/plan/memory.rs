//! The memory of a plan, for people: what it needs, and what values share over a step.

use crate::output::bytes;
use quarrel_ir::plan::{BufferRole, Plan, Program};
use std::fmt::Write;

/// Columns of the chart.
const COLUMNS: usize = 60;
/// Signs from nothing to full.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Buffers by role, those of activations one by one, and how much they hold over a step.
pub(super) fn text(plan: &Plan, program: &Program) -> String {
    // Writing to a string, here and below, does not fail.
    let mut text = String::from("\nmemory\n");
    let roles = [
        ("weights", BufferRole::Weights),
        ("states", BufferRole::State),
        ("activations", BufferRole::Activation),
        ("inputs and results", BufferRole::Io),
    ];
    for (name, role) in roles {
        let buffers = plan.buffers.iter().filter(|buffer| buffer.role == role).count();
        let whole = bytes(plan.bytes_of(role));
        let s = if buffers == 1 { "" } else { "s" };
        let _ = writeln!(text, "  {name:<18} {whole:>9} in {buffers} buffer{s}");
    }
    for buffer in plan.buffers.iter().filter(|buffer| buffer.role == BufferRole::Activation) {
        let tenants = buffer.tenants.len();
        let alone: u64 = buffer.tenants.iter().map(|tenant| tenant.bytes).sum();
        let _ = writeln!(
            text,
            "    {:<16} {:>9} holds {tenants} values one after another ({} without reuse)",
            buffer.name,
            bytes(buffer.bytes),
            bytes(alone)
        );
    }
    text + &over_the_step(plan, program)
}

/// What activations hold at each dispatch of the program.
fn over_the_step(plan: &Plan, program: &Program) -> String {
    let held = plan.held(program);
    let Some((at, &peak)) =
        held.iter().enumerate().max_by_key(|(at, held)| (**held, usize::MAX - at))
    else {
        return String::new();
    };
    let kernel = program.dispatches.get(at).map_or("", |d| plan.kernel(d.kernel).name.as_str());
    let pool = plan.bytes_of(BufferRole::Activation);
    let columns = held.len().clamp(1, COLUMNS);
    let chart = (0..columns).map(|column| {
        let range = column * held.len() / columns..(column + 1) * held.len() / columns;
        let most = range.filter_map(|index| held.get(index)).max().copied().unwrap_or(0);
        let level = (most * 8).div_ceil(pool.max(1)).min(8);
        LEVELS.get(level as usize).copied().unwrap_or(' ')
    });
    let chart: String = chart.collect();
    format!(
        "  {} holds most at dispatch {at}, {kernel}: {} of {}\n    |{chart}|\n",
        program.name,
        bytes(peak),
        bytes(pool)
    )
}
