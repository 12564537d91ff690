//! Rotary positions: one element of a turned head.

use super::{At, Body, Emitter, IoBuffer};
use quarrel_ir::graph::{Ramp, Rope, RopeStyle, ValueId};
use quarrel_kernels::row_program::float;

/// The pair that an element belongs to, as WGSL expressions.
struct Pair {
    /// Whether the element is the pair's second.
    second: String,
    /// The pair's number in the head.
    number: String,
    /// The place of the other element.
    partner: String,
}

impl Emitter<'_> {
    /// One element of a rotated head; its partner is computed beside it.
    pub(super) fn rope(
        &mut self,
        body: &mut Body,
        rope: &Rope,
        value: ValueId,
        operands: &[ValueId],
        at: &At,
    ) -> String {
        let head = self.graph.tensor(value).map_or(1, |t| t.last());
        let dims = rope.dims;
        let place = body.bind(&at.place);
        let i = body.bind(&format!("{place} % {head}u"));
        let pair = pair(body, rope, head, &place, &i);
        let (mut partner, partly) = (pair.partner, u64::from(dims) < head);
        if partly {
            // Elements beyond `dims` have no partner; they read themselves.
            partner = body.bind(&format!("select({place}, {partner}, {i} < {dims}u)"));
        }
        let beside = |place: String| At { row: at.row.clone(), place };
        let own = self.value(body, operands[0], &beside(place.clone()), false);
        let other = self.value(body, operands[0], &beside(partner), false);
        let angle = self.angle(body, rope, operands.get(2).copied(), at, &pair.number);
        let turned = format!(
            "({own} * cos({angle}) + select(-{other}, {other}, {}) * sin({angle})) * {}",
            pair.second,
            float(rope.magnitude)
        );
        if partly { format!("select({own}, {turned}, {i} < {dims}u)") } else { turned }
    }

    /// The angle by which a pair is turned, less whole turns.
    fn angle(
        &mut self,
        body: &mut Body,
        rope: &Rope,
        factors: Option<ValueId>,
        at: &At,
        pair: &str,
    ) -> String {
        let positions = self.io(IoBuffer::Positions);
        let factor = match factors {
            Some(factors) => {
                let last = rope.dims / 2 - 1;
                let at = At { row: at.row.clone(), place: format!("min({pair}, {last}u)") };
                format!(" / {}", self.value(body, factors, &at, false))
            }
            None => String::new(),
        };
        // base^(-2 i / dims) as a power of two.
        let rate = float((-2.0 * f64::from(rope.base).log2() / f64::from(rope.dims)) as f32);
        let scale = match rope.ramp {
            None => float(rope.scale),
            Some(Ramp { low, high }) => {
                let (low, span) = (float(low), float((high - low).max(0.001)));
                let kept = format!("1.0 - clamp((f32({pair}) - {low}) / {span}, 0.0, 1.0)");
                format!("({} + {} * ({kept}))", float(rope.scale), float(1.0 - rope.scale))
            }
        };
        let angle = body.bind(&format!(
            "f32({positions}[{}]) * {scale} * exp2(f32({pair}) * {rate}){factor}",
            at.row,
        ));
        // Sines of large angles are inexact on some devices: whole turns go first, in two parts of 2π
        // of which the first has few bits.
        let whole = body.bind(&format!("round({angle} * 0.15915494)"));
        body.bind(&format!("({angle} - {whole} * 6.28125) - {whole} * 0.0019353072"))
    }
}

/// The pair of element `i` of a head, which lies at `place` in its row.
fn pair(body: &mut Body, rope: &Rope, head: u64, place: &str, i: &str) -> Pair {
    match rope.style {
        RopeStyle::Interleaved => Pair {
            second: body.bind(&format!("({i} & 1u) == 1u")),
            number: body.bind(&format!("{i} >> 1u")),
            partner: match head.is_multiple_of(2) {
                true => body.bind(&format!("{place} ^ 1u")),
                // Heads of an odd size begin at odd places too.
                false => {
                    body.bind(&format!("select({place} + 1u, {place} - 1u, ({i} & 1u) == 1u)"))
                }
            },
        },
        RopeStyle::Half => {
            let half = rope.dims / 2;
            let second = body.bind(&format!("{i} >= {half}u"));
            let number = body.bind(&format!("select({i}, {i} - {half}u, {second})"));
            let partner = format!("select({place} + {half}u, {place} - {half}u, {second})");
            Pair { second, number, partner: body.bind(&partner) }
        }
    }
}
