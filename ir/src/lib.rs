//! The two languages between Quarrel's layers, and the plain data that they share.
//!
//! [`graph`] is what a model computes; [`plan`] is how a device computes it. Nothing here touches a
//! file, a device or the environment.

pub mod facts;
pub mod format;
pub mod graph;
pub mod packing;
pub mod plan;
pub mod sampling;
pub mod weight;
