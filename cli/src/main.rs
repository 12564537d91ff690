//! The binary `quarrel`.
fn main() {}
