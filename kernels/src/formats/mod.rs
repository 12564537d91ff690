//! How kernels read packed weights: one snippet a format, shared by all products and row gathers.
//!
//! A snippet defines, with its own prefix in place of `$`:
//! - `struct $raw` and `fn $load(chunk: u32) -> $raw`: the words of one chunk;
//! - `fn $unit(raw: $raw, i: u32) -> vec4<f32>`: elements `4 i .. 4 i + 4` of it, before scaling;
//! - where [`Snippet::scaled`], `fn $scale(raw: $raw) -> f32`, and where [`Snippet::offset`],
//!   `fn $offset(raw: $raw) -> f32`: an element is `unit · scale + offset`.
//!
//! Planes are bound under the names `$p0`, `$p1`.

use crate::shader::Binding;
use quarrel_ir::format::Format;
use quarrel_ir::plan::Access;

/// The snippet of a format.
#[derive(Clone, Copy, Debug)]
pub struct Snippet {
    text: &'static str,
    /// Whether elements are multiplied by a chunk's scale.
    pub scaled: bool,
    /// Whether a chunk's offset is added to elements.
    pub offset: bool,
}

/// The snippet for `format`.
pub const fn snippet(format: Format) -> Snippet {
    let (text, scaled, offset) = match format {
        Format::F32 => (include_str!("f32.wgsl"), false, false),
        Format::F16 => (include_str!("f16.wgsl"), false, false),
        Format::BF16 => (include_str!("bf16.wgsl"), false, false),
        Format::Q4_0 => (include_str!("q4_0.wgsl"), true, false),
        Format::Q4_1 => (include_str!("q4_1.wgsl"), true, true),
        Format::Q5_0 => (include_str!("q5_0.wgsl"), true, false),
        Format::Q5_1 => (include_str!("q5_1.wgsl"), true, true),
        Format::Q8_0 => (include_str!("q8_0.wgsl"), true, false),
    };
    Snippet { text, scaled, offset }
}

impl Snippet {
    /// The text with names that begin with `prefix`.
    pub fn text(&self, prefix: &str) -> String {
        self.text.replace('$', prefix)
    }
}

/// The bindings of a packed tensor's planes under `prefix`.
pub fn plane_bindings(format: Format, prefix: &str) -> Vec<Binding> {
    let planes = format.packing().planes.iter().enumerate();
    planes
        .map(|(index, plane)| Binding {
            name: format!("{prefix}p{index}"),
            element: plane.element,
            access: Access::Read,
        })
        .collect()
}

/// An expression for elements `4 i .. 4 i + 4` of a loaded chunk, scale and offset applied.
pub fn unit_value(format: Format, prefix: &str, raw: &str, i: &str) -> String {
    let snippet = snippet(format);
    let mut text = format!("{prefix}unit({raw}, {i})");
    if snippet.scaled {
        text = format!("{text} * {prefix}scale({raw})");
    }
    if snippet.offset {
        text = format!("{text} + {prefix}offset({raw})");
    }
    text
}
