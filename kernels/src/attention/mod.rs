//! The attention family: queries against cached keys and values of their slot.
//!
//! | file | for |
//! |---|---|
//! | `tiles.rs` | several tokens, heads of any size |
//! | `own.rs` | prompts on processors that run kernels in software, a token for each thread |
//! | `quads.rs` | one token at a time on GPUs; can split a token's positions over workgroups |
//! | `flash.rs` | prompts, by cooperative matrices; its steps in `flash/` |
//! | `combine.rs` | what the workgroups of a split leave, made one |
//! | `blocks.rs` | keys and values in blocks of 8 bits an element |
//!
//! Heads of multiples of 8 elements are read eight at a time, others element by element. Tokens that
//! share a workgroup must be of one slot at ascending positions, which holds for prompt steps; decode
//! steps take one token a workgroup.

mod blocks;
mod combine;
mod flash;
mod own;
mod quads;
mod tiles;

pub use blocks::{BlockState, rounding};
pub use combine::{Combine, Split};
pub use flash::Flash;
pub use own::Own;
pub use quads::Quads;
pub use tiles::Tiles;

use crate::row_program::float;
use crate::shader::{Binding, Shader, declare};
use crate::template::fill;
use flash::FlashText;
use own::OwnText;
use quads::QuadText;
use quarrel_ir::graph::{Attention, RunDim, StateFormat};
use quarrel_ir::plan::{Access, Extent};
use tiles::TileText;

/// Everything an attention kernel is made of.
#[derive(Clone, Debug)]
pub struct AttentionKernel {
    /// Scale, window and soft-cap.
    pub attention: Attention,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Elements of a query or key head; an even number where keys are stored in 16 bits.
    pub key_size: u32,
    /// Elements of a value head; an even number where values are stored in 16 bits.
    pub value_size: u32,
    /// Where the rows of keys and values are.
    pub rows: CacheRows,
    /// Slots of the states.
    pub slots: u32,
    /// How keys are stored.
    pub key_format: StateFormat,
    /// How values are stored.
    pub value_format: StateFormat,
    /// WGSL expression for the number of tokens.
    pub count: String,
    /// Whether the result is stored in F16, as only [`Shape::Flash`] does.
    pub halves: bool,
    /// Bindings besides the kernel's own, which `count` may use.
    pub extra: Vec<Binding>,
    /// How it goes about it.
    pub shape: Shape,
}

/// How an attention kernel goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// In tiles of positions.
    Tiles(Tiles),
    /// A token for each thread: many tokens.
    Own(Own),
    /// Four lanes to a position: one token at a time, heads of multiples of 8 elements.
    Quads(Quads),
    /// By cooperative matrices, which round queries and weights to F16: many tokens, heads of whole
    /// matrices.
    Flash(Flash),
}

impl Shape {
    /// Workgroups that share the positions of a token and head.
    pub const fn splits(&self) -> u32 {
        match self {
            Shape::Tiles(_) | Shape::Own(_) | Shape::Flash(_) => 1,
            Shape::Quads(quads) => quads.splits,
        }
    }
}

impl AttentionKernel {
    /// The kernel's bindings: `q`, `keys`, `values`, `slots`, `positions`, `out`, those of
    /// [`scales`](AttentionKernel::scales), then the extra ones. Where positions are split, `out`
    /// holds the partials of a [`Split`].
    pub fn bindings(&self) -> Vec<Binding> {
        let by_matrices = matches!(self.shape, Shape::Flash(_));
        let state = |format, size| match (format, in_eights(size)) {
            (StateFormat::Q8, _) => "vec2<u32>",
            (StateFormat::F16, _) if by_matrices => "vec4<f16>",
            (StateFormat::F16, true) => "vec4<u32>",
            (StateFormat::F16, false) => "u32",
            (StateFormat::F32, _) => floats(size),
        };
        let read =
            |name: &str, element| Binding { name: name.into(), element, access: Access::Read };
        let out = if self.halves { "vec4<f16>" } else { floats(self.value_size) };
        let mut all = vec![
            read("q", floats(self.key_size)),
            read("keys", state(self.key_format, self.key_size)),
            read("values", state(self.value_format, self.value_size)),
            read("slots", "u32"),
            read("positions", "u32"),
            Binding { name: "out".into(), element: out, access: Access::Write },
        ];
        all.extend(self.scales().into_iter().map(|(name, _)| read(name, "u32")));
        all.extend(self.extra.iter().cloned());
        all
    }

    /// The bindings through which scales are read, and whether each is of the keys: a second view of
    /// the states that are stored in blocks.
    pub fn scales(&self) -> Vec<(&'static str, bool)> {
        let both =
            [("key_scales", true, self.key_format), ("value_scales", false, self.value_format)];
        let blocks = both.into_iter().filter(|(.., format)| *format == StateFormat::Q8);
        blocks.map(|(name, keys, _)| (name, keys)).collect()
    }

    /// What its workgroups leave, where they share positions.
    pub fn split(&self) -> Option<Split> {
        let splits = self.shape.splits();
        let split = Split { heads: self.heads, value_size: self.value_size, splits };
        (splits > 1).then_some(split)
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        match self.shape {
            Shape::Tiles(tiles) => TileText { kernel: self, tiles }.shader(),
            Shape::Own(own) => OwnText { kernel: self, own }.shader(),
            Shape::Quads(quads) => QuadText { kernel: self, quads }.shader(),
            Shape::Flash(flash) => FlashText { kernel: self, flash }.shader(),
        }
    }

    /// Query heads of a workgroup.
    const fn workgroup_heads(&self) -> u32 {
        match self.shape {
            Shape::Tiles(tiles) => tiles.heads,
            Shape::Own(own) => own.heads,
            Shape::Quads(quads) => quads.heads,
            Shape::Flash(_) => self.heads / self.kv_heads,
        }
    }

    /// Workgroups: along the heads, along the tokens of a step, and along a token's positions.
    pub const fn grid(&self) -> [Extent; 3] {
        let (tile, times) = match self.shape {
            Shape::Tiles(tiles) => (tiles.tokens, 1),
            Shape::Own(own) => (own.threads, 1),
            Shape::Quads(_) => (1, 1),
            // A row is a token and a head.
            Shape::Flash(flash) => (flash.rows(), self.heads / self.kv_heads),
        };
        [
            Extent::Const(self.heads / self.workgroup_heads()),
            Extent::Tiles { dim: RunDim::Tokens, tile, times },
            Extent::Const(self.shape.splits()),
        ]
    }

    /// WGSL for the oldest position that a token at `position` sees.
    fn oldest(&self, position: &str) -> String {
        match self.attention.window {
            None => "0u".to_string(),
            Some(window) => format!("{position} - min({position}, {}u)", window.max(1) - 1),
        }
    }

    /// WGSL for whether a token at `at` sees `position`, which is not older than the workgroup's oldest.
    fn sees(&self, at: &str, position: &str) -> String {
        match self.attention.window {
            None => format!("{position} <= {at}"),
            Some(window) => format!("{position} <= {at} && {at} - {position} < {window}u"),
        }
    }

    /// WGSL for a score, soft-capped, with the bias of query head `head` for a token at `at`, where there
    /// are such. Masked positions may be beyond the token's own.
    fn biased(&self, score: &str, head: &str, at: &str, position: &str) -> String {
        let score = match self.attention.softcap {
            None => score.to_string(),
            // Beyond 15 nothing changes, but Metal's fast tanh overflows.
            Some(cap) => format!("{0} * tanh(clamp({score} / {0}, -15.0, 15.0))", float(cap)),
        };
        match self.attention.alibi {
            None => score,
            Some(_) => format!("{score} - slope({head}) * (f32({at}) - f32({position}))"),
        }
    }

    /// The functions that load eight elements of a key, of a value and four of a query.
    fn loads(&self) -> String {
        self.load_text("load_key", "keys", self.key_format, self.key_size)
            + &self.load_text("load_value", "values", self.value_format, self.value_size)
            + &load_query(self.key_size)
    }

    /// A template filled with `holes`, the functions `loads` and with what all shapes have.
    fn fill(&self, template: &str, loads: &str, holes: &[(&str, String)]) -> String {
        let (key_size, value_size) = (self.key_size, self.value_size);
        let loads = format!("{loads}{}", self.slope_text());
        let number = |n: u32| n.to_string();
        let of_heads = fill(
            include_str!("heads.wgsl"),
            &[
                ("bindings", &declare(&self.bindings())),
                ("heads", &number(self.workgroup_heads())),
                ("all_heads", &number(self.heads)),
                ("share", &number(self.heads / self.kv_heads)),
                ("kv_heads", &number(self.kv_heads)),
                ("key4", &number(2 * key_size.div_ceil(8))),
                ("value4", &number(2 * value_size.div_ceil(8))),
                ("key_row", &number(row_stride(key_size))),
                ("value_row", &number(row_stride(value_size))),
                ("loads", &loads),
                ("cache_row", &row_function("cache_row", self.rows)),
            ],
        );
        let own = holes.iter().map(|(name, text)| (*name, text.as_str()));
        let all: Vec<(&str, &str)> = own.chain([("of_heads", of_heads.as_str())]).collect();
        fill(template, &all)
    }

    /// The function that loads eight elements of a head of the state behind `binding`.
    fn load_text(&self, function: &str, binding: &str, format: StateFormat, size: u32) -> String {
        if format != StateFormat::Q8 {
            return load_function(function, binding, format, size);
        }
        let (rows, slots, heads) = (self.rows, self.slots, self.kv_heads);
        let scales = if binding == "keys" { "key_scales" } else { "value_scales" };
        BlockState { rows, slots, heads, size }.load(function, binding, scales)
    }

    /// The function of a head's slope under linear position biases; see
    /// [`alibi_slope`](quarrel_ir::graph::alibi_slope).
    fn slope_text(&self) -> String {
        let Some(bias) = self.attention.alibi else { return String::new() };
        let n = 1u32 << self.heads.max(1).ilog2();
        format!(
            "fn slope(head: u32) -> f32 {{\n    \
             let first = f32(head + 1u) / {n}.0;\n    let rest = f32(2u * max(head, {n}u) + 1u - {m}u) / {m}.0;\n    \
             return exp2(-{bias} * select(rest, first, head < {n}u));\n}}\n",
            m = 2 * n,
            bias = float(bias)
        )
    }
}

/// Where a slot's rows lie in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRows {
    /// Rows of each slot.
    pub rows: u32,
    /// Whether positions beyond them begin again at the first.
    pub ring: bool,
}

impl CacheRows {
    /// The name of the function that [`cache_row`] defines.
    pub fn name(&self) -> String {
        if self.ring { format!("ring_row_{}", self.rows) } else { "cache_row".into() }
    }
}

/// The function of slot and position that finds a row of a state: the only place that knows where
/// rows lie.
pub fn cache_row(rows: CacheRows) -> String {
    row_function(&rows.name(), rows)
}

fn row_function(name: &str, rows: CacheRows) -> String {
    let each = rows.rows;
    let position = if rows.ring { format!("position % {each}u") } else { "position".into() };
    format!(
        "fn {name}(slot: u32, position: u32) -> u32 {{ return slot * {each}u + {position}; }}\n"
    )
}

/// Whether heads of `size` elements are read eight elements at a time.
const fn in_eights(size: u32) -> bool {
    size.is_multiple_of(8)
}

/// The type under which floats of heads of `size` elements are bound.
const fn floats(size: u32) -> &'static str {
    if in_eights(size) { "vec4<f32>" } else { "f32" }
}

/// From one head of a state to the next, in what [`load_function`] counts.
const fn row_stride(size: u32) -> u32 {
    if in_eights(size) { size / 8 } else { size }
}

/// A function that loads chunk `c` of eight elements of a state's head. Beyond the end of a head are
/// elements of its own again: queries have zeros there, and such sums of values are not stored.
fn load_function(name: &str, binding: &str, format: StateFormat, size: u32) -> String {
    let words = |words: [String; 4]| {
        let [x, y, z, w] = words.map(|word| format!("unpack2x16float({word})"));
        format!("Eight(vec4({x}, {y}), vec4({z}, {w}))")
    };
    let (last, pair) = (size.saturating_sub(1), size.saturating_sub(2));
    let body = match (format, in_eights(size)) {
        (StateFormat::Q8, _) => unreachable!("blocks have a function of their own"),
        (StateFormat::F16, true) => format!(
            "let w = {binding}[head + c];\n    return {};",
            words(["w.x", "w.y", "w.z", "w.w"].map(String::from))
        ),
        (StateFormat::F32, true) => {
            format!("return Eight({binding}[2u * (head + c)], {binding}[2u * (head + c) + 1u]);")
        }
        (StateFormat::F16, false) => {
            let word = |i| format!("{binding}[(head + min(8u * c + {}u, {pair}u)) / 2u]", 2 * i);
            format!("return {};", words([0, 1, 2, 3].map(word)))
        }
        (StateFormat::F32, false) => {
            let element = |i| format!("{binding}[head + min(8u * c + {i}u, {last}u)]");
            let [low, high] = [[0, 1, 2, 3], [4, 5, 6, 7]].map(|four| four.map(element).join(", "));
            format!("return Eight(vec4({low}), vec4({high}));")
        }
    };
    format!("fn {name}(head: u32, c: u32) -> Eight {{\n    {body}\n}}\n")
}

/// The function that loads four elements of a query head, zeros beyond its end.
fn load_query(size: u32) -> String {
    let body = match in_eights(size) {
        true => "q[head * KEY4 + j]".to_string(),
        false => {
            let last = size.saturating_sub(1);
            let element = |i| {
                let at = format!("4u * j + {i}u");
                format!("select(0.0, q[head * {size}u + min({at}, {last}u)], {at} < {size}u)")
            };
            format!("vec4({})", [0, 1, 2, 3].map(element).join(", "))
        }
    };
    format!("fn load_query(head: u32, j: u32) -> vec4<f32> {{ return {body}; }}\n")
}

/// The function that stores four elements of a head's result, those of them that it has.
fn store_out(size: u32) -> String {
    let body = match in_eights(size) {
        true => "out[head * VALUE4 + j] = four;".to_string(),
        false => format!(
            "for (var i = 0u; i < 4u; i++) {{ if (4u * j + i < {size}u) {{ out[head * {size}u + 4u * j + i] = four[i]; }} }}"
        ),
    };
    format!("fn store_out(head: u32, j: u32, four: vec4<f32>) {{ {body} }}\n")
}

#[cfg(test)]
mod tests;
