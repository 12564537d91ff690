//! Which variant of a kernel was taken, why, and what else there was.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Variants by key: see [`Choice::key`].
pub type Variants = BTreeMap<String, String>;

/// The choice among the variants of a kernel that a device can run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What is computed: the family, formats, sizes and most tokens of a step, such as
    /// `product/F16/3072x576/1/x2/computed` (`x2`: two linears share units; `computed`: so is x).
    /// The same in every plan of the same version of Quarrel; kernels of one key have the same
    /// variants.
    pub key: String,
    /// The name of the variant that was taken.
    pub chosen: String,
    /// Who chose.
    pub by: ChosenBy,
    /// Why, in a sentence.
    pub reason: String,
    /// All variants that the device can run, the chosen one among them, the one preferred by rule
    /// first.
    pub alternatives: Vec<Alternative>,
}

/// Who chose a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChosenBy {
    /// The rules, which were tuned by measurements on a few devices.
    Rule,
    /// A measurement on the user's device: [`PlanOptions::tuned`](super::PlanOptions::tuned).
    Tuning,
    /// The user: [`PlanOptions::choices`](super::PlanOptions::choices).
    User,
}

/// A variant that could be taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Its name, which names its sizes.
    pub name: String,
    /// Microseconds that the model gives it, for the most tokens of a step and a full context. The
    /// model is for comparing variants of one kernel with each other and for nothing else.
    pub predicted_us: f64,
    /// Whether other kernels differ with it, so that it cannot be judged by this kernel's time alone.
    pub changes_others: bool,
}
