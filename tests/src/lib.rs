//! What suites across crates share: synthetic models, random weights, and plans run beside the
//! reference.

#![allow(clippy::panic, reason = "what suites share fails a test by panicking")]

pub mod architectures;
pub mod differ;
pub mod facts;
pub mod feed;
pub mod folder;
pub mod little;
pub mod smollm2;
pub mod synthetic;
pub mod weights;
