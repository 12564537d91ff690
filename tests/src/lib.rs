//! What suites across crates share: synthetic models, random weights, and plans run beside the
//! reference.

pub mod differ;
pub mod synthetic;
pub mod weights;
