//! What the workgroups of a split leave, made one: in a kernel of its own, or by a function that the
//! kernel which reads the result calls.

use crate::shader::{Binding, Shader, declare};
use crate::template::fill;
use quarrel_ir::plan::Access;

/// Threads of a workgroup that combines, at most.
const THREADS: u32 = 256;

/// The partials of attention whose positions were split over workgroups.
///
/// They are rows of `value_size / 4 + 1` vectors of four F32, one for each token, head and split, in
/// this order: the sum of the split's values, each times the exponential of its score less the
/// split's highest; then the highest score, the sum of the exponentials, the number of splits
/// that have positions, and zero. A split without positions has a highest score of -1e30 and zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Query heads.
    pub heads: u32,
    /// Elements of a value head, a multiple of 8.
    pub value_size: u32,
    /// Workgroups that share the positions of a token and head.
    pub splits: u32,
}

impl Split {
    /// Bytes of the partials of a token.
    pub fn bytes(&self) -> u64 {
        16 * u64::from(self.heads) * u64::from(self.splits) * u64::from(self.value_size / 4 + 1)
    }

    /// WGSL for the function `name(n, j)`: vector `j` of the result of token `n`, from `partials`.
    ///
    /// A context is short more often than long: where only the first split has positions, the others
    /// are not read, of which every workgroup of a product would read all.
    pub fn function(&self, name: &str, partials: &str) -> String {
        let Split { heads, value_size, splits } = *self;
        let (value4, row) = (value_size / 4, value_size / 4 + 1);
        format!(
            "fn {name}(n: u32, j: u32) -> vec4<f32> {{\n    \
             let first = (n * {heads}u + j / {value4}u) * {splits}u;\n    \
             let place = j % {value4}u;\n    \
             let only = {partials}[first * {row}u + {value4}u];\n    \
             let only_sum = {partials}[first * {row}u + place];\n    \
             if (only.z == 1.0) {{ return only_sum / only.y; }}\n{}    return sum / total;\n}}\n",
            merge(partials, value4, "place", (0..splits).map(|i| (format!("first + {i}u"), None)))
        )
    }
}

/// Statements that load the partials in some rows and add them up as `highest`, `total` and `sum`.
/// A row counts only where its condition holds, if it has one.
fn merge(
    partials: &str,
    value4: u32,
    place: &str,
    rows: impl Iterator<Item = (String, Option<String>)>,
) -> String {
    let (mut loads, mut weights) = (String::new(), String::new());
    let (mut highest, mut total, mut sum) = (vec![], vec![], vec![]);
    for (i, (row, condition)) in rows.enumerate() {
        loads += &format!(
            "    let row_{i} = ({row}) * {}u;\n    \
             let statistics_{i} = {partials}[row_{i} + {value4}u].xy;\n    \
             let sum_{i} = {partials}[row_{i} + {place}];\n",
            value4 + 1
        );
        let weight = format!("exp(statistics_{i}.x - highest)");
        weights += &match condition {
            None => format!("    let weight_{i} = {weight};\n"),
            Some(holds) => format!("    let weight_{i} = select(0.0, {weight}, {holds});\n"),
        };
        highest.push(format!("statistics_{i}.x"));
        total.push(format!("weight_{i} * statistics_{i}.y"));
        sum.push(format!("weight_{i} * sum_{i}"));
    }
    let most = highest.into_iter().reduce(|most, x| format!("max({most}, {x})"));
    format!(
        "{loads}    let highest = {};\n{weights}    let total = {};\n    let sum = {};\n",
        most.unwrap_or_default(),
        total.join(" + "),
        sum.join(" + ")
    )
}

/// The kernel that combines partials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Combine {
    /// What it combines.
    pub split: Split,
    /// The most threads of a workgroup.
    pub max_threads: u32,
}

impl Combine {
    /// The kernel's bindings: `partials` and `out`.
    pub fn bindings(&self) -> Vec<Binding> {
        let binding =
            |name: &str, access| Binding { name: name.into(), element: "vec4<f32>", access };
        vec![binding("partials", Access::Read), binding("out", Access::Write)]
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let Split { heads, value_size, splits } = self.split;
        let value4 = value_size / 4;
        let parts = (self.max_threads.min(THREADS) / value4).clamp(1, splits);
        let each = splits.div_ceil(parts);
        // Beyond the last split it is read again, and not counted.
        let rows = (0..each).map(|k| {
            let i = format!("part + {}u", k * parts);
            match (k + 1) * parts <= splits {
                true => (format!("row * SPLITS + {i}"), None),
                false => (
                    format!("row * SPLITS + min({i}, {}u)", splits - 1),
                    Some(format!("{i} < SPLITS")),
                ),
            }
        });
        let load = merge("partials", value4, "j", rows);
        let number = |n: u32| n.to_string();
        let wgsl = fill(
            include_str!("combine.wgsl"),
            &[
                ("bindings", &declare(&self.bindings())),
                ("heads", &number(heads)),
                ("value4", &number(value4)),
                ("splits", &number(splits)),
                ("parts", &number(parts)),
                ("vectors", &number(parts * value4)),
                ("threads", &number(parts * value4)),
                ("load", &load),
            ],
        );
        Shader {
            family: "combine",
            variant: format!("{splits} splits, {each} a thread"),
            wgsl,
            workgroup: parts * value4,
            workgroup_bytes: parts * 8 + 16 * parts * value4,
        }
    }
}
