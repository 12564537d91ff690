//! Plans in files: written whole or not at all, and refused where they do not fit.

use crate::error::{CliError, Result};
use crate::files;
use crate::model::Source;
use crate::options::PlanArgs;
use quarrel_ir::plan::{Plan, PlanOptions, SavedError};
use quarrel_models::arch;
use std::path::Path;

/// Writes `plan` to a file.
pub(crate) fn write(path: &Path, plan: &Plan) -> Result<()> {
    files::write(path, plan.to_json()?.as_bytes()).map_err(|why| {
        CliError::User(format!("the plan cannot be written to {}: {why}", path.display()))
    })
}

/// Reads a plan from a file and checks its rules.
pub(crate) fn read(path: &Path) -> Result<Plan> {
    let name = path.display();
    let again = "write it anew with `quarrel plan MODEL --save FILE`";
    let text = std::fs::read_to_string(path)
        .map_err(|why| CliError::User(format!("the plan in {name} cannot be read: {why}")))?;
    let plan = Plan::from_json(&text).map_err(|error| match error {
        SavedError::NoPlan(_) | SavedError::Version(_) | SavedError::Damaged => {
            CliError::User(format!("{name} cannot be used as a plan: {error}; {again}"))
        }
    })?;
    plan.verify().map_err(|error| {
        CliError::User(format!("{name} cannot be used as a plan: {error}; {again}"))
    })?;
    Ok(plan)
}

/// Reads a plan for a model and options; a device is compared when the plan is loaded.
pub(crate) fn read_for(path: &Path, source: &Source, asked: &PlanArgs) -> Result<Plan> {
    let plan = read(path)?;
    let refused =
        |why: String| CliError::User(format!("the plan in {} does not fit: {why}", path.display()));
    if let Some(why) = arch::difference(&plan.model, source.facts()) {
        let again = "save one for this model with `quarrel plan MODEL --save FILE`";
        return Err(refused(format!("{why}; {again}")));
    }
    match contradiction(&plan.options, asked) {
        Some(why) => Err(refused(format!("{why}; leave the option out, or save a plan with it"))),
        None => Ok(plan),
    }
}

/// The first option that asks for what the plan is not.
fn contradiction(plan: &PlanOptions, asked: &PlanArgs) -> Option<String> {
    let differs = |option: &str, asked: String, has: String| {
        (asked != has).then(|| format!("{option} asks for {asked}, the plan was made for {has}"))
    };
    let precision = |precision| format!("{precision:?}").to_lowercase();
    let ctx = asked.ctx.and_then(|n| differs("--ctx", n.to_string(), plan.context.to_string()));
    let chunk = asked.chunk.map(|chunk| chunk.min(plan.context));
    let chunk = chunk.and_then(|n| differs("--chunk", n.to_string(), plan.chunk.to_string()));
    let fused = (asked.no_fuse && plan.fuse)
        .then(|| "--no-fuse asks for a kernel for each op, the plan has fused them".into());
    let weights = asked.weights.and_then(|format| {
        let has = plan.weights.map_or("those of the file".into(), |format| format.to_string());
        differs("--weights", format.to_string(), has)
    });
    let kv = asked.kv.and_then(|format| {
        let has = plan.state.map_or("f16", |format| format.name());
        differs("--kv", format.name().into(), has.into())
    });
    let precision = asked.precision.and_then(|asked| {
        differs("--precision", precision(asked.planned()), precision(plan.precision))
    });
    ctx.or(chunk).or(fused).or(weights).or(kv).or(precision)
}

/// Refuses a plan with fewer positions than are needed, or for another number of sequences.
pub(crate) fn check_room(plan: &Plan, needs: &PlanOptions) -> Result<()> {
    let PlanOptions { context, slots, .. } = plan.options;
    if needs.context > context {
        return Err(CliError::User(format!(
            "the plan holds {context} positions, but {} are needed: save one with --ctx {}",
            needs.context, needs.context
        )));
    }
    if needs.slots != slots {
        return Err(CliError::User(format!(
            "the plan decodes {slots} sequences together, not {}: save one with --slots {}",
            needs.slots, needs.slots
        )));
    }
    Ok(())
}
