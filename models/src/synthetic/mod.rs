//! Models that exist only as shapes: real architectures with pseudo-random weights made on the fly,
//! to measure speed without a file.
//!
//! | file | what it does |
//! |---|---|
//! | `shapes.rs` | metadata and tensors of each shape |
//! | `mixture.rs` | the format of each tensor |
//! | `fill.rs` | its bytes |
//!
//! A tensor's bytes are made when they are asked for, and belong to whoever asked: a model is never
//! in memory as a whole. The elements' size keeps what flows through the layers finite; the text
//! such a model writes means nothing.

mod fill;
mod mixture;
mod shapes;

use crate::arch::{Facts, FactsTable, MetaValue};
use crate::gguf;
use mixture::Mixture;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use shapes::{SHAPES, Shape};
use std::borrow::Cow;

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
        formats = Mixture::names()
    )]
    Form(String),
    /// No shape of that name.
    #[error("there is no shape {0:?}; shapes: {shapes}", shapes = shape_names())]
    Shape(String),
    /// No format of that name.
    #[error("there is no format {0:?}; formats: {formats}", formats = Mixture::names())]
    Format(String),
    /// A number of layers that the shape cannot be cut to.
    #[error("{shape} has {has} layers: it can be cut to 1 to {has}, not to {wanted}")]
    Layers {
        /// The shape.
        shape: &'static str,
        /// Its layers.
        has: u64,
        /// What was asked for.
        wanted: u64,
    },
}

impl Synthetic {
    /// The model that `SHAPE:FORMAT` names, such as `smollm2-135m:F16` or `llama-1b:Q4_K_M`, cut to
    /// its first `layers` layers. Matrices have the format, or those that llama.cpp's mixture gives
    /// them; vectors are F32, and matrices whose rows are not whole blocks have a format of short
    /// blocks.
    ///
    /// # Errors
    /// Where the text has another form or names what is not known, or there are not so many layers.
    pub fn parse(text: &str, layers: Option<u64>) -> Result<Synthetic, SyntheticError> {
        let (shape, format) =
            text.split_once(':').ok_or_else(|| SyntheticError::Form(text.into()))?;
        let known = SHAPES.iter().find(|known| known.name.eq_ignore_ascii_case(shape));
        let known = known.ok_or_else(|| SyntheticError::Shape(shape.into()))?;
        let mixture = Mixture::parse(format)?;
        match layers {
            Some(wanted) if !(1..=known.layers).contains(&wanted) => {
                Err(SyntheticError::Layers { shape: known.name, has: known.layers, wanted })
            }
            Some(layers) => {
                let mut model = Synthetic::new(&Shape { layers, ..*known }, mixture);
                model.name += &format!(", {layers} of {} layers", known.layers);
                Ok(model)
            }
            None => Ok(Synthetic::new(known, mixture)),
        }
    }

    fn new(shape: &Shape, mixture: Mixture) -> Synthetic {
        let mut facts = shape.facts();
        let names: Vec<String> = facts.tensor_names().into_iter().map(String::from).collect();
        for name in names {
            if let Some(info) = facts.tensor(&name) {
                let format = mixture.of(info, shape.layers, shape.tied);
                let info = TensorInfo { format, ..info.clone() };
                facts = facts.with_info(info);
            }
        }
        Synthetic { name: format!("{}:{mixture}", shape.name), facts }
    }

    /// Bytes of all tensors.
    pub fn size(&self) -> u64 {
        let infos = self.facts.tensor_names().into_iter().filter_map(|name| self.tensor(name));
        infos.filter_map(|info| info.format.row_bytes(info.elements())).sum()
    }

    /// The metadata of a GGUF file of this model, for programs that take nothing else: as many
    /// tokens as it has, but no text.
    pub fn metadata(&self) -> Vec<(String, gguf::Value)> {
        let entry = |key: &str| Some((key.to_string(), written(key, self.facts.meta(key)?)?));
        let mut entries: Vec<_> = self.facts.meta_keys().into_iter().filter_map(entry).collect();
        entries.push(("tokenizer.ggml.model".into(), "no_vocab".into()));
        entries
    }

    /// `SHAPE:FORMAT`, and to how many layers it was cut.
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
        Ok(Cow::Owned(fill::fill(info)))
    }
}

/// A fact as GGUF files have it: counts are U32, all other numbers F32.
fn written(key: &str, value: MetaValue) -> Option<gguf::Value> {
    let counts = !["epsilon", "freq_base", "scale"].iter().any(|end| key.ends_with(end));
    match value {
        MetaValue::Number(number) if counts => Some(gguf::Value::U32(number as u32)),
        MetaValue::Number(number) => Some(gguf::Value::F32(number as f32)),
        MetaValue::Bool(value) => Some(gguf::Value::Bool(value)),
        MetaValue::Text(text) => Some(gguf::Value::String(text)),
        MetaValue::List(_) => None,
    }
}

fn shape_names() -> String {
    SHAPES.map(|shape| shape.name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarrel_ir::format::Format;

    #[test]
    fn tensors_have_the_bytes_of_their_shapes_and_finite_values() {
        for format in Format::ALL {
            let model = Synthetic::parse(&format!("llama-1b:{format}"), None).unwrap();
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
            for format in ["q4_0", "Q4_K_M"] {
                let model = Synthetic::parse(&format!("{}:{format}", shape.name), None).unwrap();
                let arch = crate::arch::select(&model, &[]).unwrap();
                let graph = arch.build(&model).unwrap();
                assert_eq!(graph.weights.iter().any(|w| w.name == "output.weight"), !shape.tied);
                // Nothing is there that the architecture does not read.
                assert_eq!(graph.weights.len(), model.tensor_names().len(), "{}", shape.name);
            }
        }
    }

    #[test]
    fn sizes_are_those_of_real_models() {
        let gb = |text: &str| Synthetic::parse(text, None).unwrap().size() as f64 / 1e9;
        assert!((16.0..16.1).contains(&gb("llama-8b:F16")), "{}", gb("llama-8b:F16"));
        assert!((4.8..5.0).contains(&gb("llama-8b:Q4_K_M")), "{}", gb("llama-8b:Q4_K_M"));
        assert!((2.6..2.7).contains(&gb("granite-1b-a400m:BF16")));
        for shape in SHAPES {
            let model = Synthetic::parse(&format!("{}:F32", shape.name), None).unwrap();
            for name in model.tensor_names() {
                let bytes = 4 * model.info(name).unwrap().elements();
                assert!(bytes < 1 << 31, "{} {name} has {bytes} bytes", shape.name);
            }
        }
    }

    #[test]
    fn a_shape_can_be_cut() {
        let model = Synthetic::parse("llama-8b:Q4_K_M", Some(2)).unwrap();
        assert_eq!(model.name(), "llama-8b:Q4_K_M, 2 of 32 layers");
        assert_eq!(model.meta("llama.block_count"), Some(MetaValue::Number(2.0)));
        assert!(model.info("blk.1.ffn_up.weight").is_some());
        assert!(model.info("blk.2.ffn_up.weight").is_none());
        for wanted in [0, 33] {
            let error = Synthetic::parse("llama-8b:F16", Some(wanted)).unwrap_err().to_string();
            assert!(error.contains("32 layers"), "{error}");
        }
    }

    #[test]
    fn a_shape_can_be_written_as_a_file() {
        let model = Synthetic::parse("granite-1b-a400m:Q4_0", Some(1)).unwrap();
        let names = model.tensor_names();
        let tensors: Vec<_> = names.iter().map(|name| model.info(name).unwrap().clone()).collect();
        let mut bytes = Vec::new();
        let of = |info: &TensorInfo| model.bytes(&info.name);
        gguf::write::write_model(&mut bytes, &model.metadata(), &tensors, &of).unwrap();
        let file = gguf::GgufFile::from_bytes(bytes).unwrap();
        for key in model.meta_keys() {
            let (MetaValue::Number(got), Some(MetaValue::Number(wanted))) =
                (Facts::meta(&file, key).unwrap(), model.meta(key))
            else {
                assert_eq!(Facts::meta(&file, key), model.meta(key));
                continue;
            };
            assert!((got - wanted).abs() <= 1e-6 * wanted.abs(), "{key}: {got}, {wanted}");
        }
        for info in &tensors {
            assert_eq!(file.info(&info.name), Some(info));
            assert_eq!(file.bytes(&info.name).unwrap(), model.bytes(&info.name).unwrap());
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, word) in
            [("llama-1b", "SHAPE:FORMAT"), ("x:F16", "llama-8b"), ("llama-1b:Q9", "Q8_0")]
        {
            let error = Synthetic::parse(text, None).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
