//! Which format each tensor of a model has: one for all matrices, or llama.cpp's choice.

use super::SyntheticError;
use quarrel_ir::format::Format;
use quarrel_ir::weight::TensorInfo;
use std::fmt;

/// Formats of a model's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mixture {
    /// One format for all matrices.
    Pure(Format),
    /// What llama.cpp calls Q4_K_M: Q4_K, with Q6_K for the output matrix and for half of the value
    /// and down matrices (`llama_tensor_get_type` in its `llama-quant.cpp`).
    Q4KM,
}

impl Mixture {
    /// By name, in any case.
    pub(super) fn parse(text: &str) -> Result<Mixture, SyntheticError> {
        if text.eq_ignore_ascii_case("Q4_K_M") {
            return Ok(Mixture::Q4KM);
        }
        let format = Format::from_name(text);
        Ok(Mixture::Pure(format.ok_or_else(|| SyntheticError::Format(text.into()))?))
    }

    /// The names of all.
    pub(super) fn names() -> String {
        format!("{}, Q4_K_M", Format::ALL.map(Format::name).join(", "))
    }

    /// The format of a tensor in a model of `layers` layers whose output matrix is the embedding,
    /// or is not. Vectors and the matrices that choose experts are F32, as in every file.
    pub(super) fn of(self, info: &TensorInfo, layers: u64, tied: bool) -> Format {
        if info.shape.len() == 1 || info.name.contains("ffn_gate_inp") {
            return Format::F32;
        }
        let format = match self {
            Mixture::Pure(format) => format,
            Mixture::Q4KM => q4_k_m(&info.name, layers, tied),
        };
        for_rows(format, info.row_len())
    }
}

impl fmt::Display for Mixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mixture::Pure(format) => format.fmt(f),
            Mixture::Q4KM => f.write_str("Q4_K_M"),
        }
    }
}

/// What Q4_K_M makes of the matrix of this name, were its rows long enough.
fn q4_k_m(name: &str, layers: u64, tied: bool) -> Format {
    let output = name == "output.weight" || (tied && name == "token_embd.weight");
    let precious = name.contains("attn_v.") || name.contains("ffn_down");
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
    match layer {
        _ if output => Format::Q6_K,
        Some(layer) if precious && more_bits(layer, layers) => Format::Q6_K,
        _ => Format::Q4_K,
    }
}

/// Whether a layer's value and down matrices get more bits: the first and last eighth, and every
/// third between.
fn more_bits(layer: u64, layers: u64) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// `format`, or where rows of `columns` elements are not whole blocks, what llama.cpp writes then.
fn for_rows(format: Format, columns: u64) -> Format {
    let whole = |format: Format| format.row_bytes(columns).is_some();
    let shorter = match format {
        _ if whole(format) => return format,
        Format::Q2_K | Format::Q3_K | Format::TQ1_0 | Format::TQ2_0 => Format::Q4_0,
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        Format::Q6_K => Format::Q8_0,
        _ => Format::IQ4_NL,
    };
    if whole(shorter) { shorter } else { Format::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, columns: u64) -> Format {
        let info =
            TensorInfo { name: name.into(), format: Format::F16, shape: vec![1024, columns] };
        Mixture::Q4KM.of(&info, 16, true)
    }

    /// Of a Llama 3.2 1B file that llama.cpp has quantised.
    #[test]
    fn q4_k_m_is_that_of_llama_cpp() {
        let six: Vec<u64> = (0..16).filter(|&layer| more_bits(layer, 16)).collect();
        assert_eq!(six, [0, 1, 4, 7, 10, 13, 14, 15]);
        assert_eq!(of("token_embd.weight", 2048), Format::Q6_K);
        assert_eq!(of("blk.0.attn_v.weight", 2048), Format::Q6_K);
        assert_eq!(of("blk.2.attn_v.weight", 2048), Format::Q4_K);
        assert_eq!(of("blk.4.ffn_down.weight", 8192), Format::Q6_K);
        assert_eq!(of("blk.4.ffn_down_exps.weight", 8192), Format::Q6_K);
        assert_eq!(of("blk.4.ffn_up.weight", 2048), Format::Q4_K);
        assert_eq!(of("blk.4.ffn_gate_inp.weight", 2048), Format::F32);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_have_shorter_ones() {
        assert_eq!(of("blk.0.attn_v.weight", 576), Format::Q8_0);
        assert_eq!(of("blk.0.attn_q.weight", 576), Format::Q5_0);
        assert_eq!(of("blk.0.attn_q.weight", 100), Format::F16);
        assert_eq!(for_rows(Format::Q3_K, 96), Format::Q4_0);
        assert_eq!(for_rows(Format::IQ2_S, 96), Format::IQ4_NL);
    }

    #[test]
    fn an_embedding_beside_an_output_matrix_is_like_the_rest() {
        let info = TensorInfo {
            name: "token_embd.weight".into(),
            format: Format::F16,
            shape: vec![1024, 4096],
        };
        assert_eq!(Mixture::Q4KM.of(&info, 32, false), Format::Q4_K);
    }
}
