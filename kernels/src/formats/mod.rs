//! How kernels read packed weights: one snippet a format, shared by all products and row gathers.
//!
//! A snippet defines, with its own prefix in place of `$`:
//! - `struct $raw` and `fn $load(chunk: u32) -> $raw`: the words of one chunk;
//! - `fn $unit(raw: $raw, i: u32) -> vec4<f32>`: elements `4 i .. 4 i + 4` of it, before scaling;
//! - where [`Snippet::scaled`], `fn $scale(raw: $raw, i: u32) -> f32`, and where [`Snippet::offset`],
//!   `fn $offset(raw: $raw, i: u32) -> f32`: an element of unit `i` is `unit · scale + offset`. Both
//!   are the same for each [`Snippet::group`] units;
//! - where [`Snippet::centre`], `fn $bytes(raw: $raw, i: u32) -> u32`: the unit's elements before
//!   scaling as four signed bytes, each more than the element by the centre;
//! - where [`Snippet::twos`], in place of `$load`, `fn $two(pair: u32) -> $both`: the words of chunks
//!   `2 pair` and `2 pair + 1`, as `a` and `b`;
//! - where [`Snippet::spreads`] besides, `fn $spread(raw: $raw, i: u32) -> vec4<f32>`: the elements of
//!   unit `i` plus the centre, each times a power of two, and `fn $narrow(i: u32) -> vec4<f32>`: one
//!   over those powers, for what they are multiplied with;
//! - where rows are [interleaved](Interleaving), `fn $load_at(place: u32) -> $raw`: the same by the
//!   chunk's index in the planes, which `fn $place(chunk: u32) -> u32` yields.
//!
//! Chunks are counted row after row; pairs of `$two` by their index in the planes. Planes are bound
//! under the names `$p0`, `$p1`, …. The first one of formats other than F32 is read by
//! `fn $four(i: u32) -> vec4<u32>`, which [`Words`] defines.

use crate::shader::Binding;
use quarrel_ir::format::Format;
use quarrel_ir::packing::Interleaving;
use quarrel_ir::plan::Access;

/// The snippet of a format.
#[derive(Clone, Copy, Debug)]
pub struct Snippet {
    text: &'static [&'static str],
    /// Units that share a scale and an offset; a chunk's are whole groups.
    pub group: u32,
    /// Whether elements are multiplied by a chunk's scale.
    pub scaled: bool,
    /// Whether a chunk's offset is added to elements.
    pub offset: bool,
    /// What bytes are more than elements by, where elements are to be had as bytes.
    pub centre: Option<u32>,
    /// Whether a chunk of 32 elements is four words `q` of nibbles.
    nibbles: bool,
    /// The functions that read one chunk and two, where there is a choice.
    loads: Option<(&'static str, &'static str)>,
}

/// What there is beside a chunk's units.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Scale,
    ScaleAndOffset,
}

/// The snippet for `format`.
pub const fn snippet(format: Format) -> Snippet {
    use Beside::{Nothing, Scale, ScaleAndOffset};
    let (text, elements, beside): (&[&str], usize, Beside) = match format {
        Format::F32 => (&[include_str!("f32.wgsl")], 4, Nothing),
        Format::F16 => (&[include_str!("f16.wgsl")], 8, Nothing),
        Format::BF16 => (&[include_str!("bf16.wgsl")], 8, Nothing),
        Format::Q4_0 => (&[include_str!("q4_0.wgsl")], 32, Scale),
        Format::Q4_1 => (&[include_str!("q4_1.wgsl")], 32, ScaleAndOffset),
        Format::Q5_0 => (&[include_str!("q5_0.wgsl")], 32, Scale),
        Format::Q5_1 => (&[include_str!("q5_1.wgsl")], 32, ScaleAndOffset),
        Format::Q8_0 => (&[include_str!("q8_0.wgsl")], 32, Scale),
        Format::Q2_K => (&[include_str!("q2_k.wgsl")], 16, ScaleAndOffset),
        Format::Q3_K => (&[include_str!("q3_k.wgsl")], 16, Scale),
        Format::Q4_K => (&[include_str!("q4_k.wgsl")], 32, ScaleAndOffset),
        Format::Q5_K => (&[include_str!("q5_k.wgsl"), K_SCALES], 32, ScaleAndOffset),
        Format::Q6_K => (&[include_str!("q6_k.wgsl")], 16, Scale),
        Format::IQ4_NL => (&[include_str!("iq4_nl.wgsl"), IQ4_VALUES], 32, Scale),
        Format::IQ4_XS => (&[include_str!("iq4_xs.wgsl"), IQ4_VALUES], 32, Scale),
        Format::MXFP4 => (&[include_str!("mxfp4.wgsl"), FP4_VALUES], 32, Scale),
        Format::NVFP4 => (&[include_str!("nvfp4.wgsl"), FP4_VALUES], 16, Scale),
        Format::TQ1_0 | Format::TQ2_0 | Format::Q1_0 => (CODED, 16, Scale),
        Format::IQ1_S | Format::IQ1_M => (CODED, 16, Scale),
        Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => (CODED, 16, Scale),
        Format::IQ3_XXS | Format::IQ3_S => (CODED, 16, Scale),
    };
    Snippet {
        text,
        group: elements as u32 / 4,
        scaled: !matches!(beside, Nothing),
        offset: matches!(beside, ScaleAndOffset),
        centre: centre(format),
        nibbles: matches!(format, Format::Q4_0 | Format::Q4_1),
        loads: loads(format),
    }
}

/// The functions that read one chunk of a format and two, where both are to be had.
const fn loads(format: Format) -> Option<(&'static str, &'static str)> {
    match format {
        Format::F16 => Some((include_str!("f16_one.wgsl"), include_str!("f16_two.wgsl"))),
        Format::Q4_0 => Some((include_str!("q4_0_one.wgsl"), include_str!("q4_0_two.wgsl"))),
        Format::Q4_1 => Some((include_str!("q4_1_one.wgsl"), include_str!("q4_1_two.wgsl"))),
        Format::Q8_0 => Some((include_str!("q8_0_one.wgsl"), include_str!("q8_0_two.wgsl"))),
        _ => None,
    }
}

/// What the bytes of a format's units are more than its elements by, where there are bytes.
const fn centre(format: Format) -> Option<u32> {
    match format {
        Format::Q4_1 | Format::Q5_1 | Format::Q8_0 | Format::Q4_K | Format::Q5_K => Some(0),
        Format::Q4_0 => Some(8),
        Format::Q5_0 => Some(16),
        Format::Q6_K => Some(32),
        _ => None,
    }
}

const K_SCALES: &str = include_str!("k_scales.wgsl");
const IQ4_VALUES: &str = include_str!("iq4_values.wgsl");
const FP4_VALUES: &str = include_str!("fp4_values.wgsl");
const CODED: &[&str] = &[include_str!("coded.wgsl")];

/// How kernels load four words of a format's first plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Words {
    /// As four words of 32 bits.
    #[default]
    Fours,
    /// As two of 64 bits: processors that run kernels in software load each word of each lane by
    /// itself.
    Pairs,
    /// As four of 64 bits, of two chunks at once; where [`Snippet::twos`].
    Quads,
}

impl Words {
    /// The WGSL element type of a plane whose own is `element`.
    pub fn element(self, element: &'static str) -> &'static str {
        match (self, element) {
            (Words::Pairs | Words::Quads, "vec4<u32>" | "vec4<f32>") => "vec2<u64>",
            _ => element,
        }
    }

    /// The same for plane `index` of a packed tensor.
    fn plane_element(self, format: Format, index: usize, element: &'static str) -> &'static str {
        match (self, format, index) {
            (_, Format::F32, _) => element,
            (Words::Quads, _, 0) => "vec4<u64>",
            (Words::Quads, Format::Q4_1, 1) => "u64",
            (_, _, 0) => self.element(element),
            _ => element,
        }
    }

    /// The function `four_floats` that makes four floats of such an element, where one is needed.
    pub fn floats(self) -> String {
        match self {
            Words::Fours => String::new(),
            Words::Pairs | Words::Quads => format!(
                "fn four_floats(v: vec2<u64>) -> vec4<f32> {{ return bitcast<vec4<f32>>({HALVES}); }}\n"
            ),
        }
    }

    /// The functions that read four words of the first plane, or take them from what was read.
    fn reader(self) -> String {
        match self {
            Words::Fours => "fn $four(i: u32) -> vec4<u32> { return $p0[i]; }\n".into(),
            Words::Pairs => format!(
                "fn $four(i: u32) -> vec4<u32> {{\n    let v = $p0[i];\n    return {HALVES};\n}}\n"
            ),
            Words::Quads => {
                let half = |name, words| {
                    format!("fn ${name}(v: vec4<u64>) -> vec4<u32> {{ return {words}; }}\n")
                };
                format!(
                    "struct $both {{ a: $raw, b: $raw }}\n{}{}",
                    half("low", HALVES),
                    half("high", UPPER_HALVES)
                )
            }
        }
    }
}

/// How the function begins that reads a chunk.
const LOAD: &str = "fn $load(";

/// WGSL for the index in the planes of the first chunk of row `row`, where `several` chunks are counted
/// as one.
pub fn row_start(lie: Interleaving, row: &str, several: u64) -> String {
    let Interleaving { rows, together, chunks } = lie;
    match rows {
        1 => format!("{row} * {}u", chunks / several),
        _ => {
            let (run, own) = (rows * chunks / several, together / several);
            format!("{row} / {rows}u * {run}u + {row} % {rows}u * {own}u")
        }
    }
}

/// The function that yields a chunk's index in the planes, and the one that reads it by its number.
fn place(lie: Interleaving) -> String {
    let Interleaving { together, chunks, .. } = lie;
    let (start, turn) = (row_start(lie, "row", 1), lie.place(0, together));
    format!(
        "fn $place(chunk: u32) -> u32 {{\n    let row = chunk / {chunks}u;\n    \
         let c = chunk % {chunks}u;\n    \
         return {start} + c / {together}u * {turn}u + c % {together}u;\n}}\n\
         fn $load(chunk: u32) -> $raw {{ return $load_at($place(chunk)); }}\n"
    )
}

/// The four words of the first two words of `v` of 64 bits, the lower ones first; of the other two.
const HALVES: &str = "vec4<u32>(u32(v.x), u32(v.x >> 32u), u32(v.y), u32(v.y >> 32u))";
const UPPER_HALVES: &str = "vec4<u32>(u32(v.z), u32(v.z >> 32u), u32(v.w), u32(v.w >> 32u))";

impl Snippet {
    /// Whether elements are to be had where they are in their words.
    pub fn spreads(&self, words: Words) -> bool {
        words == Words::Quads && self.nibbles
    }

    /// Whether two chunks can be read at once.
    pub const fn twos(&self) -> bool {
        self.loads.is_some()
    }

    /// The text with names that begin with `prefix`, for `rows` that are interleaved.
    pub fn text(&self, prefix: &str, words: Words, rows: Option<Interleaving>) -> String {
        self.whole(words, rows).replace('$', prefix)
    }

    fn whole(&self, words: Words, rows: Option<Interleaving>) -> String {
        let mut text = self.text.concat();
        if let Some((one, two)) = self.loads {
            text += if words == Words::Quads { two } else { one };
        }
        if let Some(rows) = rows.filter(|_| text.contains(LOAD)) {
            text = text.replace(LOAD, "fn $load_at(") + &place(rows);
        }
        if self.spreads(words) {
            text += include_str!("nibbles.wgsl");
        }
        match text.contains("$four") || words == Words::Quads {
            true => text + &words.reader(),
            false => text,
        }
    }

    /// The same with the struct of another tensor of the format, whose names begin with `owner`.
    pub fn text_beside(
        &self,
        prefix: &str,
        owner: &str,
        words: Words,
        rows: Option<Interleaving>,
    ) -> String {
        let text = self.whole(words, rows);
        // Each snippet has its struct in one line.
        let rest: String = text
            .lines()
            .filter(|line| !line.starts_with("struct $raw"))
            .fold(String::new(), |all, line| all + line + "\n");
        rest.replace("$raw", &format!("{owner}raw")).replace('$', prefix)
    }
}

/// The bindings of a packed tensor's planes under `prefix`.
pub fn plane_bindings(format: Format, prefix: &str, words: Words) -> Vec<Binding> {
    let planes = format.packing().planes.iter().enumerate();
    planes
        .map(|(index, plane)| Binding {
            name: format!("{prefix}p{index}"),
            element: words.plane_element(format, index, plane.element),
            access: Access::Read,
        })
        .collect()
}

/// An expression for elements `4 i .. 4 i + 4` of a loaded chunk, scale and offset applied.
pub fn unit_value(format: Format, prefix: &str, raw: &str, i: &str) -> String {
    let snippet = snippet(format);
    let mut text = format!("{prefix}unit({raw}, {i})");
    if snippet.scaled {
        text = format!("{text} * {prefix}scale({raw}, {i})");
    }
    if snippet.offset {
        text = format!("{text} + {prefix}offset({raw}, {i})");
    }
    text
}
