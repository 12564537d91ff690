//! The weights as the plan expands them at load, for the reference to compute with the same.

use quarrel_ir::format::Format;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::Plan;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A weight source behind a plan's load program.
pub(crate) struct AsLoaded<'a> {
    source: &'a dyn WeightSource,
    /// Tensors that are expanded.
    expanded: BTreeMap<String, TensorInfo>,
}

impl<'a> AsLoaded<'a> {
    /// `source` with tensors in the formats that `plan` gives them; `graph` is made to want these.
    pub(crate) fn new(
        plan: &Plan,
        graph: &mut Graph,
        source: &'a dyn WeightSource,
    ) -> AsLoaded<'a> {
        let mut expanded = BTreeMap::new();
        for tensor in &plan.load {
            for info in graph.weights.iter_mut().filter(|w| tensor.sources.contains(&w.name)) {
                if info.format != tensor.format && rounds(tensor.format) {
                    info.format = tensor.format;
                    expanded.insert(info.name.clone(), info.clone());
                }
            }
        }
        AsLoaded { source, expanded }
    }
}

/// Whether expanding to this format may change elements.
fn rounds(format: Format) -> bool {
    matches!(format, Format::F16 | Format::BF16)
}

impl WeightSource for AsLoaded<'_> {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.expanded.get(name).or_else(|| self.source.info(name))
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        let bytes = self.source.bytes(name)?;
        let (Some(to), Some(from)) = (self.expanded.get(name), self.source.info(name)) else {
            return Ok(bytes);
        };
        let mut floats = vec![0.0; from.elements() as usize];
        from.format.dequantize(&bytes, &mut floats);
        let mut expanded = vec![0; floats.len() * to.format.block_bytes()];
        to.format.store(&floats, &mut expanded);
        Ok(Cow::Owned(expanded))
    }

    fn release(&self, name: &str) {
        self.source.release(name);
    }
}
