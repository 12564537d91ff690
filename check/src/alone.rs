//! Each dispatch alone, on the reference's values.

use crate::CheckError;
use crate::bound::{Bound, bindings, compared, known, partials};
use crate::device::{Device, Written};
use crate::oracle::{Done, Steps};
use crate::report::{Compared, Difference, Table};
use crate::script::Layers;
use crate::tolerance;
use crate::words::{self, POISON};
use quarrel_ir::graph::{Graph, Op, StateId, ValueId};
use quarrel_ir::plan::{Access, Content, Dispatch};
use quarrel_reference::Elements;

/// Two scores this close to each other, relative to the largest of their row, may change places.
const SCORES_WITHIN: f64 = 1e-5;

/// Runs and compares the dispatches of one step.
pub(crate) fn run(
    device: &Device<'_>,
    steps: &Steps,
    (at, done): (usize, &Done),
    layers: &Layers,
    table: &mut Table<'_>,
) -> Result<(), CheckError> {
    device.write_inputs(&done.step);
    for (index, dispatch) in compared(device.plan(), &done.step, layers)? {
        for bound in bindings(device.plan(), dispatch) {
            prepare(device, steps, done, &bound)?;
        }
        device.run(&done.step, index)?;
        for written in device.written(&done.step, dispatch)? {
            table.alone(compare(device, steps, (at, done), (index, dispatch), &written)?);
        }
    }
    Ok(())
}

/// Sets what a dispatch reads, and poisons what it writes.
fn prepare(
    device: &Device<'_>,
    steps: &Steps,
    done: &Done,
    bound: &Bound,
) -> Result<(), CheckError> {
    let count = device.words(&done.step, bound.content)?;
    let words = match (bound.content, bound.access) {
        _ if count == 0 => return Ok(()),
        (
            Content::Value(_)
            | Content::Halves(_)
            | Content::Partials { .. }
            | Content::Shares { .. }
            | Content::Groups { .. },
            Access::Write,
        ) => vec![POISON; count],
        (Content::Value(value), Access::Read) => {
            words::of_elements(wanted(&device.graph, done, value)?)
        }
        (Content::Halves(value), Access::Read) => words::of_halves(floats(device, done, value)?),
        (Content::Partials { value, splits }, Access::Read) => {
            let (partials, _) = partials(&device.graph, value, splits)?;
            partials.of(floats(device, done, value)?)
        }
        (Content::Shares { value, shares }, Access::Read) => {
            let share = device.share_words(value)?;
            words::of_shares(floats(device, done, value)?, shares as usize, share)
        }
        (Content::Groups { value, groups }, Access::Read) => {
            match wanted(&device.graph, done, value)? {
                Elements::Ids(ids) => groups.of(ids),
                Elements::Floats(_) => {
                    return Err(CheckError::Plan("rows are listed by what is no id".into()));
                }
            }
        }
        (Content::State(state), access) => image(device, steps, done, state, access)?,
        (Content::Weights | Content::Io, _) => return Ok(()),
    };
    device.put(bound, &words)
}

/// The rows of a state before a dispatch that changes it, or after all that do.
fn image(
    device: &Device<'_>,
    steps: &Steps,
    done: &Done,
    state: u32,
    access: Access,
) -> Result<Vec<u32>, CheckError> {
    let rows = device.state(state)?;
    let (first, end) = (done.step.first(), done.step.end());
    if rows.replaced() {
        let [before, after] = done.replaced.get(&StateId(state)).ok_or_else(|| {
            CheckError::Plan(format!("the reference has no state {state} of one row"))
        })?;
        return Ok(rows.encode(if access == Access::Write { before } else { after }));
    }
    let new = if access == Access::Write { first } else { end };
    Ok(rows.image(steps.rows(StateId(state)), new, end))
}

/// The same of a value that is in memory otherwise than as it is.
fn floats<'d>(device: &Device<'_>, done: &'d Done, value: u32) -> Result<&'d [f32], CheckError> {
    match wanted(&device.graph, done, value)? {
        Elements::Floats(floats) => Ok(floats),
        Elements::Ids(_) => Err(CheckError::Plan(format!("%{value} is ids and in parts"))),
    }
}

/// The reference's elements of a value.
fn wanted<'d>(graph: &Graph, done: &'d Done, value: u32) -> Result<&'d Elements, CheckError> {
    let id = known(graph, value)?;
    let missing = || CheckError::Plan(format!("%{value} is read but nothing yields it"));
    done.values.get(&id).ok_or_else(missing)
}

/// Compares something that a dispatch wrote.
fn compare<'d>(
    device: &Device<'_>,
    steps: &Steps,
    (at, done): (usize, &Done),
    (index, dispatch): (usize, &'d Dispatch),
    written: &Written,
) -> Result<Compared<'d>, CheckError> {
    let last = done.step.end().saturating_sub(1);
    let (value, difference, tolerance) = match written {
        Written::Value(value, found) => {
            let wanted = wanted(&device.graph, done, value.0)?;
            let tolerance = match found {
                Elements::Floats(_) => tolerance::of(device.plan(), dispatch, None, last),
                Elements::Ids(_) => tolerance::of_ids(),
            };
            let difference = of_value(&device.graph, done, *value, found, wanted);
            (crate::bound::label(&device.graph, *value), difference, tolerance)
        }
        Written::State(state, found) => {
            let rows = device.state(state.0)?;
            let tolerance = tolerance::of(device.plan(), dispatch, Some(rows), last);
            // The device's state was looked up in the graph.
            let name = device.graph.states[state.0 as usize].name.clone();
            (name, of_state(device, steps, done, *state, found)?, tolerance)
        }
    };
    let phase = done.step.phase;
    Ok(Compared { phase, step: at, index, dispatch, value, difference, tolerance })
}

/// How far a value is off. Ids may differ where the scores that they are chosen by are as good as
/// equal.
pub(crate) fn of_value(
    graph: &Graph,
    done: &Done,
    value: ValueId,
    found: &Elements,
    wanted: &Elements,
) -> Difference {
    let chosen = match (graph.op(value), found, wanted) {
        (Op::TopK(k), Elements::Ids(found), Elements::Ids(wanted)) => Some((*k, found, wanted)),
        _ => None,
    };
    let scores = graph.operands(value).first().and_then(|scores| done.values.get(scores));
    match (chosen, scores) {
        (Some((k, found, wanted)), Some(Elements::Floats(scores))) if !wanted.is_empty() => {
            let (k, width) = (k as usize, scores.len() / (wanted.len() / k as usize));
            let rows = found.chunks(k).zip(wanted.chunks(k)).zip(scores.chunks(width));
            let each = rows.map(|((found, wanted), scores)| of_choice(found, wanted, scores));
            each.fold(Difference::default(), Difference::max)
        }
        _ => Difference::of(found, wanted),
    }
}

/// How far a choice of the largest scores is off.
fn of_choice(found: &[u32], wanted: &[u32], scores: &[f32]) -> Difference {
    let repeated = (1..found.len()).any(|i| found[..i].contains(&found[i]));
    let most = scores.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let mut worst = Difference::default();
    for (found, wanted) in found.iter().zip(wanted) {
        let score = |id: &u32| scores.get(*id as usize).copied().map(f64::from);
        let Some((a, b)) = score(found).zip(score(wanted)) else { return Difference::WRONG };
        let gap = (a - b).abs();
        if repeated || gap > SCORES_WITHIN * f64::from(most) {
            worst = worst.max(Difference { relative: f64::INFINITY, largest: gap });
        }
    }
    worst
}

/// How far a state is off: the rows of the step's positions, and whether any other was touched.
fn of_state(
    device: &Device<'_>,
    steps: &Steps,
    done: &Done,
    state: StateId,
    found: &[u32],
) -> Result<Difference, CheckError> {
    let rows = device.state(state.0)?;
    let wanted = image(device, steps, done, state.0, Access::Read)?;
    let new: Vec<u32> = match rows.replaced() {
        true => vec![0],
        false => (done.step.first()..done.step.end()).map(|at| rows.row(at)).collect(),
    };
    let words = rows.row_words();
    let all = found.chunks(words).zip(wanted.chunks(words));
    let (mut own, mut own_wanted) = (Vec::new(), Vec::new());
    for (row, (found, wanted)) in (0u32..).zip(all) {
        if new.contains(&row) {
            own.extend(rows.decode(found));
            own_wanted.extend(rows.decode(wanted));
        } else if found != wanted {
            return Ok(Difference::WRONG);
        }
    }
    Ok(Difference::of_floats(&own, &own_wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_may_differ_where_scores_are_equal() {
        let scores = [1.0, 5.0, 5.0 + 1e-5, 2.0];
        assert_eq!(of_choice(&[1, 2], &[2, 1], &scores), Difference::default());
        assert_eq!(of_choice(&[2, 2], &[2, 1], &scores).relative, f64::INFINITY);
        let wrong = of_choice(&[2, 3], &[2, 1], &scores);
        assert_eq!((wrong.relative, wrong.largest), (f64::INFINITY, 3.0));
        assert_eq!(of_choice(&[9], &[2], &scores), Difference::WRONG);
    }
}
