//! Models that exist only as shapes: real architectures with pseudo-random weights made on the fly,
//! to measure speed without a file.
//!
//! Weights repeat a block of noise whose length is prime, so that making them runs at the speed of
//! copying memory and no two rows of a matrix are equal. Their size keeps what flows through the
//! layers finite; the text such a model writes means nothing.

use crate::arch::{Facts, FactsTable, LlamaShape, MetaValue};
use crate::noise::push_block;
use quarrel_ir::format::Format;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use std::borrow::Cow;

/// A shape that can be asked for by name.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    extents: LlamaShape,
    /// Whether the embedding serves as the output matrix too.
    tied: bool,
}

const fn llama(layers: u64, width: u64, heads: u64, kv_heads: u64, ffn: u64) -> LlamaShape {
    LlamaShape { layers, width, heads, kv_heads, ffn, vocabulary: 128_256 }
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "smollm2-135m",
        extents: LlamaShape { vocabulary: 49_152, ..llama(30, 576, 9, 3, 1536) },
        tied: true,
    },
    Shape { name: "llama-1b", extents: llama(16, 2048, 32, 8, 8192), tied: true },
    Shape { name: "llama-8b", extents: llama(32, 4096, 32, 8, 14_336), tied: false },
];

/// Blocks of the repeated noise, a prime.
const NOISE_BLOCKS: usize = 65_537;

/// A shape with its weights.
#[derive(Clone, Debug)]
pub struct Synthetic {
    name: String,
    facts: FactsTable,
}

/// A synthetic model was asked for in a way that makes none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntheticError {
    /// Not `SHAPE:FORMAT`.
    #[error(
        "{0:?} is not SHAPE:FORMAT, such as llama-1b:Q4_0. Shapes: {shapes}; formats: {formats}",
        shapes = shape_names(),
        formats = format_names()
    )]
    Form(String),
    /// No shape of that name.
    #[error("there is no shape {0:?}; shapes: {shapes}", shapes = shape_names())]
    Shape(String),
    /// No format of that name.
    #[error("there is no format {0:?}; formats: {formats}", formats = format_names())]
    Format(String),
}

impl Synthetic {
    /// The model that `SHAPE:FORMAT` names, such as `smollm2-135m:F16`. Matrices have the format,
    /// vectors are F32, and matrices whose rows are not whole blocks have a format of short blocks.
    ///
    /// # Errors
    /// Where the text has another form or names what is not known.
    pub fn parse(text: &str) -> Result<Synthetic, SyntheticError> {
        let (shape, format) =
            text.split_once(':').ok_or_else(|| SyntheticError::Form(text.into()))?;
        let known = SHAPES.iter().find(|known| known.name.eq_ignore_ascii_case(shape));
        let known = known.ok_or_else(|| SyntheticError::Shape(shape.into()))?;
        let format =
            Format::from_name(format).ok_or_else(|| SyntheticError::Format(format.into()))?;
        Ok(Synthetic::new(known, format))
    }

    fn new(shape: &Shape, format: Format) -> Synthetic {
        let LlamaShape { vocabulary, width, .. } = shape.extents;
        let mut facts = FactsTable::llama(&shape.extents);
        if !shape.tied {
            facts = facts.with_tensor("output.weight", &[vocabulary, width]);
        }
        let names: Vec<String> = facts.tensor_names().into_iter().map(String::from).collect();
        for name in names {
            if let Some(info) = facts.tensor(&name) {
                let format = match info.shape.len() {
                    1 => Format::F32,
                    _ => for_rows(format, info.row_len()),
                };
                let info = TensorInfo { format, ..info.clone() };
                facts = facts.with_info(info);
            }
        }
        Synthetic { name: format!("{}:{format}", shape.name), facts }
    }

    /// `SHAPE:FORMAT`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Facts for Synthetic {
    fn architecture(&self) -> Option<&str> {
        self.facts.architecture()
    }

    fn meta(&self, key: &str) -> Option<MetaValue> {
        self.facts.meta(key)
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.facts.tensor(name)
    }

    fn meta_keys(&self) -> Vec<&str> {
        self.facts.meta_keys()
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.facts.tensor_names()
    }
}

impl WeightSource for Synthetic {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.facts.tensor(name)
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        let info = self.info(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        Ok(Cow::Owned(fill(info)))
    }
}

/// `format`, or where rows of `columns` elements are not whole blocks, what llama.cpp writes then.
fn for_rows(format: Format, columns: u64) -> Format {
    match format {
        _ if format.row_bytes(columns).is_some() => format,
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        Format::Q6_K => Format::Q8_0,
        _ => Format::IQ4_NL,
    }
}

/// The tensor's bytes, the same each time.
fn fill(info: &TensorInfo) -> Vec<u8> {
    let mut random = Random::named(&info.name);
    let format = info.format;
    let blocks = info.elements() as usize / format.block_len();
    // The elements of a matrix keep the size of what they multiply; those of a vector (a norm's) are
    // near 1.
    let range = match info.shape.len() {
        1 => (1.0, 0.1),
        _ => (0.0, 1.7 / (info.row_len() as f32).sqrt()),
    };
    let mut noise = Vec::new();
    for _ in 0..blocks.min(NOISE_BLOCKS) {
        push_block(format, range, &mut || random.next(), &mut noise);
    }
    let mut bytes = Vec::with_capacity(blocks * format.block_bytes());
    let whole = bytes.capacity();
    while bytes.len() < whole {
        let rest = (whole - bytes.len()).min(noise.len());
        // `rest` is at most its length.
        bytes.extend_from_slice(&noise[..rest]);
    }
    bytes
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    /// Seeded by a name (FNV-1a).
    fn named(name: &str) -> Random {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Random(name.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn shape_names() -> String {
    SHAPES.map(|shape| shape.name).join(", ")
}

fn format_names() -> String {
    Format::ALL.map(Format::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_the_bytes_of_their_shapes_and_finite_values() {
        for format in Format::ALL {
            let model = Synthetic::parse(&format!("llama-1b:{format}")).unwrap();
            for name in ["blk.3.attn_k.weight", "blk.3.attn_norm.weight"] {
                let info = model.info(name).unwrap();
                let bytes = model.bytes(name).unwrap();
                let elements = info.elements() as usize;
                let blocks = elements / info.format.block_len();
                assert_eq!(bytes.len(), blocks * info.format.block_bytes(), "{format} {name}");
                let mut values = vec![0.0; elements];
                info.format.dequantize(&bytes, &mut values);
                let square = values.iter().map(|x| x * x).sum::<f32>() / elements as f32;
                let expected = if info.shape.len() == 1 { 1.0 } else { 1.0 / 2048.0 };
                assert!((0.5..2.0).contains(&(square / expected)), "{format} {name}: {square}");
            }
        }
    }

    #[test]
    fn a_built_in_architecture_serves_each_shape() {
        for shape in SHAPES {
            let model = Synthetic::parse(&format!("{}:q4_0", shape.name)).unwrap();
            let arch = crate::arch::select(&model, &[]).unwrap();
            let graph = arch.build(&model).unwrap();
            assert_eq!(graph.weights.iter().any(|w| w.name == "output.weight"), !shape.tied);
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, word) in
            [("llama-1b", "SHAPE:FORMAT"), ("x:F16", "llama-8b"), ("llama-1b:Q9", "Q8_0")]
        {
            let error = Synthetic::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
