//! What suites across crates share: synthetic models, random weights, and plans run beside the
//! reference.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what suites share fails a test by panicking"
)]

pub mod architectures;
pub mod differ;
pub mod facts;
pub mod feed;
pub mod folder;
pub mod golden;
pub mod little;
pub mod small;
pub mod smollm2;
pub mod synthetic;
pub mod tiny;
pub mod weights;
