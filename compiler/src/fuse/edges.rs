//! The decision on each pair of neighbours: an op and its operand, in one kernel or in two.

use super::{EPILOGUE, Fusion, PROLOGUE};
use crate::decisions::Refusal;
use crate::region::{Anchor, Region, is_leaf, storage};
use quarrel_ir::graph::{Op, ValueId};
use quarrel_ir::plan::Place;
use std::collections::BTreeSet;

impl Fusion<'_> {
    /// Decides on every pair of neighbours, now that all regions are known.
    pub(super) fn settle(&mut self, fuse: bool) {
        let regions = std::mem::take(&mut self.regions);
        for region in &regions {
            for (operand, value) in self.neighbours(region) {
                let pair = (operand, value);
                if region.members.contains_key(&operand) {
                    let (rule, reason) = self.together(region, pair);
                    self.decisions.take(rule, pair, &reason);
                } else if fuse {
                    self.decisions.settle(pair);
                } else {
                    let refusal = Refusal::new(
                        "every op was to be a kernel of its own",
                        "leave --no-fuse out",
                    );
                    self.decisions.decline("no-fuse", pair, refusal);
                }
            }
        }
        self.regions = regions;
    }

    /// Members of a region that are no reshapes, each with each operand that the step computes.
    fn neighbours(&self, region: &Region) -> BTreeSet<(ValueId, ValueId)> {
        let graph = self.graph;
        let computing = |v: &&ValueId| !matches!(graph.op(**v), Op::Reshape(_));
        let pairs = region.members.keys().filter(computing).flat_map(|&value| {
            let operands = graph.operands(value).into_iter().map(|v| storage(graph, v));
            operands.filter(|v| !is_leaf(graph, *v)).map(move |operand| (operand, value))
        });
        pairs.collect()
    }

    /// The rule that put a value and its operand into one kernel, and its reason.
    fn together(&self, region: &Region, (_, value): (ValueId, ValueId)) -> (&'static str, String) {
        let epilogue = region.members.get(&value) == Some(&Place::Epilogue);
        match (self.joined.get(&value).filter(|_| epilogue), &region.anchor) {
            (Some(reason), _) => (EPILOGUE, format!("it {reason}")),
            (None, Anchor::Product(_)) => (
                PROLOGUE,
                "computed on the fly from rows that the product reads anyway: cheaper than a \
                 dispatch"
                    .into(),
            ),
            (None, _) => (
                PROLOGUE,
                "computed where it is read, by the thread that reads it: no memory, no dispatch"
                    .into(),
            ),
        }
    }
}
