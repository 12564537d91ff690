//! Kernel text in three languages, with the op behind each line.
//!
//! The compiler marks lines of WGSL; those of SPIR-V are found by the line numbers that naga writes,
//! those of MSL by the names that it keeps.

use super::spirv;
use quarrel_ir::plan::{Kernel, Plan, marked_op};
use quarrel_kernels::check;
use serde::Serialize;
use std::collections::HashMap;

/// A line is that of what the kernel is built around.
const ANCHOR: i32 = -1;
/// A line computes nothing, or is shared by several ops.
const NONE: i32 = -2;

/// The text of a kernel.
#[derive(Serialize)]
pub(super) struct Sources {
    wgsl: Source,
    msl: Source,
    spirv: Source,
}

/// Text in one language.
#[derive(Serialize)]
struct Source {
    text: String,
    /// For each line the op's place among those of the dispatch; [`ANCHOR`] or [`NONE`].
    ops: Vec<i32>,
}

impl Source {
    fn failed(why: &str) -> Source {
        Source { text: format!("not written: {why}"), ops: vec![NONE; why.lines().count()] }
    }
}

/// The text of `kernel` in each language.
pub(super) fn sources(kernel: &Kernel, plan: &Plan) -> Sources {
    let ops = ops_of_wgsl(&kernel.wgsl, is_fused(kernel, plan));
    let msl = match check::metal(&kernel.wgsl) {
        Ok(text) => {
            let ops = ops_of_msl(&text, &kernel.wgsl, &ops);
            Source { text, ops }
        }
        Err(error) => Source::failed(&error.to_string()),
    };
    let spirv = match spirv::lines(kernel) {
        Ok(lines) => {
            let at = |line: u32| ops.get((line as usize).wrapping_sub(1)).copied();
            let ops = lines.iter().map(|(_, line)| line.and_then(at).unwrap_or(NONE)).collect();
            let text: Vec<String> = lines.into_iter().map(|(text, _)| text).collect();
            Source { text: text.join("\n"), ops }
        }
        Err(why) => Source::failed(&why),
    };
    Sources { wgsl: Source { text: kernel.wgsl.clone(), ops }, msl, spirv }
}

/// Whether a dispatch of the kernel computes ops of the graph.
fn is_fused(kernel: &Kernel, plan: &Plan) -> bool {
    let dispatches = plan.programs.iter().flat_map(|program| &program.dispatches);
    let mut of_it = dispatches.filter(|dispatch| plan.kernel(dispatch.kernel) == kernel);
    of_it.any(|dispatch| !dispatch.ops.is_empty())
}

/// The op behind each line of WGSL: as marked; in a function with marks, that of the line before; in
/// one without, what the kernel is built around where it is the entry point.
fn ops_of_wgsl(wgsl: &str, fused: bool) -> Vec<i32> {
    let mut ops = Vec::new();
    let mut usual = NONE;
    let mut main = false;
    for line in wgsl.lines() {
        match function_name(line) {
            Some(name) => {
                main = name == "main";
                usual = NONE;
                ops.push(NONE);
                continue;
            }
            None if line.starts_with('}') => {
                usual = NONE;
                main = false;
                ops.push(NONE);
                continue;
            }
            None => {}
        }
        let marked = marked_op(line).and_then(|index| i32::try_from(index).ok());
        if !main {
            usual = marked.unwrap_or(usual);
        }
        let says = line.chars().any(char::is_alphanumeric);
        let inside = line.starts_with(' ');
        ops.push(match marked {
            Some(op) => op,
            None if !says || !inside => NONE,
            None if main && fused => ANCHOR,
            None => usual,
        });
    }
    ops
}

/// The name of the function that a line of WGSL begins.
fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("fn ")?;
    Some(rest.split('(').next().unwrap_or(rest))
}

/// The op behind each line of MSL: that of the line of WGSL in the same function which gives a value
/// the same name. Lines between are those of the next such line, as their values are used there.
fn ops_of_msl(msl: &str, wgsl: &str, wgsl_ops: &[i32]) -> Vec<i32> {
    let mut functions: HashMap<&str, HashMap<&str, i32>> = HashMap::new();
    let mut function = "";
    for (line, op) in wgsl.lines().zip(wgsl_ops) {
        function = function_name(line).unwrap_or(function);
        let names = functions.entry(function).or_default();
        if let Some(name) = assigned(line)
            && *op != NONE
        {
            names.entry(name).or_insert(*op);
        }
    }
    let lines: Vec<&str> = msl.lines().collect();
    let mut ops = vec![NONE; lines.len()];
    let mut names = None;
    let mut waiting = 0;
    for (index, line) in lines.iter().enumerate() {
        if !line.starts_with(' ') {
            // `metal::float4 pre(`
            if let Some(head) = line.strip_suffix('(') {
                names = head.split(' ').next_back().and_then(|name| original(name, &functions));
            }
            waiting = index + 1;
            continue;
        }
        let found = names.zip(assigned(line)).and_then(|(names, name)| original(name, names));
        let Some(op) = found else { continue };
        for (before, line) in ops.iter_mut().zip(&lines).take(index + 1).skip(waiting) {
            if line.chars().any(char::is_alphanumeric) {
                *before = *op;
            }
        }
        waiting = index + 1;
    }
    ops
}

/// What `known` has under the name that naga made `name` of: it adds `_` to names that end in a
/// digit, and `_` and a number to those that are taken.
fn original<'a, T>(name: &str, known: &'a HashMap<&str, T>) -> Option<&'a T> {
    let stem = name.rsplit_once('_').filter(|(_, end)| end.chars().all(|c| c.is_ascii_digit()));
    known.get(name).or_else(|| known.get(stem?.0))
}

/// The name that a line gives a value, or of what it writes to; `return` where it returns one.
fn assigned(line: &str) -> Option<&str> {
    if line.trim_start().starts_with("return ") {
        return Some("return");
    }
    let (before, _) = line.rsplit_once(" = ").or_else(|| line.split_once(" += "))?;
    // `if (live[slot]) { state_3[row]`, `let e0`, `var sum: f32`, `float e0_`, `sum`
    let before = before.rsplit('{').next().unwrap_or(before).trim_start();
    let before = before.split(['[', ':']).next().unwrap_or(before).trim_end();
    let name = before.split([' ', '(']).next_back()?;
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (word && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WGSL: &str = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;
fn half(x: f32) -> f32 { return x * 0.5; }
fn post(j: u32) {
    let e0 = y[j]; // [1] linear
    let e1 = half(e0); // [2] mul
    y[j] = e1; // [2] mul
}
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    let first = group.x;
    let e0 = f32(first); // [0] cast
    post(first + u32(e0));
}
";

    #[test]
    fn lines_of_wgsl_are_as_marked() {
        let ops = ops_of_wgsl(WGSL, true);
        assert_eq!(ops, [-2, -2, -2, 1, 2, 2, -2, -2, -2, -1, 0, -1, -2]);
        assert_eq!(ops_of_wgsl(WGSL, false)[9], NONE);
    }

    #[test]
    fn lines_of_msl_are_found_by_name() {
        let msl = check::metal(WGSL).unwrap_or_default();
        let ops = ops_of_msl(&msl, WGSL, &ops_of_wgsl(WGSL, true));
        let of = |text: &str| {
            let line = msl.lines().position(|line| line.contains(text));
            line.and_then(|line| ops.get(line).copied())
        };
        assert_eq!(of("float e0_ = "), Some(1), "{msl}");
        assert_eq!(of("y[j] = "), Some(2), "{msl}");
        assert_eq!(of("float e0_1 = "), Some(0), "{msl}");
    }
}
