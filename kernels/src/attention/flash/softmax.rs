//! The text of the softmax: weights from scores, sums that are scaled when a maximum moves, and the
//! subgroups' parts made one.

use super::FlashText;
use std::fmt::Write;
use std::ops::Range;

impl FlashText<'_> {
    /// Vectors of four scores that a lane has of each of its rows.
    const fn fours(&self) -> u32 {
        self.flash.keys / 4 / self.flash.lanes_of().0
    }

    /// Turns scores into weights; `moves` is whether sums have to be scaled.
    pub(super) fn softmax_text(&self) -> String {
        let (together, of_lane) = self.flash.lanes_of();
        let mut text =
            String::from("        let part = lane % TOGETHER;\n        var moving = false;\n");
        for i in 0..of_lane {
            let _ = writeln!(text, "        var highest_{i} = LOWEST;");
            for c in 0..self.fours() {
                let four = format!("part + {}u", c * together);
                // Over all parts of the head.
                let score = (0..self.flash.parts).map(|part| {
                    format!("score_four(((subgroup - head_part + {part}u) * OWN + row_{i}) * SCORE_STRIDE + {four})")
                });
                let score = score.collect::<Vec<_>>().join(" + ");
                let _ = writeln!(
                    text,
                    "        let four_{i}_{c} = masked({score}, base + across * KEYS + 4u * ({four}), at_{i}, slope_{i});\n        \
                     highest_{i} = max(highest_{i}, max(max(four_{i}_{c}.x, four_{i}_{c}.y), max(four_{i}_{c}.z, four_{i}_{c}.w)));"
                );
            }
            text += &over_lanes(together, |other| {
                format!(
                    "        highest_{i} = max(highest_{i}, subgroupShuffleXor(highest_{i}, {other}u));\n"
                )
            });
            let _ = writeln!(
                text,
                "        let higher_{i} = highest_{i} > most_{i} + SLACK;\n        \
                 let factor_{i} = select(1.0, exp(most_{i} - highest_{i}), higher_{i});\n        \
                 moving = moving || (higher_{i} && total_{i} > 0.0);\n        \
                 most_{i} = select(most_{i}, highest_{i}, higher_{i});\n        \
                 total_{i} *= factor_{i};"
            );
            for c in 0..self.fours() {
                // What is no number is kept, so that it is seen.
                let _ = writeln!(
                    text,
                    "        let weight_{i}_{c} = select(exp(four_{i}_{c} - (most_{i} - LIFT)), vec4<f32>(), four_{i}_{c} <= vec4(LOWEST));\n        \
                     total_{i} += dot(weight_{i}_{c}, vec4(1.0));\n        \
                     put_weights((subgroup * OWN + row_{i}) * WEIGHT_STRIDE + part + {}u, vec4<f16>(weight_{i}_{c}));",
                    c * together
                );
            }
        }
        text + "        let moves = subgroupAny(moving);"
    }

    /// Matrices of values in each turn that sums go through workgroup memory in.
    fn turns(&self) -> Vec<Range<u32>> {
        let (all, most) =
            (self.matrices(self.kernel.value_size), self.flash.keys / self.flash.size);
        (0..all).step_by(most as usize).map(|j| j..all.min(j + most)).collect()
    }

    fn store_sums(&self, turn: &Range<u32>) -> String {
        let held = (0..self.flash.held).flat_map(|i| turn.clone().map(move |j| (i, j)));
        held.map(|(i, j)| {
            let at = self.score_at(i, j - turn.start);
            format!("            coopStoreT(sum_{i}_{j}, {at}, SCORE_STRIDE * UNIT);\n")
        })
        .collect()
    }

    /// Multiplies the sums of each row by its factor.
    pub(super) fn rescale_text(&self) -> String {
        let (together, of_lane) = self.flash.lanes_of();
        let mut text = String::new();
        for turn in self.turns() {
            text += &self.store_sums(&turn);
            text += "            workgroupBarrier();\n";
            let fours = turn.len() as u32 * self.flash.size / 4;
            for i in 0..of_lane {
                let _ = writeln!(
                    text,
                    "            for (var c = lane % TOGETHER; c < {fours}u; c += {together}u) {{\n                \
                     let at = (subgroup * OWN + row_{i}) * SCORE_STRIDE + c;\n                \
                     put_scores(at, score_four(at) * factor_{i});\n            }}"
                );
            }
            text += "            workgroupBarrier();\n";
            for i in 0..self.flash.held {
                for j in turn.clone() {
                    let at = self.score_at(i, j - turn.start);
                    let _ = writeln!(
                        text,
                        "            sum_{i}_{j} = coopLoadT<{}>({at}, SCORE_STRIDE * UNIT);",
                        self.matrix("f32", "C")
                    );
                }
            }
            text += "            workgroupBarrier();\n";
        }
        text
    }

    /// Leaves each subgroup's maxima and totals for the others.
    pub(super) fn statistics_text(&self) -> String {
        let (together, of_lane) = self.flash.lanes_of();
        let mut text = String::new();
        for i in 0..of_lane {
            text += &over_lanes(together, |other| {
                format!("    total_{i} += subgroupShuffleXor(total_{i}, {other}u);\n")
            });
            let _ = writeln!(
                text,
                "    if (lane % TOGETHER == 0u) {{\n        \
                 maxima[subgroup * OWN + row_{i}] = most_{i};\n        \
                 totals[subgroup * OWN + row_{i}] = total_{i};\n    }}"
            );
        }
        text
    }

    /// Adds up the subgroups that share rows, and stores.
    pub(super) fn finish_text(&self) -> String {
        let across = self.flash.subgroups.1;
        let float = if self.kernel.halves { "vec4<f16>" } else { "vec4<f32>" };
        let mut text = String::new();
        for turn in self.turns() {
            let start = turn.start * self.flash.size / 4;
            let fours = turn.len() as u32 * self.flash.size / 4;
            text += "    workgroupBarrier();\n    {\n";
            text += &self.store_sums(&turn);
            let _ = write!(
                text,
                "        workgroupBarrier();\n        \
                 for (var e = tid; e < ROWS * PARTS * {fours}u; e += THREADS) {{\n            \
                 let own = e / (PARTS * {fours}u);\n            let part = e / {fours}u % PARTS;\n            \
                 let j = e % {fours}u;\n            let row = first + own;\n            \
                 let begin = (own / OWN * ACROSS * PARTS + part) * OWN + own % OWN;\n            \
                 var highest = maxima[begin];\n"
            );
            for c in 1..across {
                let _ = writeln!(
                    text,
                    "            highest = max(highest, maxima[begin + {c}u * PARTS * OWN]);"
                );
            }
            text += "            var total = 0.0;\n            var sum = vec4<f32>();\n";
            for c in 0..across {
                let _ = writeln!(
                    text,
                    "            let at_{c} = begin + {c}u * PARTS * OWN;\n            \
                     let weight_{c} = exp(maxima[at_{c}] - highest);\n            \
                     total += weight_{c} * totals[at_{c}];\n            \
                     sum += weight_{c} * score_four(at_{c} * SCORE_STRIDE + j);"
                );
            }
            // With subgroups of another size than was probed the sums are wrong, and must not look
            // right.
            let _ = writeln!(
                text,
                "            if (broken) {{ sum = vec4(bitcast<f32>(0x7fc00000u | tid)); }}\n            \
                 let head = row / SHARE * ALL_HEADS + kv * SHARE + row % SHARE;\n            \
                 if (row < all) {{ out[head * VALUE4 + part * VALUE_PART + {start}u + j] = {float}(sum / total); }}\n        }}\n    }}"
            );
        }
        text
    }
}

/// Lines for each step in which `together` neighbouring lanes meet.
fn over_lanes(together: u32, line: impl Fn(u32) -> String) -> String {
    (0..together.ilog2()).map(|bit| line(1 << bit)).collect()
}
