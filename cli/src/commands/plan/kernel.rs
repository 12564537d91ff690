//! Kernel text in the languages that drivers take.

use super::text::wrapped;
use crate::error::{CliError, Result};
use crate::output;
use clap::ValueEnum;
use quarrel_ir::plan::{Choice, Kernel, Plan, Program, marked_op};
use quarrel_kernels::check;
use std::io::{IsTerminal, Write};

/// A shading language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// The text that the compiler wrote
    Wgsl,
    /// Metal Shading Language
    Msl,
    /// Vulkan's binary form, for one kernel
    Spirv,
}

/// Prints the kernel called `name`, or all kernels of `program`.
pub(super) fn show(
    plan: &Plan,
    program: &Program,
    name: Option<&str>,
    language: Language,
) -> Result<()> {
    let kernels = match name {
        Some(name) => vec![find(plan, name)?],
        None => of_program(plan, program),
    };
    match (language, &kernels[..]) {
        (Language::Spirv, [kernel]) => spirv(kernel),
        (Language::Spirv, _) => {
            Err(CliError::user("SPIR-V is written for one kernel: name it with --kernel"))
        }
        (_, several) => several.iter().try_for_each(|kernel| {
            let shown = match language {
                Language::Msl => check::metal(&kernel.wgsl).map_err(failure)?,
                Language::Wgsl | Language::Spirv => named(plan, program, kernel),
            };
            output::text(&format!("{}{}\n", above(kernel), shown.trim_end()))
        }),
    }
}

/// What stands above a kernel's text, as comments: what it is, and which variants there are, as
/// `--what-if variant=KEY:NAME` takes them.
fn above(kernel: &Kernel) -> String {
    let Kernel { name, family, variant, choice, workgroup, workgroup_bytes, .. } = kernel;
    let size = format!("{workgroup} threads, {workgroup_bytes} bytes of workgroup memory");
    let mut text = wrapped("variant", &format!("{variant}; {size}"));
    if let Some(Choice { key, chosen, reason, alternatives, .. }) = choice {
        let others = alternatives.iter().map(|other| other.name.as_str());
        let others: Vec<&str> = others.filter(|name| name != chosen).collect();
        text += &wrapped("key", key);
        text += &wrapped("taken", &format!("{chosen}: {reason}"));
        text += &wrapped("others", &others.join(", "));
        if let Some(other) = others.first() {
            text += &wrapped("compare", &format!("--what-if variant={key}:{other}"));
        }
    }
    let comment = |line: &str| format!("// {}\n", line.strip_prefix("    ").unwrap_or(line));
    format!("// {name}: {family}\n") + &text.lines().map(comment).collect::<String>()
}

/// The text of a kernel, in which the marks of lines name the values of its first dispatch in the
/// program: `// %10 rope q`.
fn named(plan: &Plan, program: &Program, kernel: &Kernel) -> String {
    let mut dispatches = program.dispatches.iter();
    let ops = dispatches.find(|dispatch| plan.kernel(dispatch.kernel) == kernel).map(|d| &d.ops);
    let lines = kernel.wgsl.lines().map(|line| {
        let op = marked_op(line).and_then(|index| ops?.get(index));
        match (op, line.rsplit_once("//")) {
            (Some(op), Some((code, _))) => format!("{code}// %{} {}\n", op.value, op.in_words()),
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

fn spirv(kernel: &Kernel) -> Result<()> {
    if std::io::stdout().is_terminal() {
        return Err(CliError::user(
            "SPIR-V is binary: send it to a file or a disassembler, as in `quarrel plan … --emit \
             spirv | spirv-dis`",
        ));
    }
    let words = check::spirv(&kernel.wgsl).map_err(failure)?;
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes)?;
    out.flush()?;
    Ok(())
}

fn failure(error: check::CheckError) -> CliError {
    CliError::Failure(format!("a bug in Quarrel, please report it: {error}"))
}

fn find<'a>(plan: &'a Plan, name: &str) -> Result<&'a Kernel> {
    plan.kernels.iter().find(|kernel| kernel.name == name).ok_or_else(|| {
        let known: Vec<&str> = plan.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        CliError::User(format!("the plan has no kernel {name:?}; it has: {}", known.join(", ")))
    })
}

/// The kernels of `program`, each once, in the order of their first use.
fn of_program<'a>(plan: &'a Plan, program: &Program) -> Vec<&'a Kernel> {
    let mut seen = std::collections::HashSet::new();
    let ids = program.dispatches.iter().map(|dispatch| dispatch.kernel);
    ids.filter(|id| seen.insert(*id)).map(|id| plan.kernel(id)).collect()
}
