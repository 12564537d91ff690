//! Measured speeds of devices, kept in the user's cache folder: measuring takes seconds.

use crate::error::Result;
use crate::{kept, output};
use quarrel_ir::facts::{DeviceFacts, Speeds};
use quarrel_runtime::Gpu;

/// The kind of file that holds speeds.
const KIND: &str = "devices";

/// The facts of `gpu`, with its speeds where they were measured before.
pub(crate) fn facts(gpu: &Gpu) -> DeviceFacts {
    let mut facts = gpu.facts();
    if let Some(speeds) = kept::load::<Speeds>(KIND, &facts) {
        match speeds.check() {
            Ok(()) => facts.speeds = speeds,
            Err(why) => output::remark(&format!(
                "what was measured of the device is ignored: {why}. `quarrel devices --measure` \
                 measures again\n"
            )),
        }
    }
    facts
}

/// The facts of `gpu` with its speeds, which are measured and kept.
///
/// # Errors
/// If the device fails. That they could not be kept is worth a remark, no error.
pub(crate) fn measure(gpu: &Gpu) -> Result<DeviceFacts> {
    let mut facts = gpu.facts();
    facts.speeds = gpu.measure()?;
    if let Err(why) = kept::keep(KIND, &facts, &facts.speeds) {
        output::remark(&format!("what was measured could not be kept: {why}\n"));
    }
    Ok(facts)
}

/// The facts of `gpu` with its speeds, which are measured and kept where none are known.
///
/// # Errors
/// If the device fails.
pub(crate) fn facts_or_measure(gpu: &Gpu) -> Result<DeviceFacts> {
    let facts = facts(gpu);
    if facts.speeds.known() { Ok(facts) } else { measure(gpu) }
}
