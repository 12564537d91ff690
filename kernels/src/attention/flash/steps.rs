//! The text of a step: what is read, staged and multiplied.

use super::{Flash, FlashText};
use std::fmt::Write;

impl FlashText<'_> {
    /// The matrices of queries, which subgroups hold, and the sums.
    pub(super) fn queries_text(&self) -> String {
        let (size, fours) = (self.flash.size, self.flash.size / 4);
        let mut text = String::new();
        for (i, j) in self.each(self.kernel.key_size) {
            let at = self.at(
                "staged",
                &format!(
                    "(down * OWN + {}u) * KEY_STRIDE + head_part * KEY_PART + {}u",
                    i * size,
                    j * fours
                ),
            );
            let _ = writeln!(
                text,
                "    let query_{i}_{j} = coopLoadT<{}>({at}, KEY_STRIDE * UNIT);",
                self.matrix("f16", "A")
            );
        }
        let sum = self.matrix("f32", "C");
        for (i, j) in self.each(self.kernel.value_size) {
            let _ = writeln!(text, "    var sum_{i}_{j}: {sum};");
        }
        let _ = writeln!(text, "    var zero: {sum};");
        for i in 0..self.flash.lanes_of().1 {
            let _ = writeln!(
                text,
                "    let row_{i} = lane / TOGETHER + {}u;\n    \
                 let whole_row_{i} = min(first + down * OWN + row_{i}, all - 1u);\n    \
                 let at_{i} = positions[whole_row_{i} / SHARE];\n    \
                 var most_{i} = LOWEST;\n    var total_{i} = 0.0;",
                i * self.flash.lanes
            );
            let slope = match self.kernel.attention.alibi {
                None => "0.0".to_string(),
                Some(_) => format!("slope(kv * SHARE + whole_row_{i} % SHARE)"),
            };
            let _ = writeln!(text, "    let slope_{i} = {slope};");
        }
        text
    }

    /// Reads the first keys and values.
    pub(super) fn begin_text(&self) -> String {
        self.load_text("key", "base", true) + &self.load_text("value", "base", true)
    }

    /// Vectors of `what` that a thread reads of a step, and those of a row.
    fn parts(&self, what: &str) -> (u32, u32) {
        let size = if what == "key" { self.kernel.key_size } else { self.kernel.value_size };
        (self.flash.step() * size / 4 / self.flash.threads(), size / 4)
    }

    /// Reads a thread's part of the keys or values from position `from` on. Those beyond the newest
    /// are the newest again: nobody sees them.
    pub(super) fn load_text(&self, what: &str, from: &str, declare: bool) -> String {
        let (parts, row) = self.parts(what);
        let head = if declare { "    var " } else { "        " };
        (0..parts)
            .map(|i| {
                let at = format!("(tid + {}u)", i * self.flash.threads());
                format!(
                    "{head}{what}_{i} = load_{what}(slot, min({from} + {at} / {row}u, newest), kv, {at} % {row}u);\n"
                )
            })
            .collect()
    }

    /// Puts what a thread has read into workgroup memory.
    pub(super) fn keep_text(&self, what: &str) -> String {
        let (parts, row) = self.parts(what);
        let (start, stride) =
            if what == "key" { ("", "KEY_STRIDE") } else { ("VALUES + ", "VALUE_STRIDE") };
        (0..parts)
            .map(|i| {
                let at = format!("(tid + {}u)", i * self.flash.threads());
                format!(
                    "        put_staged({start}{at} / {row}u * {stride} + {at} % {row}u, {what}_{i});\n"
                )
            })
            .collect()
    }

    /// Scores of the subgroup's rows and positions, over its part of the head's elements.
    pub(super) fn multiply_text(&self) -> String {
        let Flash { size, held, keys, .. } = self.flash;
        let (a_step, b_type) = (size / 4, self.matrix("f16", "B"));
        let mut text = String::new();
        for k in 0..keys / size {
            text += "        {\n";
            for i in 0..held {
                let _ = writeln!(text, "            var score_{i} = zero;");
            }
            for j in 0..self.matrices(self.kernel.key_size) {
                let at = self.at(
                    "staged",
                    &format!(
                        "(across * KEYS + {}u) * KEY_STRIDE + head_part * KEY_PART + {}u",
                        k * size,
                        j * a_step
                    ),
                );
                let _ = writeln!(
                    text,
                    "            let key_{j} = coopLoad<{b_type}>({at}, KEY_STRIDE * UNIT);"
                );
                for i in 0..held {
                    let _ = writeln!(
                        text,
                        "            score_{i} = coopMultiplyAdd(query_{i}_{j}, key_{j}, score_{i});"
                    );
                }
            }
            for i in 0..held {
                let at = self.score_at(i, k);
                let _ =
                    writeln!(text, "            coopStoreT(score_{i}, {at}, SCORE_STRIDE * UNIT);");
            }
            text += "        }\n";
        }
        text
    }

    /// A pointer to the subgroup's matrix of scores of rows `i` and positions `k`.
    pub(super) fn score_at(&self, i: u32, k: u32) -> String {
        let size = self.flash.size;
        self.at(
            "scores",
            &format!("(subgroup * OWN + {}u) * SCORE_STRIDE + {}u", i * size, k * size / 4),
        )
    }

    /// Adds the weighted values.
    pub(super) fn accumulate_text(&self) -> String {
        let Flash { size, held, keys, .. } = self.flash;
        let fours = size / 4;
        let mut text = String::new();
        for k in 0..keys / size {
            text += "        {\n";
            for i in 0..held {
                let at = self.at(
                    "weights",
                    &format!("(subgroup * OWN + {}u) * WEIGHT_STRIDE + {}u", i * size, k * fours),
                );
                let _ = writeln!(
                    text,
                    "            let weight_{i} = coopLoadT<{}>({at}, WEIGHT_STRIDE * UNIT);",
                    self.matrix("f16", "A")
                );
            }
            for j in 0..self.matrices(self.kernel.value_size) {
                let at = self.at(
                    "staged",
                    &format!(
                        "VALUES + (across * KEYS + {}u) * VALUE_STRIDE + head_part * VALUE_PART + {}u",
                        k * size,
                        j * fours
                    ),
                );
                let _ = writeln!(
                    text,
                    "            let value_{j} = coopLoadT<{}>({at}, VALUE_STRIDE * UNIT);",
                    self.matrix("f16", "B")
                );
                for i in 0..held {
                    let _ = writeln!(
                        text,
                        "            sum_{i}_{j} = coopMultiplyAdd(weight_{i}, value_{j}, sum_{i}_{j});"
                    );
                }
            }
            text += "        }\n";
        }
        text
    }
}
