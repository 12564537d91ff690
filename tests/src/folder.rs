//! Hugging Face folders made for tests.

use serde_json::{Map, Value, json};
use std::path::Path;

/// A tensor for a safetensors file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// safetensors' name of its type, such as `BF16`.
    pub dtype: &'static str,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
    /// Its data.
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// A tensor of F32 values.
    pub fn f32(name: &str, shape: &[u64], values: &[f32]) -> Tensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor { name: name.into(), dtype: "F32", shape: shape.into(), bytes }
    }
}

/// The bytes of a safetensors file.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for Tensor { name, dtype, shape, bytes } in tensors {
        let from = data.len();
        data.extend(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// Writes a folder of a configuration and one safetensors file.
///
/// # Panics
/// If the folder cannot be written.
pub fn write(folder: &Path, config: &Value, tensors: &[Tensor]) {
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    put("config.json", config.to_string().as_bytes());
    put("model.safetensors", &safetensors(tensors));
}

/// Writes the same folder with its tensors in several files and an index.
///
/// # Panics
/// If the folder cannot be written.
pub fn write_shards(folder: &Path, config: &Value, tensors: &[Tensor], shards: usize) {
    let mut map = Map::new();
    for (index, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = format!("model-{:05}-of-{shards:05}.safetensors", index + 1);
        std::fs::write(folder.join(&name), safetensors(part))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        map.extend(part.iter().map(|tensor| (tensor.name.clone(), json!(name))));
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
    for (name, json) in [("config.json", config), ("model.safetensors.index.json", &index)] {
        std::fs::write(folder.join(name), json.to_string())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
