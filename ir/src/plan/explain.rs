//! Why two values are in one kernel or in two.

use super::{Decision, MERGE, Phase, Placed, Plan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The answer to a question about two values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The one that comes first.
    pub a: Placed,
    /// The other.
    pub b: Placed,
    /// Dispatches that compute both; empty where none does.
    pub together: Vec<usize>,
    /// How the two hang together: through operands where one needs the other, through merged
    /// products where one kernel computes both; empty where they do not.
    pub steps: Vec<Step>,
    /// Where neither needs the other and no kernel computes both: the values that their kernels
    /// are built around, of each.
    pub anchors: [Vec<u32>; 2],
}

/// Two values next to each other on the way from one to the other, and what was decided of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The values.
    pub pair: [u32; 2],
    /// The decisions that bear on the answer.
    pub decisions: Vec<Decision>,
}

/// A name that stands for no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is called so.
    #[error("the program computes no value {name:?}; in layer {layer} it computes {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// A layer.
        layer: u32,
        /// The names in it.
        known: String,
    },
    /// Both names stand for one value.
    #[error("{a:?} and {b:?} are the same value: {label}")]
    Same {
        /// One name.
        a: String,
        /// The other.
        b: String,
        /// The value.
        label: String,
    },
}

impl Plan {
    /// The values that `name` can stand for in the program of `phase`: `%17`, an author's name or
    /// an op's such as `q`, or one in a certain layer, `q@3`. Without a layer it is the first in
    /// which there is one.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(&self, phase: Phase, name: &str) -> Result<Vec<u32>, NameError> {
        let values = self.values(phase);
        let number = name.strip_prefix('%').and_then(|digits| digits.parse::<u32>().ok());
        if let Some(number) = number.filter(|number| values.contains_key(number)) {
            return Ok(vec![number]);
        }
        let (word, layer) = match name.rsplit_once('@') {
            Some((word, layer)) => (word, layer.parse::<u32>().ok()),
            None => (name, None),
        };
        let own = |placed: &&Placed| placed.name.as_deref() == Some(word);
        let called: Vec<&Placed> = match values.values().any(|placed| own(&placed)) {
            true => values.values().filter(own).collect(),
            false => values.values().filter(|placed| placed.op == word).collect(),
        };
        let first = called.iter().filter_map(|placed| placed.layer).min();
        let layer = layer.or(first);
        let found: Vec<u32> =
            called.iter().filter(|placed| placed.layer == layer).map(|p| p.value).collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(self.unknown(&values, name, layer)),
        }
    }

    fn unknown(&self, values: &BTreeMap<u32, Placed>, name: &str, layer: Option<u32>) -> NameError {
        let layer = layer.unwrap_or(0).min(self.model.layers.saturating_sub(1));
        let of_layer = values.values().filter(|placed| placed.layer == Some(layer));
        let known: BTreeSet<&str> =
            of_layer.map(|placed| placed.name.as_ref().unwrap_or(&placed.op).as_str()).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        NameError::Unknown { name: name.into(), layer, known }
    }

    /// The two values that two names stand for. Where a name stands for several, they are taken
    /// that are next to each other, or else the last ones.
    ///
    /// # Errors
    /// If a name stands for none, or both for the same.
    pub fn pair(&self, phase: Phase, a: &str, b: &str) -> Result<[u32; 2], NameError> {
        let (of_a, of_b) = (self.named(phase, a)?, self.named(phase, b)?);
        let operands = self.operands(phase);
        let next = |x: u32, y: u32| operands.get(&y).is_some_and(|of| of.contains(&x));
        let pairs = of_a.iter().flat_map(|&x| of_b.iter().map(move |&y| (x, y)));
        let pairs: Vec<(u32, u32)> = pairs.filter(|(x, y)| x != y).collect();
        let neighbours = pairs.iter().find(|&&(x, y)| next(x, y) || next(y, x));
        match neighbours.or(pairs.last()) {
            Some(&(x, y)) => Ok([x.min(y), x.max(y)]),
            None => {
                let values = self.values(phase);
                let value = of_a.first().and_then(|value| values.get(value));
                let label = value.map(Placed::label).unwrap_or_default();
                Err(NameError::Same { a: a.into(), b: b.into(), label })
            }
        }
    }

    /// Why two values that the program of `phase` computes are in one kernel or not; `None` if it
    /// does not compute one of them.
    pub fn explain(&self, phase: Phase, [a, b]: [u32; 2]) -> Option<Explanation> {
        let values = self.values(phase);
        let (a, b) = (values.get(&a.min(b))?, values.get(&a.max(b))?);
        let of_b: BTreeSet<usize> = b.dispatches.iter().map(|(index, _)| *index).collect();
        let both = a.dispatches.iter().map(|(index, _)| *index);
        let together: Vec<usize> = both.filter(|index| of_b.contains(index)).collect();
        let relations = Relations::of(self, phase);
        let dispatches = self.program(phase).map_or(&[][..], |program| &program.dispatches);
        let path = match together.first().and_then(|index| dispatches.get(*index)) {
            // Inside the kernel, whichever way.
            Some(dispatch) => relations.path(a.value, b.value, Way::Any, &|v| dispatch.computes(v)),
            None => relations
                .path(b.value, a.value, Way::Up, &|_| true)
                .map(|path| path.into_iter().rev().collect()),
        };
        let path = path.unwrap_or_default();
        let pairs = path.windows(2).map(|pair| [pair[0].min(pair[1]), pair[0].max(pair[1])]);
        let steps = pairs.map(|pair| self.step(phase, pair, !together.is_empty()));
        let steps: Vec<Step> = steps.filter(|step| !step.decisions.is_empty()).collect();
        let anchors = |placed: &Placed| {
            let first = placed.dispatches.first().and_then(|(index, _)| dispatches.get(*index));
            let ops = first.map_or(&[][..], |dispatch| &dispatch.ops);
            let anchors = ops.iter().filter(|op| op.place == super::Place::Anchor);
            anchors.map(|op| op.value).collect()
        };
        let anchors = match steps.is_empty() && together.is_empty() {
            true => [anchors(a), anchors(b)],
            false => [vec![], vec![]],
        };
        Some(Explanation { a: a.clone(), b: b.clone(), together, steps, anchors })
    }

    /// What was decided of a pair, as far as it was `taken`.
    fn step(&self, phase: Phase, pair: [u32; 2], taken: bool) -> Step {
        let decisions = self.decisions_on(phase, pair).filter(|decision| decision.taken == taken);
        let alone = |decision: &Decision| Decision { pairs: vec![pair], ..decision.clone() };
        Step { pair, decisions: decisions.map(alone).collect() }
    }
}

/// Which relations a path may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From a value to its operands.
    Up,
    /// To operands, to users, and to products in the same kernel.
    Any,
}

/// How values hang together.
struct Relations {
    operands: BTreeMap<u32, BTreeSet<u32>>,
    around: BTreeMap<u32, BTreeSet<u32>>,
}

impl Relations {
    fn of(plan: &Plan, phase: Phase) -> Relations {
        let operands = plan.operands(phase);
        let mut around: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let merged = plan.decisions.iter().filter(|d| d.phase == phase && d.rule == MERGE);
        let merged = merged.flat_map(|decision| decision.pairs.iter().map(|[a, b]| (*a, *b)));
        let edges = operands.iter().flat_map(|(to, from)| from.iter().map(|from| (*from, *to)));
        for (a, b) in merged.chain(edges) {
            around.entry(a).or_default().insert(b);
            around.entry(b).or_default().insert(a);
        }
        Relations { operands, around }
    }

    /// The shortest way between two values over values that may be used.
    fn path(&self, from: u32, to: u32, way: Way, may: &dyn Fn(u32) -> bool) -> Option<Vec<u32>> {
        let next = if way == Way::Up { &self.operands } else { &self.around };
        let mut came: BTreeMap<u32, u32> = BTreeMap::from([(from, from)]);
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            if at == to {
                let mut path = vec![to];
                while let Some(&before) = path.last().and_then(|last| came.get(last)) {
                    if path.last() == Some(&before) {
                        break;
                    }
                    path.push(before);
                }
                path.reverse();
                return Some(path);
            }
            for &value in next.get(&at).into_iter().flatten() {
                if may(value) && !came.contains_key(&value) {
                    came.insert(value, at);
                    queue.push_back(value);
                }
            }
        }
        None
    }
}
