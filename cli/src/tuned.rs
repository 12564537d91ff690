//! Variants of kernels that were measured to be the fastest on a device, kept in the user's cache
//! folder by `quarrel tune`.

use crate::options::PlanArgs;
use crate::{kept, output};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::PlanOptions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The kind of file that holds winners.
const KIND: &str = "tuned";

/// What was measured on a device, by a version of Quarrel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tuned {
    /// Of Quarrel: variants of another are others.
    version: String,
    /// Winners by key.
    pub(crate) winners: BTreeMap<String, Winner>,
}

/// The fastest variant of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Winner {
    pub(crate) variant: String,
    /// Microseconds of a dispatch.
    pub(crate) us: f64,
    /// The variant that is taken without tuning.
    pub(crate) usual: String,
    pub(crate) usual_us: f64,
}

impl Tuned {
    /// What is kept of a device; nothing where it is another version's, with a remark.
    pub(crate) fn load(facts: &DeviceFacts) -> Tuned {
        let version = env!("CARGO_PKG_VERSION");
        let none = || Tuned { version: version.into(), winners: BTreeMap::new() };
        match kept::load::<Tuned>(KIND, facts) {
            Some(tuned) if tuned.version == version => tuned,
            Some(tuned) => {
                output::remark(&format!(
                    "what `quarrel tune` measured with version {} is ignored: tune again\n",
                    tuned.version
                ));
                none()
            }
            None => none(),
        }
    }

    /// Keeps it; the file's path.
    ///
    /// # Errors
    /// Why it could not be kept.
    pub(crate) fn keep(&self, facts: &DeviceFacts) -> io::Result<PathBuf> {
        kept::keep(KIND, facts, self)
    }
}

/// `options` with the variants that were measured to be the fastest on a device, unless the user wants
/// none of them.
pub(crate) fn with(options: &PlanOptions, facts: &DeviceFacts, args: &PlanArgs) -> PlanOptions {
    let winners = if args.no_tuned { BTreeMap::new() } else { Tuned::load(facts).winners };
    let tuned = winners.into_iter().map(|(key, winner)| (key, winner.variant)).collect();
    PlanOptions { tuned, ..options.clone() }
}
