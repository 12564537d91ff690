//! What differs between two plans, and what caused it.

use super::{Decision, Dispatch, MERGE, Phase, Plan, Program};
use crate::facts::{DeviceFacts, Speeds};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What differs between two plans.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Device facts, options and facts of the model that differ: with both values.
    pub inputs: Vec<Input>,
    /// Figures that differ.
    pub figures: Vec<Figure>,
    /// Kernels that differ.
    pub changes: Vec<Change>,
    /// Pairs of values that one plan computes together and the other apart.
    pub fusions: Vec<FusionChange>,
}

/// Something that plans are compiled from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Input {
    /// `device.subgroup_size`, `options.context`, ….
    pub name: String,
    /// Its value on each side.
    pub values: [serde_json::Value; 2],
}

/// A figure of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it counts, such as `decode dispatches`.
    pub name: String,
    /// Its value on each side.
    pub values: [u64; 2],
}

/// A kernel that is not the same on both sides, in some layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The phase of the program.
    pub phase: Phase,
    /// The layers, or none outside them.
    pub layers: Vec<u32>,
    /// The ops that the kernel computes, on the side that has it.
    pub ops: String,
    /// How it computes them on each side: variant and grid. `None` where a side has no kernel of
    /// just these ops.
    pub how: [Option<String>; 2],
    /// The inputs that alone bring it about: as far as that was tried.
    pub causes: Vec<String>,
}

/// Two values that are neighbours, together on one side alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FusionChange {
    /// The phase of the program.
    pub phase: Phase,
    /// The values, as both sides name them.
    pub pair: [String; 2],
    /// How many pairs of that kind there are.
    pub pairs: usize,
    /// The side that computes them together: 0 or 1.
    pub together: usize,
    /// The rule by which the other side declined, and why.
    pub declined: Option<Decision>,
    /// The inputs that alone bring it about: as far as that was tried.
    pub causes: Vec<String>,
}

const PHASES: [Phase; 2] = [Phase::Decode, Phase::Prefill];

impl Diff {
    /// What differs between `a` and `b`.
    pub fn between(a: &Plan, b: &Plan) -> Diff {
        let mut diff = Diff { inputs: inputs(a, b), figures: figures(a, b), ..Diff::default() };
        for phase in PHASES {
            diff.changes.extend(kernels(a, b, phase));
            diff.fusions.extend(fusions(a, b, phase));
        }
        diff
    }

    /// Names an input as a cause of what it brings about `alone`: the difference that it makes with
    /// all else as on the first side.
    pub fn blame(&mut self, input: &str, alone: &Diff) {
        for change in &mut self.changes {
            let same =
                |c: &Change| c.phase == change.phase && c.ops == change.ops && c.how == change.how;
            if alone.changes.iter().any(same) {
                change.causes.push(input.into());
            }
        }
        for change in &mut self.fusions {
            let same = |c: &FusionChange| {
                (c.phase, &c.pair, c.together) == (change.phase, &change.pair, change.together)
            };
            if alone.fusions.iter().any(same) {
                change.causes.push(input.into());
            }
        }
    }

    /// Whether the plans are alike in all that is compared.
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }
}

/// Device facts, options and extents of the model.
fn inputs(a: &Plan, b: &Plan) -> Vec<Input> {
    let all = |plan: &Plan| -> BTreeMap<String, serde_json::Value> {
        // Plain data always serialises.
        // Measured speeds differ from one measurement to the next, and decide nothing by themselves.
        let device = DeviceFacts { speeds: Speeds::default(), ..plan.device.clone() };
        let device = serde_json::to_value(device).unwrap_or_default();
        let options = serde_json::to_value(&plan.options).unwrap_or_default();
        let model = serde_json::json!({
            "architecture": plan.model.architecture,
            "vocabulary": plan.model.vocabulary,
            "layers": plan.model.layers,
            "formats": formats(plan),
        });
        let parts = [("device", device), ("options", options), ("model", model)];
        let each = parts.into_iter().flat_map(|(part, value)| match value {
            serde_json::Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (format!("{part}.{name}"), value))
                .collect::<Vec<_>>(),
            other => vec![(part.into(), other)],
        });
        each.collect()
    };
    let (a, b) = (all(a), all(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value = |of: &BTreeMap<String, serde_json::Value>, name: &String| {
        of.get(name).cloned().unwrap_or_default()
    };
    let both = names
        .into_iter()
        .map(|name| Input { name: name.clone(), values: [value(&a, name), value(&b, name)] });
    both.filter(|input| input.values[0] != input.values[1]).collect()
}

/// The formats of the model's tensors, with how many there are of each.
fn formats(plan: &Plan) -> BTreeMap<String, usize> {
    let mut formats = BTreeMap::new();
    for tensor in &plan.model.tensors {
        *formats.entry(tensor.format.to_string()).or_default() += 1;
    }
    formats
}

fn figures(a: &Plan, b: &Plan) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut figure = |name: String, values: [u64; 2]| {
        if values[0] != values[1] {
            figures.push(Figure { name, values });
        }
    };
    for phase in PHASES {
        let of =
            |plan: &Plan, f: &dyn Fn(&Program) -> usize| plan.program(phase).map_or(0, f) as u64;
        let name = match phase {
            Phase::Decode => "decode",
            _ => "prefill",
        };
        let dispatches = |program: &Program| program.dispatches.len();
        let kernels = |program: &Program| {
            program.dispatches.iter().map(|d| d.kernel).collect::<BTreeSet<_>>().len()
        };
        figure(format!("{name} dispatches"), [of(a, &dispatches), of(b, &dispatches)]);
        figure(format!("{name} kernels"), [of(a, &kernels), of(b, &kernels)]);
        let barriers = |plan: &Plan| plan.barriers(phase).map_or(0, |b| b.barriers.len() as u64);
        figure(format!("{name} barriers"), [barriers(a), barriers(b)]);
        let us = |plan: &Plan| plan.predicted_us(phase).unwrap_or(0.0).round() as u64;
        figure(format!("{name} predicted µs"), [us(a), us(b)]);
    }
    let roles = [
        ("weights", super::BufferRole::Weights),
        ("states", super::BufferRole::State),
        ("activations", super::BufferRole::Activation),
        ("inputs and results", super::BufferRole::Io),
    ];
    for (name, role) in roles {
        figure(format!("bytes of {name}"), [a.bytes_of(role), b.bytes_of(role)]);
    }
    figures
}

/// How a dispatch computes it.
fn how(plan: &Plan, dispatch: &Dispatch) -> String {
    let kernel = plan.kernel(dispatch.kernel);
    let grid = dispatch.grid.map(|extent| extent.to_string()).join(" × ");
    format!("{}, {} threads, grid {grid}", kernel.variant, kernel.workgroup)
}

/// Kernels by what they compute, compared layer by layer; alike layers are one change.
fn kernels(a: &Plan, b: &Plan, phase: Phase) -> Vec<Change> {
    type Key = (Option<u32>, String);
    let of = |plan: &Plan| -> Vec<(Key, String)> {
        let dispatches = plan.program(phase).map_or(&[][..], |program| &program.dispatches);
        dispatches.iter().map(|d| ((d.layer, d.ops_in_words()), how(plan, d))).collect()
    };
    let (of_a, of_b) = (of(a), of(b));
    let lookup = |of: &[(Key, String)]| of.iter().cloned().collect::<BTreeMap<Key, String>>();
    let (by_a, by_b) = (lookup(&of_a), lookup(&of_b));
    let mut changes: Vec<Change> = Vec::new();
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    for (key, _) in of_a.into_iter().chain(of_b) {
        let how = [by_a.get(&key).cloned(), by_b.get(&key).cloned()];
        if how[0] == how[1] || !seen.insert(key.clone()) {
            continue;
        }
        let (layer, ops) = key;
        match changes.iter_mut().find(|change| change.ops == ops && change.how == how) {
            Some(known) => known.layers.extend(layer),
            None => changes.push(Change {
                phase,
                layers: layer.into_iter().collect(),
                ops,
                how,
                causes: vec![],
            }),
        }
    }
    changes
}

/// Pairs of neighbours that are together on one side alone, by their names.
fn fusions(a: &Plan, b: &Plan, phase: Phase) -> Vec<FusionChange> {
    let (of_a, of_b) = (together(a, phase), together(b, phase));
    let mut changes: Vec<FusionChange> = Vec::new();
    for (key, (both, _)) in &of_a {
        let Some((other, _)) = of_b.get(key) else { continue };
        if both == other {
            continue;
        }
        let side = usize::from(*other);
        let declined = if side == 0 { &of_b } else { &of_a };
        let declined = declined.get(key).and_then(|(_, decision)| decision.clone());
        let pair = [key.1.clone(), key.2.clone()];
        match changes.iter_mut().find(|c| c.pair == pair && c.together == side) {
            Some(known) => known.pairs += 1,
            None => changes.push(FusionChange {
                phase,
                pair,
                pairs: 1,
                together: side,
                declined,
                causes: vec![],
            }),
        }
    }
    changes
}

/// Where a pair of neighbours is: its layer, both names, and how many of that kind came before.
type PairKey = (Option<u32>, String, String, usize);

/// Whether each pair of neighbours is computed together, and else why not.
fn together(plan: &Plan, phase: Phase) -> BTreeMap<PairKey, (bool, Option<Decision>)> {
    let values = plan.values(phase);
    let mut pairs: BTreeMap<[u32; 2], (bool, Option<Decision>)> = BTreeMap::new();
    for decision in plan.decisions.iter().filter(|d| d.phase == phase && d.rule != MERGE) {
        for pair in &decision.pairs {
            let known = pairs.entry(*pair).or_insert((true, None));
            if !decision.taken {
                let alone = Decision { pairs: vec![*pair], ..decision.clone() };
                *known = (false, known.1.take().or(Some(alone)));
            }
        }
    }
    let mut counts: BTreeMap<(Option<u32>, String, String), usize> = BTreeMap::new();
    let mut result = BTreeMap::new();
    for (pair, found) in pairs {
        let name = |value: u32| {
            values.get(&value).map_or_else(String::new, |p| match &p.name {
                Some(name) => format!("{} {name}", p.op),
                None => p.op.clone(),
            })
        };
        let layer = values.get(&pair[1]).and_then(|placed| placed.layer);
        let key = (layer, name(pair[0]), name(pair[1]));
        let count = counts.entry(key.clone()).or_default();
        result.insert((key.0, key.1, key.2, *count), found);
        *count += 1;
    }
    result
}
