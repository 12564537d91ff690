//! Fusion: which values are computed by the same kernel.
//!
//! Before: a verified graph. After: regions, each a kernel to be; every value that anything needs
//! is computed by a region, and the regions' dependencies are acyclic.
//!
//! Regions grow around anchors by legality and cost, never by a model's shape or names:
//! 1. products of the same value are merged;
//! 2. an op joins the epilogue of the product that yields its operand when each of its elements
//!    needs only sums of the same unit, and its other operands do not wait for that product;
//! 3. what computes a product's operand row by row joins its prologue, and is computed again by
//!    every workgroup, unless somebody else needs it in memory, or the step is a prompt and it takes
//!    statistics: there the many workgroups of each row would do more than one dispatch costs;
//! 4. a value that several kernels would compute again and again, such as a residual stream after a
//!    norm, is stored by the first product that computes it anyway, or by a row kernel;
//! 5. what is left is computed by row kernels, as much in each as reads the same rows; row kernels
//!    that wait for the same kernels are one.

mod anchors;
mod edges;
mod epilogue;
mod prologue;
mod rows;

use crate::decisions::Decisions;
use crate::region::{Anchor, Region, is_leaf, storage};
use quarrel_ir::graph::{Graph, Op, RunDim, ValueId};
use quarrel_ir::plan::{Phase, Place, PlanOptions};
use std::collections::{BTreeMap, BTreeSet};

/// The rules, as decisions name them.
const EPILOGUE: &str = "fuse-epilogue";
const PROLOGUE: &str = "fuse-prologue";
const OPERANDS: &str = "anchor-operands";
const STATE: &str = "state-order";

/// Regions in no particular order, and what was decided.
#[derive(Clone, Debug)]
pub struct Fused {
    /// The regions.
    pub regions: Vec<Region>,
    /// Decisions, taken and declined.
    pub decisions: Decisions,
}

/// State of fusion over one graph.
struct Fusion<'g> {
    graph: &'g Graph,
    phase: Phase,
    /// Pairs that are to be together whatever it costs.
    wanted: &'g [[u32; 2]],
    /// Whether a prompt step yields one row of logits at most.
    one_out_row: bool,
    /// Sequences of a decode step.
    slots: u32,
    regions: Vec<Region>,
    /// The anchored region that computes each value.
    home: BTreeMap<ValueId, usize>,
    /// Values that must be in memory, and why.
    needed: BTreeMap<ValueId, &'static str>,
    /// Why epilogues took the values they have.
    joined: BTreeMap<ValueId, String>,
    /// Those of them that several kernels would otherwise compute again and again.
    shared: BTreeSet<ValueId>,
    decisions: Decisions,
}

/// Fuses `graph` for steps of `phase`; with fusion off, every op is its own region.
pub fn fuse(graph: &Graph, phase: Phase, options: &PlanOptions) -> Fused {
    let fuse = options.fuse;
    let mut fusion = Fusion {
        graph,
        phase,
        wanted: &options.together,
        one_out_row: options.out_rows == 1,
        slots: options.slots,
        regions: Vec::new(),
        home: BTreeMap::new(),
        needed: BTreeMap::new(),
        joined: BTreeMap::new(),
        shared: BTreeSet::new(),
        decisions: Decisions::new(phase),
    };
    fusion.make_anchors(fuse);
    if fuse {
        fusion.grow_epilogues();
    }
    fusion.find_needed(fuse);
    if fuse {
        fusion.keep_shared();
        fusion.grow_prologues();
    }
    fusion.make_rows(fuse);
    fusion.set_outputs();
    if fuse {
        fusion.merge_rows();
    }
    fusion.settle(fuse);
    Fused { regions: fusion.regions, decisions: fusion.decisions }
}

impl Fusion<'_> {
    /// Whether `value` is to be computed with its operand, whatever it costs.
    fn wants(&self, operand: ValueId, value: ValueId) -> bool {
        self.wanted.contains(&[storage(self.graph, operand).0, value.0])
    }

    /// Whether a step of this phase has many rows of `value`, all of one sequence.
    fn many_rows(&self, value: ValueId) -> bool {
        let out_row = self.graph.tensor(value).is_some_and(|t| t.rows == Some(RunDim::OutRows));
        self.phase == Phase::Prefill && !(out_row && self.one_out_row)
    }

    /// Notes that `value` must be in memory.
    fn need(&mut self, value: ValueId, why: &'static str) {
        self.needed.entry(value).or_insert(why);
    }

    /// What anchored regions and the graph's output need in memory.
    fn find_needed(&mut self, fuse: bool) {
        let graph = self.graph;
        if let Some(output) = graph.output() {
            self.need(storage(graph, output), "it is the result of the step");
        }
        for region in &self.regions {
            for (&member, &place) in &region.members {
                let operands = graph.operands(member);
                // What a prologue may compute.
                let skip_x = fuse
                    && match graph.op(member) {
                        Op::Linear | Op::ExpertLinear | Op::TopK(_) => place == Place::Anchor,
                        Op::Take => matches!(region.anchor, Anchor::TopK(_)),
                        _ => false,
                    };
                for operand in operands.into_iter().skip(usize::from(skip_x)) {
                    if !region.members.contains_key(&operand) && !is_leaf(graph, operand) {
                        self.needed
                            .entry(storage(graph, operand))
                            .or_insert("a kernel reads it from memory");
                    }
                }
            }
        }
        if !fuse {
            for value in graph.values().filter(|&v| !is_leaf(graph, v)) {
                self.need(storage(graph, value), "every op is a kernel of its own");
            }
        }
    }

    /// Stored members of each anchored region; regions that nothing needs are dropped.
    fn set_outputs(&mut self) {
        let (graph, needed) = (self.graph, &self.needed);
        for region in &mut self.regions {
            if matches!(region.anchor, Anchor::Rows(_)) {
                continue;
            }
            let stored = |value: &ValueId| {
                matches!(graph.op(*value), Op::Append) || needed.contains_key(value)
            };
            let computed = region.members.iter().filter(|(_, place)| **place != Place::Prologue);
            region.outputs = computed.map(|(&value, _)| value).filter(stored).collect();
            region.outputs.extend(&region.aside);
        }
        self.regions.retain(|region| !region.outputs.is_empty());
    }
}
