//! Layers that run the same kernels are shown once.

use quarrel_ir::plan::{Dispatch, Extent, KernelId};
use std::ops::Range;

/// A part of a program: dispatches `range`, which stand for all of `layers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// Dispatches of the first layer, or those outside layers.
    pub(super) range: Range<usize>,
    /// The layers; empty outside layers.
    pub(super) layers: Vec<u32>,
    /// The first dispatch of each layer, or of those outside layers.
    pub(super) starts: Vec<usize>,
}

impl Section {
    /// The dispatch of the first layer that stands for `index`; `None` where it is not of this section.
    pub(super) fn stand_in(&self, index: usize) -> Option<usize> {
        let place = |start: &usize| index.checked_sub(*start).filter(|at| *at < self.range.len());
        Some(self.range.start + self.starts.iter().find_map(place)?)
    }
}

/// What makes two layers alike.
type Signature = Vec<(KernelId, [Extent; 3])>;

/// The program in sections. Layers next to each other that are alike become one section, at the
/// place of the first; so do layers that alternate.
pub(super) fn sections(dispatches: &[Dispatch]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // Signatures of the layers since the last dispatch outside layers, by section.
    let mut known: Vec<(Signature, usize)> = Vec::new();
    let mut start = 0;
    while let Some(layer) = dispatches.get(start).map(|dispatch| dispatch.layer) {
        let rest = dispatches.iter().skip(start);
        let range = start..start + rest.take_while(|dispatch| dispatch.layer == layer).count();
        start = range.end;
        let Some(layer) = layer else {
            known.clear();
            let starts = vec![range.start];
            sections.push(Section { range, layers: Vec::new(), starts });
            continue;
        };
        let signature: Signature = dispatches
            .iter()
            .take(range.end)
            .skip(range.start)
            .map(|dispatch| (dispatch.kernel, dispatch.grid))
            .collect();
        let same = known.iter().find(|(other, _)| *other == signature).map(|(_, index)| *index);
        match same.and_then(|index| sections.get_mut(index)) {
            Some(section) => {
                section.layers.push(layer);
                section.starts.push(range.start);
            }
            None => {
                known.push((signature, sections.len()));
                let starts = vec![range.start];
                sections.push(Section { range, layers: vec![layer], starts });
            }
        }
    }
    sections
}

/// The line above a section.
pub(super) fn heading(section: &Section) -> String {
    match section.layers[..] {
        [] => "\noutside layers\n".into(),
        [layer] => format!("\nlayer {layer}\n"),
        ref layers => format!("\nlayers {}, × {}\n", spans(layers), layers.len()),
    }
}

/// `0–2, 4, 6–7`
pub(super) fn spans(layers: &[u32]) -> String {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for &layer in layers {
        match spans.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(layer) => *last = layer,
            _ => spans.push((layer, layer)),
        }
    }
    let span = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    };
    spans.iter().map(span).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarrel_ir::plan::Cost;

    fn dispatch(layer: Option<u32>, kernel: u32) -> Dispatch {
        Dispatch {
            kernel: KernelId(kernel),
            bindings: vec![],
            contents: vec![],
            grid: [Extent::Const(1); 3],
            layer,
            ops: vec![],
            reason: String::new(),
            cost: Cost::default(),
        }
    }

    #[test]
    fn alike_layers_are_one_section() {
        let mut program = vec![dispatch(None, 0)];
        for layer in 0..4 {
            program.push(dispatch(Some(layer), 1));
            program.push(dispatch(Some(layer), if layer == 2 { 3 } else { 2 }));
        }
        program.push(dispatch(None, 4));
        let found = sections(&program);
        let layers: Vec<_> = found.iter().map(|section| spans(&section.layers)).collect();
        assert_eq!(layers, ["", "0–1, 3", "2", ""]);
        assert_eq!(found[1].range, 1..3);
        assert_eq!(found[2].range, 5..7);
        assert_eq!(found[3].range, 9..10);
        let stand_ins = [3, 7, 5].map(|index| found[1].stand_in(index));
        assert_eq!(stand_ins, [Some(1), Some(1), None]);
        assert_eq!(found[2].stand_in(6), Some(6));
    }
}
