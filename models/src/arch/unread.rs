//! Metadata that change what a model computes: a file that does not read them would compute something
//! else, and nobody would notice.
//!
//! Listed are keys that any architecture may have, each with the values under which nothing changes. A
//! file heeds a key by reading it, if only in a `require`. Likewise with a weight's bias or scale: they
//! are part of what the weight means.

use super::error::{ArchError, ErrorKind};
use super::facts::{Facts, MetaValue};
use super::syntax::ast::Span;
use quarrel_ir::graph::Graph;
use std::collections::HashSet;

/// When a key changes nothing.
#[derive(Clone, Copy)]
enum Idle {
    /// At 0.
    Zero,
    /// At 0 or 1: a factor, where 0 is written for none.
    One,
    /// At this number.
    At(f64),
    /// Where it is true.
    True,
    /// Where it is false.
    False,
    /// Where it is this text.
    Text(&'static str),
    /// Where it is at least as many positions as a sequence has, or 0.
    Beyond,
}

const KEYS: &[(&str, Idle)] = &[
    ("rope.scaling.type", Idle::Text("none")),
    ("rope.scaling.factor", Idle::One),
    ("rope.scale_linear", Idle::One),
    ("rope.scaling.alpha", Idle::One),
    ("rope.scaling.attn_factor", Idle::One),
    ("rope.scaling.yarn_attn_factor", Idle::One),
    ("rope.scaling.yarn_ext_factor", Idle::At(1.0)),
    ("rope.scaling.yarn_beta_fast", Idle::At(32.0)),
    ("rope.scaling.yarn_beta_slow", Idle::At(1.0)),
    ("rope.scaling.yarn_log_multiplier", Idle::Zero),
    ("rope.dimension_sections", Idle::Zero),
    ("attention.causal", Idle::True),
    ("attention.sliding_window", Idle::Beyond),
    ("attention.max_alibi_bias", Idle::Zero),
    ("attention.clamp_kqv", Idle::Zero),
    ("attention.scale", Idle::Zero),
    ("attention.output_scale", Idle::One),
    ("attention.value_scale", Idle::One),
    ("attention.temperature_scale", Idle::Zero),
    ("attn_logit_softcapping", Idle::Zero),
    ("router_logit_softcapping", Idle::Zero),
    ("final_logit_softcapping", Idle::Zero),
    ("logit_scale", Idle::One),
    ("residual_scale", Idle::One),
    ("embedding_scale", Idle::One),
    ("expert_weights_scale", Idle::One),
    ("expert_gating_func", Idle::One),
    ("expert_group_count", Idle::One),
    ("leading_dense_block_count", Idle::Zero),
    ("nextn_predict_layers", Idle::Zero),
    ("swin_norm", Idle::False),
    ("num_loops", Idle::One),
    ("ssm.dt_b_c_rms", Idle::False),
];

impl Idle {
    fn holds(self, value: &MetaValue, context: u64) -> bool {
        let number = |is: &dyn Fn(f64) -> bool| match value {
            MetaValue::Number(x) => is(*x),
            MetaValue::List(all) => all.iter().all(|x| self.holds(x, context)),
            MetaValue::Bool(_) | MetaValue::Text(_) => false,
        };
        match self {
            Idle::Zero => number(&|x| x == 0.0),
            Idle::One => number(&|x| x == 0.0 || x == 1.0),
            Idle::At(idle) => number(&|x| x == idle),
            Idle::True => *value == MetaValue::Bool(true),
            Idle::False => *value == MetaValue::Bool(false),
            Idle::Text(idle) => *value == MetaValue::Text(idle.into()),
            Idle::Beyond => number(&|x| x <= 0.0 || x >= context as f64),
        }
    }
}

/// An error about the first tensor that belongs to a weight of `graph`, as its bias or scale, and that
/// the graph does not read; `name` is where the file is named.
pub(super) fn check_parts(facts: &dyn Facts, graph: &Graph, name: Span) -> Result<(), ArchError> {
    let used: HashSet<&str> = graph.weights.iter().map(|info| info.name.as_str()).collect();
    let stems = graph.weights.iter().filter_map(|info| info.name.strip_suffix(".weight"));
    let parts = stems.flat_map(|stem| [format!("{stem}.bias"), format!("{stem}.scale")]);
    for part in parts {
        if facts.tensor(&part).is_some() && !used.contains(part.as_str()) {
            let message = format!("the model has `{part}`, which this file does not use");
            return Err(ArchError::new(ErrorKind::Weight, message)
                .label(name, "its results would be wrong")
                .help(format!("name it where its weight is used, as in weight(\"{part}\")")));
        }
    }
    Ok(())
}

/// An error about the first key that the model has, that changes numbers and that was not `read`;
/// `name` is where the file is named.
pub(super) fn check(
    facts: &dyn Facts,
    context: u64,
    read: impl Fn(&str) -> bool,
    name: Span,
) -> Result<(), ArchError> {
    let Some(architecture) = facts.architecture() else { return Ok(()) };
    for (key, idle) in KEYS {
        let full = format!("{architecture}.{key}");
        let Some(value) = facts.meta(&full).filter(|_| !read(key)) else { continue };
        if idle.holds(&value, context) {
            continue;
        }
        let shown = match value {
            MetaValue::Number(x) => format!(" = {x}"),
            MetaValue::Bool(x) => format!(" = {x}"),
            MetaValue::Text(text) => format!(" = {text:.40?}"),
            MetaValue::List(_) => String::new(),
        };
        let message = format!("the model has `{full}`{shown}, which this file does not describe");
        return Err(ArchError::new(ErrorKind::Unsupported, message)
            .label(name, "its results would be wrong")
            .help(format!(
                "describe what it changes with meta(\"{key}\", …), or refuse such models: \
                 `require meta(\"{key}\", …) == … else \"…\"`"
            )));
    }
    Ok(())
}
