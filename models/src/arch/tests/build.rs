//! Files that build, and the graphs that they give.

use crate::arch::*;
use quarrel_ir::graph::{Op, RunDim, TensorType};

#[test]
fn every_builtin_parses_and_checks() {
    assert_eq!(builtin().len(), 31);
    for file in builtin() {
        let report = file.check(None);
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
}

#[test]
fn llama_builds_smollm2() {
    let facts = FactsTable::smollm2_135m();
    let file = select(&facts, &[]).unwrap();
    let graph = file.build(&facts).unwrap();
    let logits = graph.output().unwrap();
    assert_eq!(*graph.tensor(logits).unwrap(), TensorType::f32(Some(RunDim::OutRows), [49152]));
    assert_eq!(graph.states.len(), 60);
    assert_eq!(graph.weights.len(), 2 + 30 * 9);
    let summary = summary(&graph, &facts);
    assert_eq!(summary, Summary { vocabulary: 49152, context_length: Some(8192), layers: 30 });
    let gathers = graph.values().filter(|&v| matches!(graph.op(v), Op::GatherRows)).count();
    assert_eq!(gathers, 1);
    assert!(file.check(Some(&facts)).findings.is_empty());
}
