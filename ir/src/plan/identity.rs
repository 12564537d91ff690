//! A plan's identity: what it was compiled from.

use super::PlanOptions;
use crate::facts::{DeviceFacts, Speeds};
use crate::graph::Graph;
use sha2::{Digest, Sha256};

/// The hash of a graph (and so of its tensors' names, formats and shapes), device facts and
/// options, in hexadecimal. Weight bytes play no part, nor do measured speeds.
pub fn identity(graph: &Graph, device: &DeviceFacts, options: &PlanOptions) -> String {
    let mut hash = Sha256::new();
    let device = &DeviceFacts { speeds: Speeds::default(), ..device.clone() };
    // Plain data always serialises; an error would still change the hash.
    for part in [serde_json::to_vec(graph), serde_json::to_vec(device), serde_json::to_vec(options)]
    {
        hash.update(part.unwrap_or_else(|error| error.to_string().into_bytes()));
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
