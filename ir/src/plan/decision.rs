//! What the compiler decided, and which values are where: what questions about a plan are answered
//! from.

use super::{Dispatch, Phase, Place, Plan};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The rule under which values that do not need each other share a kernel.
pub const MERGE: &str = "merge";

/// Something the compiler decided about pairs of values.
///
/// But for [`MERGE`], a pair is an operand and the op that needs it, both computed by the step, with
/// the reshapes between them left out. Where a kernel computes the op but not the operand, there is
/// a decision that was not taken and says why; where it computes both, one that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The phase of the program in which the pairs are.
    pub phase: Phase,
    /// Which rule decided, such as `fuse-epilogue`.
    pub rule: String,
    /// Whether one kernel computes both.
    pub taken: bool,
    /// Why, in words that are true of each pair.
    pub reason: String,
    /// What would make it otherwise; empty where it was taken.
    pub would_change: String,
    /// The numbers of the values, in order; one value twice where the decision is about it alone.
    pub pairs: Vec<[u32; 2]>,
}

/// A value that a program computes, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The value's number.
    pub value: u32,
    /// The op that yields it.
    pub op: String,
    /// The author's name, where there is one.
    pub name: Option<String>,
    /// The layer it belongs to.
    pub layer: Option<u32>,
    /// The dispatches that compute it, by index, and where in the kernel.
    pub dispatches: Vec<(usize, Place)>,
}

impl Placed {
    /// `%17 q`: how plans name a value.
    pub fn label(&self) -> String {
        format!("%{} {}", self.value, self.name.as_ref().unwrap_or(&self.op))
    }
}

impl Plan {
    /// All values that the program of `phase` computes, by number.
    pub fn values(&self, phase: Phase) -> BTreeMap<u32, Placed> {
        let mut values: BTreeMap<u32, Placed> = BTreeMap::new();
        let dispatches = self.program(phase).map_or(&[][..], |program| &program.dispatches);
        for (index, dispatch) in dispatches.iter().enumerate() {
            for op in &dispatch.ops {
                let placed = values.entry(op.value).or_insert_with(|| Placed {
                    value: op.value,
                    op: op.op.clone(),
                    name: op.name.clone(),
                    layer: op.layer,
                    dispatches: Vec::new(),
                });
                placed.dispatches.push((index, op.place));
            }
        }
        values
    }

    /// What was decided about a pair of values.
    pub fn decisions_on(&self, phase: Phase, pair: [u32; 2]) -> impl Iterator<Item = &Decision> {
        let of_phase = self.decisions.iter().filter(move |decision| decision.phase == phase);
        of_phase.filter(move |decision| decision.pairs.contains(&pair))
    }

    /// The operands of each value that `phase` computes, as far as it computes them too.
    pub fn operands(&self, phase: Phase) -> BTreeMap<u32, BTreeSet<u32>> {
        let mut operands: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let edges = self.decisions.iter().filter(|d| d.phase == phase && d.rule != MERGE);
        for [from, to] in edges.flat_map(|decision| &decision.pairs) {
            operands.entry(*to).or_default().insert(*from);
        }
        operands
    }
}

impl Dispatch {
    /// Whether it computes `value`.
    pub fn computes(&self, value: u32) -> bool {
        self.ops.iter().any(|op| op.value == value)
    }
}
