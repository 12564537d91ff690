//! What makes a dispatch wait: the barriers of a program, what causes each, and which could go.
//!
//! The rule is wgpu's. It follows the use of each buffer as a whole, whatever part of it is bound.
//! Before a dispatch it places one barrier if any buffer that the dispatch binds was written by the
//! use before, or is written now; that barrier holds back all earlier work, whatever it was for.

use super::{Access, BufferId, BufferRange, BufferRole, Phase, Plan, Program};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The barriers of one step of a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Barriers {
    /// The program.
    pub program: String,
    /// Its dispatches.
    pub dispatches: usize,
    /// The barriers, in order.
    pub barriers: Vec<Barrier>,
    /// How many are needed if no two values share memory.
    pub without_reuse: usize,
    /// How many are needed if, besides, a barrier is placed only where the dispatch needs something
    /// that was written since the last one.
    pub where_needed: usize,
    /// How many are needed in the best order of dispatches: the longest chain of needs.
    pub longest_chain: usize,
    /// Measured microseconds of a dispatch that waits for the one before and does almost nothing,
    /// where they are known.
    pub dispatch_us: Option<f64>,
}

/// A barrier before a dispatch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Barrier {
    /// Index of the dispatch.
    pub before: usize,
    /// Its kernel.
    pub kernel: String,
    /// What causes it; one would do.
    pub hazards: Vec<Hazard>,
    /// What would remove it; `None` where the dispatch needs what was written since the last one.
    pub removed_by: Option<Change>,
}

/// A buffer that is used in a way that must wait for the use before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hazard {
    /// The buffer.
    pub buffer: String,
    /// How it is used.
    pub kind: HazardKind,
    /// The last dispatch that used it otherwise.
    pub after: usize,
    /// The value that lies in it now, or the buffer's name where it holds one thing.
    pub value: String,
    /// The value that lay in it, where it is another.
    pub instead_of: Option<String>,
    /// Why there is a hazard.
    pub cause: Cause,
}

/// Two uses of a buffer, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HazardKind {
    /// It was written, and is read.
    ReadAfterWrite,
    /// It was read, and is written.
    WriteAfterRead,
    /// It was written, and is written.
    WriteAfterWrite,
}

/// Why two uses of a buffer are in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The later use needs what the earlier one wrote.
    Value,
    /// Another value takes the memory of one that nobody needs any more.
    Reuse,
    /// The uses are of different parts of the buffer.
    Parts,
    /// The later use needs what the earlier one wrote, but a barrier between them has waited for it.
    Waited,
}

/// What would remove a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A buffer of its own for each value.
    OwnBuffers,
    /// Barriers placed by need, not by use.
    ByNeed,
}

/// The last use of a buffer.
struct Use {
    at: usize,
    access: Access,
    ranges: Vec<BufferRange>,
}

impl Plan {
    /// The barriers of one step of the program of `phase`; `None` if the plan has none.
    pub fn barriers(&self, phase: Phase) -> Option<Barriers> {
        let program = self.program(phase)?;
        let needs = self.needs(program);
        let mut uses: BTreeMap<BufferId, Use> = BTreeMap::new();
        let mut barriers: Vec<Barrier> = Vec::new();
        for at in 0..program.dispatches.len() {
            let last = barriers.last().map_or(0, |barrier| barrier.before);
            let hazards = self.hazards(program, at, &mut uses, last);
            if hazards.is_empty() {
                continue;
            }
            let removed_by = match needs.get(&at).is_some_and(|of| of.iter().any(|j| *j >= last)) {
                true => None,
                false if hazards.iter().any(|h| h.cause == Cause::Waited) => Some(Change::ByNeed),
                false => Some(Change::OwnBuffers),
            };
            let kernel = self.kernel(program.dispatches[at].kernel).name.clone();
            barriers.push(Barrier { before: at, kernel, hazards, removed_by });
        }
        let own = |b: &&Barrier| b.removed_by != Some(Change::OwnBuffers);
        Some(Barriers {
            program: program.name.clone(),
            dispatches: program.dispatches.len(),
            without_reuse: barriers.iter().filter(own).count(),
            where_needed: where_needed(program.dispatches.len(), &needs),
            longest_chain: longest_chain(program.dispatches.len(), &needs),
            dispatch_us: self.device.speeds.dispatch_us,
            barriers,
        })
    }

    /// Hazards of dispatch `at`, whose uses are noted. The last barrier was before dispatch `last`.
    fn hazards(
        &self,
        program: &Program,
        at: usize,
        uses: &mut BTreeMap<BufferId, Use>,
        last: usize,
    ) -> Vec<Hazard> {
        let mut hazards = Vec::new();
        for (buffer, (access, ranges)) in self.bound(program, at) {
            let before = uses.get(&buffer);
            if let Some(before) = before {
                hazards.extend(self.hazard(program, (at, buffer, access), &ranges, before, last));
            }
            match uses.get_mut(&buffer).filter(|u| u.access == access && access == Access::Read) {
                Some(known) => {
                    known.at = at;
                    known.ranges.extend(ranges);
                }
                None => {
                    uses.insert(buffer, Use { at, access, ranges });
                }
            }
        }
        hazards
    }

    fn hazard(
        &self,
        program: &Program,
        (at, id, access): (usize, BufferId, Access),
        ranges: &[BufferRange],
        before: &Use,
        last: usize,
    ) -> Option<Hazard> {
        let kind = match (before.access, access) {
            (Access::Read, Access::Read) => return None,
            (Access::Write, Access::Read) => HazardKind::ReadAfterWrite,
            (Access::Read, Access::Write) => HazardKind::WriteAfterRead,
            (Access::Write, Access::Write) => HazardKind::WriteAfterWrite,
        };
        let buffer = self.buffer(id);
        let now = self.tenant(program, id, at);
        let was = self.tenant(program, id, before.at);
        let apart = |a: &BufferRange, b: &BufferRange| {
            a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset
        };
        let disjoint = ranges.iter().all(|a| before.ranges.iter().all(|b| apart(a, b)));
        let cause = match () {
            () if now != was => Cause::Reuse,
            () if disjoint => Cause::Parts,
            () if before.at < last => Cause::Waited,
            () => Cause::Value,
        };
        let name = || buffer.name.clone();
        let instead_of = (now != was).then(|| was.map_or_else(name, String::from));
        let value = now.map_or_else(name, String::from);
        Some(Hazard { buffer: name(), kind, after: before.at, value, instead_of, cause })
    }

    /// Each buffer that a dispatch binds, with the parts.
    fn bound(
        &self,
        program: &Program,
        at: usize,
    ) -> BTreeMap<BufferId, (Access, Vec<BufferRange>)> {
        let mut bound: BTreeMap<BufferId, (Access, Vec<BufferRange>)> = BTreeMap::new();
        let Some(dispatch) = program.dispatches.get(at) else { return bound };
        let declared = &self.kernel(dispatch.kernel).bindings;
        for (range, binding) in dispatch.bindings.iter().zip(declared) {
            let entry = bound.entry(range.buffer).or_insert((binding.access, Vec::new()));
            entry.1.push(*range);
        }
        bound
    }

    /// The value in an activation buffer that a dispatch uses.
    fn tenant(&self, program: &Program, buffer: BufferId, at: usize) -> Option<&str> {
        let of_program = self.buffer(buffer).tenants.iter().filter(|t| t.program == program.name);
        let mut using = of_program.filter(|t| (t.first as usize..=t.last as usize).contains(&at));
        using.next().map(|tenant| tenant.value.as_str())
    }

    /// The dispatches whose results each dispatch needs.
    fn needs(&self, program: &Program) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut written: BTreeMap<BufferId, Vec<(usize, Vec<BufferRange>)>> = BTreeMap::new();
        let mut needs: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for at in 0..program.dispatches.len() {
            let bound = self.bound(program, at);
            for (buffer, (access, ranges)) in &bound {
                // A state keeps what was written before; other buffers are written anew.
                let state = self.buffer(*buffer).role == BufferRole::State;
                if *access == Access::Write && !state {
                    continue;
                }
                for (from, parts) in written.get(buffer).into_iter().flatten() {
                    let meet = |a: &BufferRange, b: &BufferRange| {
                        a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
                    };
                    let same =
                        self.tenant(program, *buffer, at) == self.tenant(program, *buffer, *from);
                    if same && ranges.iter().any(|a| parts.iter().any(|b| meet(a, b))) {
                        needs.entry(at).or_default().insert(*from);
                    }
                }
            }
            for (buffer, (access, ranges)) in bound {
                if access == Access::Write {
                    written.entry(buffer).or_default().push((at, ranges));
                }
            }
        }
        needs
    }
}

/// Barriers where each stands before a dispatch that needs something written since the last.
fn where_needed(dispatches: usize, needs: &BTreeMap<usize, BTreeSet<usize>>) -> usize {
    let (mut count, mut last) = (0, 0);
    for at in 0..dispatches {
        if needs.get(&at).is_some_and(|of| of.iter().any(|from| *from >= last)) {
            (count, last) = (count + 1, at);
        }
    }
    count
}

/// Needs one after another, on the longest chain.
fn longest_chain(dispatches: usize, needs: &BTreeMap<usize, BTreeSet<usize>>) -> usize {
    let mut depth = vec![0usize; dispatches];
    for at in 0..dispatches {
        let before = needs.get(&at).into_iter().flatten().filter_map(|from| depth.get(*from));
        if let Some(most) = before.max().copied() {
            depth[at] = most + 1;
        }
    }
    depth.into_iter().max().unwrap_or(0)
}
