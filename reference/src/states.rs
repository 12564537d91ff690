//! States: rows of each slot that live across steps, rounded to their format as they are written.

use crate::ReferenceError;
use half::f16;
use quarrel_ir::graph::{Addressing, StateDecl, StateFormat};

/// The row of a state that holds `position` of `slot`, where each slot has `context` rows.
///
/// The only place where a slot and a position become a row.
pub fn cache_row(context: usize, slot: u32, position: u32) -> usize {
    slot as usize * context + position as usize
}

/// Writes `new` over `old` as it reads back from a state of this format: a row, or whole blocks of
/// one.
///
/// # Panics
/// If the lengths differ.
pub fn round(format: StateFormat, new: &[f32], old: &mut [f32]) {
    assert_eq!(new.len(), old.len(), "round: as many elements");
    match format {
        StateFormat::F32 => old.copy_from_slice(new),
        StateFormat::F16 => {
            old.iter_mut().zip(new).for_each(|(old, x)| *old = f16::from_f32(*x).to_f32());
        }
        StateFormat::Q8 => {
            let block = StateFormat::BLOCK as usize;
            let blocks = old.chunks_mut(block).zip(new.chunks(block));
            blocks.for_each(|(old, new)| round_block(new, old));
        }
    }
}

/// A block of [`StateFormat::Q8`].
fn round_block(new: &[f32], old: &mut [f32]) {
    let exact = new.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
    if exact > f16::MAX.to_f32() || new.iter().any(|x| !x.is_finite()) {
        return old.fill(f32::NAN);
    }
    let scale = f16::from_f32(exact).to_f32();
    for (old, x) in old.iter_mut().zip(new) {
        let whole = if scale == 0.0 { 0.0 } else { (x / scale).round_ties_even() };
        *old = scale * whole.clamp(-127.0, 127.0);
    }
}

/// All rows of one state, `[slots · context, width]`, as the values that reading them yields.
#[derive(Clone, Debug)]
pub struct StateRows {
    format: StateFormat,
    width: usize,
    context: usize,
    rows: Vec<f32>,
}

impl StateRows {
    /// A state of zeros.
    ///
    /// # Errors
    /// [`ReferenceError::Extents`] where a row has no elements, [`ReferenceError::StateTooLarge`]
    /// where the size overflows.
    pub fn new(
        decl: &StateDecl,
        slots: usize,
        context: usize,
    ) -> Result<StateRows, ReferenceError> {
        // A ring is a way to keep fewer rows, which nobody needs here.
        let context = match decl.addressing {
            Addressing::Append | Addressing::Ring { .. } => context,
            Addressing::Replace => 1,
        };
        let width =
            crate::interpreter::elements(&decl.row).ok_or_else(|| ReferenceError::Extents {
                what: format!("the state {:?}", decl.name),
                dims: decl.row.clone(),
            })?;
        let total = slots.checked_mul(context).and_then(|rows| rows.checked_mul(width));
        let total = total.filter(|&total| total <= isize::MAX as usize / size_of::<f32>());
        let total = total.ok_or_else(|| ReferenceError::StateTooLarge {
            name: decl.name.clone(),
            slots,
            context,
        })?;
        Ok(StateRows { format: decl.format, width, context, rows: vec![0.0; total] })
    }

    /// All rows, `[slots · context, width]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Rows of each slot.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Writes row `n` of `x[N, width]` to position `position[n]` of slot `slot[n]`, rounded.
    ///
    /// # Panics
    /// If a slot or position is beyond the state, or the lengths differ.
    pub fn append(&mut self, x: &[f32], slot: &[u32], position: &[u32]) {
        assert_eq!(x.len(), slot.len() * self.width, "append: one row for each token");
        assert_eq!(slot.len(), position.len(), "append: one position for each token");
        let places = slot.iter().zip(position);
        for (new, (&slot, &position)) in x.chunks_exact(self.width).zip(places) {
            assert!((position as usize) < self.context, "append: position beyond the context");
            let start = cache_row(self.context, slot, position) * self.width;
            round(self.format, new, &mut self.rows[start..start + self.width]);
        }
    }

    /// The row of a slot of a state that has one, to be changed in place.
    pub(crate) fn only_row(&mut self, slot: u32) -> &mut [f32] {
        let start = slot as usize * self.width;
        &mut self.rows[start..start + self.width]
    }

    /// Makes the rows of a slot zeros again. The slot must exist.
    pub(crate) fn reset(&mut self, slot: usize) {
        let slot_len = self.context * self.width;
        self.rows[slot * slot_len..(slot + 1) * slot_len].fill(0.0);
    }
}
