//! Attention of many tokens by cooperative matrices: the text of kernels for prompts on devices that
//! multiply square matrices of F16 with sums in F32.

mod softmax;
mod steps;

use super::AttentionKernel;
use crate::row_program::float;
use crate::shader::Shader;
use quarrel_ir::graph::StateFormat;

/// How far a score may be above its row's maximum before the maximum moves, and the logarithm of
/// what all weights are multiplied by: together they keep weights within F16.
const SLACK: f32 = 3.0;
const LIFT: f32 = 7.0;

/// How a workgroup's tile is made of cooperative matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flash {
    /// Rows and columns of a matrix.
    pub size: u32,
    /// Lanes of a subgroup; with another size the result is NaN.
    pub lanes: u32,
    /// Subgroups along the rows and along the positions of a step.
    pub subgroups: (u32, u32),
    /// Subgroups that share rows and positions, each with its part of a head's elements.
    pub parts: u32,
    /// Matrices of rows that each subgroup holds.
    pub held: u32,
    /// Positions of each subgroup in a step.
    pub keys: u32,
    /// Whether workgroup memory is declared in vectors of four, which matrices are loaded from on
    /// Vulkan but not on Metal.
    pub vectors: bool,
}

impl Flash {
    /// Rows of a workgroup: tokens times the query heads that share a key head.
    pub const fn rows(&self) -> u32 {
        self.own() * self.subgroups.0
    }

    /// Threads of a workgroup.
    pub const fn threads(&self) -> u32 {
        self.lanes * self.groups()
    }

    /// Rows of a subgroup.
    const fn own(&self) -> u32 {
        self.size * self.held
    }

    /// Subgroups of a workgroup.
    const fn groups(&self) -> u32 {
        self.subgroups.0 * self.subgroups.1 * self.parts
    }

    /// Positions of a step.
    const fn step(&self) -> u32 {
        self.keys * self.subgroups.1
    }

    /// Lanes that share a row, and rows of a lane.
    const fn lanes_of(&self) -> (u32, u32) {
        if self.lanes > self.own() {
            (self.lanes / self.own(), 1)
        } else {
            (1, self.own() / self.lanes)
        }
    }

    /// Vectors of four in workgroup memory: of keys and values, of scores, of weights.
    const fn vectors_of(&self, key_size: u32, value_size: u32) -> [u32; 3] {
        let rows = self.own() * self.groups();
        [
            self.step() * (half_stride(key_size) + half_stride(value_size)),
            rows * self.score_stride(),
            rows * half_stride(self.keys),
        ]
    }

    /// Vectors of four from one row of scores to the next.
    const fn score_stride(&self) -> u32 {
        self.keys / 4 + 1
    }

    /// Bytes of workgroup memory for heads of these sizes.
    pub const fn workgroup_bytes(&self, key_size: u32, value_size: u32) -> u32 {
        let [staged, scores, weights] = self.vectors_of(key_size, value_size);
        8 * (staged + weights) + 16 * scores + 8 * self.own() * self.groups() + 4 * self.groups()
    }

    /// Whether parts of heads of these sizes are whole matrices, and each thread has as much to do as
    /// others.
    pub fn takes(&self, key_size: u32, value_size: u32) -> bool {
        let part = self.size * self.parts;
        let whole = [key_size, value_size].iter().all(|n| n.is_multiple_of(part))
            && self.keys.is_multiple_of(self.size);
        let (together, of_lane) = self.lanes_of();
        let divided = self.lanes * of_lane == self.own() * together
            && (self.keys / 4).is_multiple_of(together)
            && together.is_power_of_two();
        let even = [key_size, value_size]
            .iter()
            .all(|size| (self.step() * size / 4).is_multiple_of(self.threads()));
        // Queries are staged where keys and values are later.
        let queries = self.rows() * half_stride(key_size);
        whole && divided && even && queries <= self.vectors_of(key_size, value_size)[0]
    }
}

/// Vectors of four from one row of `size` halves to the next.
const fn half_stride(size: u32) -> u32 {
    size / 4 + 2
}

/// What writes the text.
pub(super) struct FlashText<'a> {
    pub(super) kernel: &'a AttentionKernel,
    pub(super) flash: Flash,
}

impl FlashText<'_> {
    /// The kernel's text.
    pub(super) fn shader(&self) -> Shader {
        let (kernel, flash) = (self.kernel, self.flash);
        let (key_size, value_size) = (kernel.key_size, kernel.value_size);
        debug_assert!(flash.takes(key_size, value_size) && kernel.scales().is_empty());
        let holes = [self.constants(), self.texts()].concat();
        Shader {
            family: "attention",
            variant: format!(
                "F16 matrices of {0} x {0}, {1} rows x {2} positions a subgroup, {3} x {4} a workgroup of {5}{6}",
                flash.size,
                flash.own(),
                flash.keys,
                flash.rows(),
                flash.step(),
                flash.threads(),
                match flash.parts {
                    1 => String::new(),
                    parts => format!(", {parts} parts of a head"),
                }
            ),
            wgsl: kernel.fill(include_str!("flash.wgsl"), &self.loads_text(), &holes),
            workgroup: flash.threads(),
            workgroup_bytes: flash.workgroup_bytes(key_size, value_size),
        }
    }

    /// What the template's constants and declarations are.
    fn constants(&self) -> Vec<(&'static str, String)> {
        let flash = self.flash;
        let (key_size, value_size) = (self.kernel.key_size, self.kernel.value_size);
        let number = |n: u32| n.to_string();
        let unit = self.unit();
        let [staged, scores, weights] = flash.vectors_of(key_size, value_size);
        let of_type = |scalar: &str| match flash.vectors {
            true => format!("vec4<{scalar}>"),
            false => scalar.to_string(),
        };
        vec![
            ("rows", number(flash.rows())),
            ("own", number(flash.own())),
            ("across", number(flash.subgroups.1)),
            ("parts", number(flash.parts)),
            ("key_part", number(key_size / 4 / flash.parts)),
            ("value_part", number(value_size / 4 / flash.parts)),
            ("keys", number(flash.keys)),
            ("threads", number(flash.threads())),
            ("subgroups", number(flash.groups())),
            ("lanes", number(flash.lanes)),
            ("together", number(flash.lanes_of().0)),
            ("lift", float(LIFT)),
            ("slack", float(SLACK)),
            ("key_stride", number(half_stride(key_size))),
            ("value_stride", number(half_stride(value_size))),
            ("score_stride", number(flash.score_stride())),
            ("weight_stride", number(half_stride(flash.keys))),
            ("unit", number(unit)),
            ("halves", of_type("f16")),
            ("floats", of_type("f32")),
            ("staged_len", number(staged * unit)),
            ("scores_len", number(scores * unit)),
            ("weights_len", number(weights * unit)),
            ("statistics", number(flash.own() * flash.groups())),
        ]
    }

    /// What its functions and steps are.
    fn texts(&self) -> Vec<(&'static str, String)> {
        let kernel = self.kernel;
        vec![
            ("access", self.access_text()),
            ("score", self.score_text()),
            ("seen", self.seen_text()),
            ("count", kernel.count.clone()),
            ("scale", float(kernel.attention.scale)),
            ("oldest", kernel.oldest("oldest_token")),
            ("queries", self.queries_text()),
            ("begin", self.begin_text()),
            ("keep_keys", self.keep_text("key")),
            ("keep_values", self.keep_text("value")),
            ("next_keys", self.load_text("key", "base + STEP", false)),
            ("next_values", self.load_text("value", "base + STEP", false)),
            ("multiply", self.multiply_text()),
            ("softmax", self.softmax_text()),
            ("any_moved", self.any_moved()),
            ("rescale", self.rescale_text()),
            ("accumulate", self.accumulate_text()),
            ("statistics_text", self.statistics_text()),
            ("finish", self.finish_text()),
        ]
    }

    fn any_moved(&self) -> String {
        let all: Vec<String> = (0..self.flash.groups()).map(|i| format!("moved[{i}]")).collect();
        all.join(" | ")
    }

    /// Elements of a vector of four as workgroup memory is declared.
    const fn unit(&self) -> u32 {
        if self.flash.vectors { 1 } else { 4 }
    }

    /// The functions that load four elements of a state's row of one head.
    fn loads_text(&self) -> String {
        let kernel = self.kernel;
        let one = |name: &str, binding: &str, format: StateFormat, four: &str| {
            let vector =
                format!("{binding}[(cache_row(slot, position) * KV_HEADS + kv) * {four} + j]");
            let half = match format {
                StateFormat::F16 => vector,
                StateFormat::F32 => format!("vec4<f16>({vector})"),
                StateFormat::Q8 => unreachable!("blocks are not taken by matrices"),
            };
            format!(
                "fn load_{name}(slot: u32, position: u32, kv: u32, j: u32) -> vec4<f16> {{ return {half}; }}\n"
            )
        };
        one("key", "keys", kernel.key_format, "KEY4")
            + &one("value", "values", kernel.value_format, "VALUE4")
    }

    /// The functions that write and read workgroup memory, in vectors of four.
    fn access_text(&self) -> String {
        let write = |function: &str, array: &str, ty: &str| {
            let body = match self.flash.vectors {
                true => format!("{array}[at] = four;"),
                false => ["x", "y", "z", "w"]
                    .iter()
                    .enumerate()
                    .map(|(e, axis)| format!("{array}[4u * at + {e}u] = four.{axis}; "))
                    .collect(),
            };
            format!("fn {function}(at: u32, four: vec4<{ty}>) {{ {body} }}\n")
        };
        let read = match self.flash.vectors {
            true => "scores[at]".to_string(),
            false => format!(
                "vec4({})",
                [0, 1, 2, 3].map(|e| format!("scores[4u * at + {e}u]")).join(", ")
            ),
        };
        write("put_staged", "staged", "f16")
            + &write("put_weights", "weights", "f16")
            + &write("put_scores", "scores", "f32")
            + &format!("fn score_four(at: u32) -> vec4<f32> {{ return {read}; }}\n")
    }

    fn score_text(&self) -> String {
        let capped = match self.kernel.attention.softcap {
            None => "four".to_string(),
            // Beyond 15 nothing changes, but Metal's fast tanh overflows.
            Some(cap) => {
                format!("{0} * tanh(clamp(four / {0}, vec4(-15.0), vec4(15.0)))", float(cap))
            }
        };
        match self.kernel.attention.alibi {
            None => format!("    let score = {capped};"),
            // Masked positions may be beyond the row's own.
            Some(_) => format!("    let score = {capped} - slope * (f32(at) - vec4<f32>(place));"),
        }
    }

    fn seen_text(&self) -> String {
        match self.kernel.attention.window {
            None => "place <= vec4(at)".to_string(),
            Some(window) => format!("(place <= vec4(at)) & (vec4(at) - place < vec4({window}u))"),
        }
    }

    /// A matrix type.
    fn matrix(&self, scalar: &str, role: &str) -> String {
        format!("coop_mat{0}x{0}<{scalar}, {role}>", self.flash.size)
    }

    /// A pointer to vector `at` of workgroup memory.
    fn at(&self, array: &str, at: &str) -> String {
        format!("&{array}[({at}) * UNIT]")
    }

    /// Matrices across a subgroup's part of `elements` of a head.
    const fn matrices(&self, elements: u32) -> u32 {
        elements / self.flash.parts / self.flash.size
    }

    /// Pairs of a matrix of rows and one of a subgroup's part of `elements`.
    fn each(&self, elements: u32) -> impl Iterator<Item = (u32, u32)> + use<> {
        let across = self.matrices(elements);
        (0..self.flash.held).flat_map(move |i| (0..across).map(move |j| (i, j)))
    }
}
