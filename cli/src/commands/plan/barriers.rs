//! What makes dispatches wait, for people.

use super::fold::{Section, heading, sections};
use quarrel_ir::plan::{Barrier, Barriers, Cause, Change, Hazard, HazardKind, Plan, Program};
use std::fmt::Write;

/// The barriers of a program: how many, what causes each, and what would remove some.
pub(super) fn text(plan: &Plan, program: &Program, found: &Barriers) -> String {
    let mut text = totals(found);
    for section in sections(&program.dispatches) {
        text += &heading(&section);
        text += &of_section(plan, program, found, &section);
    }
    text
}

// Writing to a string, here and below, does not fail.

fn totals(found: &Barriers) -> String {
    let Barriers { program, dispatches, barriers, without_reuse, where_needed, .. } = found;
    let count = barriers.len();
    let mut text = format!("{program}: {count} barriers in {dispatches} dispatches\n");
    let rows = [
        ("if no two values shared memory", *without_reuse),
        ("if, besides, only needs placed them", *where_needed),
        ("in the best order of dispatches", found.longest_chain),
    ];
    for (what, left) in rows {
        let _ = writeln!(text, "  {what:<37} {left:>5}");
    }
    match found.dispatch_us {
        Some(us) => {
            let _ = writeln!(
                text,
                "  one with the dispatch behind it takes {us:.2} µs where there is no other work: \
                 {:.3} ms a step",
                us * count as f64 / 1e3
            );
        }
        None => {
            text += "  what one takes is not known: `quarrel devices --measure` measures it\n";
        }
    }
    text
}

fn of_section(plan: &Plan, program: &Program, found: &Barriers, section: &Section) -> String {
    let mut text = String::new();
    let dispatches = program.dispatches.iter().enumerate();
    for (index, dispatch) in dispatches.take(section.range.end).skip(section.range.start) {
        let name = &plan.kernel(dispatch.kernel).name;
        match found.barriers.iter().find(|barrier| barrier.before == index) {
            Some(barrier) => text += &show(plan, program, barrier),
            None => {
                let _ = writeln!(text, "  {name:<18} waits for nothing of this step");
            }
        }
    }
    text
}

fn show(plan: &Plan, program: &Program, barrier: &Barrier) -> String {
    let Barrier { kernel, hazards, removed_by, .. } = barrier;
    let verdict = match removed_by {
        None => "",
        Some(Change::OwnBuffers) => "; a buffer of its own would remove it",
        Some(Change::ByNeed) => "; barriers placed by need would remove it",
    };
    let mut text = String::new();
    for (index, hazard) in hazards.iter().enumerate() {
        let name = if index == 0 { kernel.as_str() } else { "" };
        let after = program.dispatches.get(hazard.after);
        let after = after.map_or("", |dispatch| plan.kernel(dispatch.kernel).name.as_str());
        let last = if index + 1 == hazards.len() { verdict } else { "" };
        let _ =
            writeln!(text, "  {name:<18} {:<18} {}{last}", format!("after {after}"), words(hazard));
    }
    text
}

fn words(hazard: &Hazard) -> String {
    let Hazard { buffer, kind, value, instead_of, cause, .. } = hazard;
    let place = if value == buffer { String::new() } else { format!(" in {buffer}") };
    let what = match kind {
        HazardKind::ReadAfterWrite => format!("reads {value}{place}"),
        HazardKind::WriteAfterRead | HazardKind::WriteAfterWrite => match instead_of {
            Some(other) => format!("writes {value} where {other} was{place}"),
            None => format!("writes {value}{place}"),
        },
    };
    match cause {
        Cause::Value | Cause::Reuse => what,
        Cause::Parts => format!("{what}, another part of it"),
        Cause::Waited => format!("{what}, already waited for"),
    }
}
