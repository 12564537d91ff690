//! The order of regions: each after the regions that yield what it reads.

use crate::region::{Region, storage};
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use quarrel_ir::graph::{Graph, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Sorts `regions`; among those that could run, the one whose results come first in the graph.
///
/// # Panics
/// If regions wait for each other: fusion admits no member that would make them.
pub fn schedule(graph: &Graph, regions: Vec<Region>) -> Vec<Region> {
    let mut home: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (index, region) in regions.iter().enumerate() {
        home.extend(region.outputs.iter().map(|output| (*output, index)));
    }
    let mut order: DiGraph<usize, ()> = DiGraph::new();
    let nodes: Vec<NodeIndex> = (0..regions.len()).map(|i| order.add_node(i)).collect();
    for (index, region) in regions.iter().enumerate() {
        let reads = region.members.keys().flat_map(|m| graph.operands(*m));
        let from: BTreeSet<usize> = reads
            .filter_map(|value| home.get(&storage(graph, value)).copied())
            .filter(|from| *from != index)
            .collect();
        for from in from {
            order.add_edge(nodes[from], nodes[index], ());
        }
    }
    assert!(toposort(&order, None).is_ok(), "fusion made regions that wait for each other");
    let mut waiting: Vec<usize> =
        nodes.iter().map(|n| order.neighbors_directed(*n, petgraph::Incoming).count()).collect();
    let key = |index: usize| (regions[index].outputs.iter().min().copied(), index);
    let mut ready: BTreeSet<(Option<ValueId>, usize)> =
        (0..regions.len()).filter(|i| waiting[*i] == 0).map(key).collect();
    let mut sorted = Vec::new();
    while let Some((_, index)) = ready.pop_first() {
        sorted.push(index);
        for next in order.neighbors(nodes[index]).map(|n| order[n]) {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.insert(key(next));
            }
        }
    }
    let mut regions: Vec<Option<Region>> = regions.into_iter().map(Some).collect();
    sorted.into_iter().filter_map(|index| regions[index].take()).collect()
}
