//! The two languages between Quarrel's layers: the graph IR and the plan.
pub mod format;
pub mod graph;
pub mod weight;
