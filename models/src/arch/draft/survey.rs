//! What a model has: which parts on which layers, their shapes, its metadata.

use crate::arch::{Facts, MetaValue};
use std::collections::{BTreeMap, BTreeSet};

/// A model's tensors by part: `attn_q` of `blk.7.attn_q.weight`.
pub(super) struct Survey<'a> {
    pub(super) facts: &'a dyn Facts,
    /// The layers that have a part, and the shape that it has on the first of them.
    parts: BTreeMap<String, (BTreeSet<u64>, Vec<u64>)>,
}

/// `text` without characters that could end a comment or a text of the language.
pub(super) fn plain(text: &str) -> String {
    let odd = |c: char| c.is_control() || c == '"' || c == '{' || c == '}';
    text.replace(odd, "_")
}

/// `blk.{i}.attn_q` of `blk.7.attn_q.weight`
pub(super) fn stem(name: &str) -> String {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    match layer_and_part(name) {
        Some((_, part)) => format!("blk.{{i}}.{}", plain(part)),
        None => plain(name),
    }
}

fn layer_and_part(name: &str) -> Option<(u64, &str)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

impl<'a> Survey<'a> {
    pub(super) fn new(facts: &'a dyn Facts) -> Survey<'a> {
        let mut parts: BTreeMap<String, (BTreeSet<u64>, Vec<u64>)> = BTreeMap::new();
        for name in facts.tensor_names() {
            let Some((layer, part)) = layer_and_part(name) else { continue };
            let part = part.strip_suffix(".weight").unwrap_or(part);
            let shape = facts.tensor(name).map(|info| info.shape.clone()).unwrap_or_default();
            let entry = parts.entry(part.into()).or_insert((BTreeSet::new(), shape));
            entry.0.insert(layer);
        }
        Survey { facts, parts }
    }

    /// The value of `general.architecture`, in characters that a text of the language may have.
    pub(super) fn architecture(&self) -> String {
        plain(self.facts.architecture().unwrap_or("unknown"))
    }

    /// Layers that have tensors, or that the metadata count.
    pub(super) fn layers(&self) -> u64 {
        let last = self.parts.values().filter_map(|(layers, _)| layers.last()).max();
        self.number("block_count")
            .map_or(last.map_or(0, |last| last.saturating_add(1)), |n| n as u64)
    }

    pub(super) fn meta(&self, key: &str) -> Option<MetaValue> {
        let own = self.facts.architecture().map(|name| format!("{name}.{key}"));
        own.and_then(|key| self.facts.meta(&key)).or_else(|| self.facts.meta(key))
    }

    pub(super) fn has_meta(&self, key: &str) -> bool {
        self.meta(key).is_some()
    }

    /// A number; the largest of a list of numbers.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.meta(key)? {
            MetaValue::Number(number) => Some(number),
            MetaValue::List(values) => values
                .into_iter()
                .filter_map(|value| match value {
                    MetaValue::Number(number) => Some(number),
                    _ => None,
                })
                .reduce(f64::max),
            _ => None,
        }
    }

    pub(super) fn is_list(&self, key: &str) -> bool {
        matches!(self.meta(key), Some(MetaValue::List(_)))
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.meta(key)? {
            MetaValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_true(&self, key: &str) -> bool {
        self.meta(key) == Some(MetaValue::Bool(true))
    }

    /// Whether some layer has this part.
    pub(super) fn has(&self, part: &str) -> bool {
        self.parts.contains_key(part)
    }

    /// Whether every layer has this part.
    pub(super) fn everywhere(&self, part: &str) -> bool {
        let count = self.parts.get(part).map_or(0, |(layers, _)| layers.len() as u64);
        count > 0 && count >= self.layers()
    }

    /// The shape of a part, outermost first; empty where no layer has it.
    pub(super) fn shape(&self, part: &str) -> &[u64] {
        self.parts.get(part).map_or(&[], |(_, shape)| shape)
    }

    /// Rows of a part's matrix.
    pub(super) fn rows(&self, part: &str) -> Option<u64> {
        let shape = self.shape(part);
        // The last two extents: experts are stacked before them.
        shape.len().checked_sub(2).and_then(|at| shape.get(at)).copied()
    }

    /// Whether there is a tensor of this name outside the layers.
    pub(super) fn has_tensor(&self, stem: &str) -> bool {
        self.facts.tensor(&format!("{stem}.weight")).or_else(|| self.facts.tensor(stem)).is_some()
    }

    /// The length of a row of a tensor outside the layers.
    pub(super) fn width(&self, stem: &str) -> u64 {
        let info = self.facts.tensor(&format!("{stem}.weight"));
        info.map_or(0, |info| info.row_len())
    }

    /// The metadata key of the norms' eps.
    pub(super) fn eps_key(&self) -> Option<&'static str> {
        let [rms, layer] = ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"];
        let keys = if self.layer_norms() { [layer, rms] } else { [rms, layer] };
        keys.into_iter().find(|key| self.has_meta(key))
    }

    /// Whether norms subtract the mean: those with a bias do, and those with that eps.
    fn layer_norms(&self) -> bool {
        let rms = self.has_meta("attention.layer_norm_rms_epsilon");
        let layer = self.has_meta("attention.layer_norm_epsilon");
        if rms != layer {
            return layer;
        }
        let norms = ["attn_norm.bias", "ffn_norm.bias", "post_attention_norm.bias"];
        norms.iter().any(|part| self.has(part)) || self.facts.tensor("output_norm.bias").is_some()
    }

    /// The norm of `x` with this weight.
    pub(super) fn norm(&self, x: &str, weight: &str) -> String {
        let kind = if self.layer_norms() { "layer_norm" } else { "rms_norm" };
        match weight {
            "" => format!("{kind}({x}, eps = eps)"),
            weight => format!("{kind}({x}, \"{weight}\", eps)"),
        }
    }

    /// The norm of `x` with this part of the layer.
    pub(super) fn layer_norm(&self, x: &str, part: &str) -> String {
        self.norm(x, &format!("blk.{{i}}.{part}"))
    }

    /// `h` with `y` added, in the share that the metadata say.
    pub(super) fn residual(&self, y: &str) -> String {
        match self.has_meta("residual_scale") {
            true if y.contains('+') => format!("h = h + part * ({y})"),
            true => format!("h = h + part * {y}"),
            false => format!("h = h + {y}"),
        }
    }
}
