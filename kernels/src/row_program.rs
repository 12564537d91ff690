//! Row programs: an element expression over rows of values, with statistics of the row first.
//!
//! Prologues of products and whole row kernels are row programs. The functions that they call are
//! emitted by the compiler:
//! - `fn stat_I(n: u32, j: u32, s_0: f32, …) -> f32`: what step j adds to statistic I of row n;
//!   (or its value, where the statistic is the largest);
//! - value functions take `(n, j, s_0, …)` likewise.
//!
//! `j` counts vectors of four elements where [`RowProgram::wide`] holds, elements otherwise.

/// One statistic: a sum over the row, or its largest element, then a finishing formula.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistic {
    /// What becomes of the row's sum.
    pub finish: Finish,
    /// What ends each line that computes it: a comment, or nothing.
    pub mark: String,
}

/// How a row's sum becomes a statistic; `width` elements were summed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// `sum / width`
    Mean,
    /// `1 / √(sum / width + eps)`
    InverseRoot {
        /// Added before the root.
        eps: f32,
    },
    /// `1 / (sum + eps)`
    Inverse {
        /// Added to the sum.
        eps: f32,
    },
    /// Not the sum but the largest of what the steps yield.
    Largest,
}

/// A row program's statistics, in the order in which they are computed.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RowProgram {
    /// WGSL functions `stat_0 …` and the value functions.
    pub functions: String,
    /// The statistics.
    pub statistics: Vec<Statistic>,
    /// Whether `j` counts vectors of four elements.
    pub wide: bool,
    /// What the functions' names begin with, where a kernel has several row programs.
    pub prefix: String,
}

impl RowProgram {
    /// Statements that compute statistics `s_0 …` of row `row` (an expression) of `width` elements,
    /// by the whole workgroup of `threads` threads; `suffix` ends the names.
    pub fn statistics_text(&self, row: &str, width: u32, threads: u32, suffix: &str) -> String {
        let steps = if self.wide { width / 4 } else { width };
        let mut text = String::new();
        for (index, statistic) in self.statistics.iter().enumerate() {
            let earlier = self.arguments(index, suffix);
            let finish = match statistic.finish {
                Finish::Mean => format!("sum_{index}{suffix} / {width}.0"),
                Finish::InverseRoot { eps } => {
                    format!("inverseSqrt(sum_{index}{suffix} / {width}.0 + {})", float(eps))
                }
                Finish::Inverse { eps } => format!("1.0 / (sum_{index}{suffix} + {})", float(eps)),
                Finish::Largest => format!("sum_{index}{suffix}"),
            };
            let part = format!("part_{index}{suffix}");
            let step = format!("{}stat_{index}({row}, j{earlier})", self.prefix);
            let (start, gathered, reduce) = match statistic.finish {
                Finish::Largest => ("-3.4e38f", format!("{part} = max({part}, {step});"), "max"),
                _ => ("0.0", format!("{part} += {step};"), "sum"),
            };
            let mark = &statistic.mark;
            text.push_str(&format!(
                "    var {part} = {start};{mark}\n    \
                 for (var j = tid; j < {steps}u; j += {threads}u) {{ {gathered} }}{mark}\n    \
                 let sum_{index}{suffix} = workgroup_{reduce}({part}, lane, subgroup, subgroups);{mark}\n    \
                 let s_{index}{suffix} = {finish};{mark}\n"
            ));
        }
        text
    }

    /// Whether a statistic is the largest of what its steps yield.
    pub fn needs_largest(&self) -> bool {
        self.statistics.iter().any(|s| s.finish == Finish::Largest)
    }

    /// The text of the functions that reduce over a workgroup of `threads` threads.
    pub fn reductions(&self, threads: u32) -> String {
        let maximum = if self.needs_largest() { include_str!("maximum.wgsl") } else { "" };
        reduction(threads) + maximum
    }

    /// The text of the function that sums over a workgroup of `threads` threads, without a branch
    /// that what follows would be behind; `again` if it is called more than once.
    pub fn straight_sum(threads: u32, again: bool) -> String {
        let partials = threads.div_ceil(4);
        let mut terms: Vec<String> = (0..partials)
            .map(|i| format!("select(0.0, partial_sums[{i}], {i}u < subgroups)"))
            .collect();
        // Pairs of pairs, so that no sum waits for all before it.
        while terms.len() > 1 {
            terms = terms
                .chunks(2)
                .map(|pair| match pair {
                    [one] => one.clone(),
                    _ => format!("({})", pair.join(" + ")),
                })
                .collect();
        }
        let values = [
            ("partials", &*partials.to_string()),
            ("sum", &*terms.concat()),
            ("barrier", if again { "    workgroupBarrier();\n" } else { "" }),
        ];
        crate::template::fill(include_str!("straight_sum.wgsl"), &values)
    }

    /// `, s_0, s_1, …`: the first `count` statistics as further arguments.
    pub fn arguments(&self, count: usize, suffix: &str) -> String {
        (0..count).map(|i| format!(", s_{i}{suffix}")).collect()
    }

    /// All statistics as further arguments.
    pub fn all_arguments(&self, suffix: &str) -> String {
        self.arguments(self.statistics.len(), suffix)
    }
}

/// `, s_0: f32, …`: the first `count` statistics as further parameters of a function.
pub fn parameters(count: usize) -> String {
    (0..count).map(|i| format!(", s_{i}: f32")).collect()
}

/// A float as a WGSL literal that reads back to the same value.
///
/// WGSL has no literal for infinities and NaN; they are made from their bits.
pub fn float(x: f32) -> String {
    if x.is_finite() { format!("{x:?}f") } else { format!("bitcast<f32>({}u)", x.to_bits()) }
}

/// The text of the function that sums over a workgroup of `threads` threads.
fn reduction(threads: u32) -> String {
    // Subgroups have at least 4 lanes on every device that has subgroups.
    let partials = threads.div_ceil(4).to_string();
    crate::template::fill(include_str!("reduce.wgsl"), &[("partials", &partials)])
}
