//! Plans in files: JSON with a checksum, so that a damaged file is known as one.

use super::{PLAN_VERSION, Plan};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A file holds no plan that can be read.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// Not JSON, or not a plan's.
    #[error("it holds no plan: {0}")]
    NoPlan(serde_json::Error),
    /// Written by another version.
    #[error("it has format version {0}, this program reads {PLAN_VERSION}")]
    Version(u32),
    /// What it holds is not what was written.
    #[error("it was changed or damaged after it was written: its checksum does not match")]
    Damaged,
}

/// What every version of a plan begins with.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// What stands before the checksum in the text.
const FIELD: &str = "\"checksum\":\"";

impl Plan {
    /// The plan as one line of JSON, with the checksum of that line.
    ///
    /// # Errors
    /// None that is known: plain data always serialises.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let open = Plan { checksum: String::new(), ..self.clone() };
        let text = serde_json::to_string(&open)?;
        // The field stands near the beginning, before any text of a model's.
        Ok(text.replacen(FIELD, &format!("{FIELD}{}", checksum(&text)), 1))
    }

    /// Reads what [`to_json`](Plan::to_json) wrote.
    ///
    /// # Errors
    /// A text that is no plan, of another version, or not what was written. Whether the plan keeps
    /// its rules is for [`Plan::verify`].
    pub fn from_json(text: &str) -> Result<Plan, SavedError> {
        let Head { version } = serde_json::from_str(text).map_err(SavedError::NoPlan)?;
        if version != PLAN_VERSION {
            return Err(SavedError::Version(version));
        }
        let mut plan: Plan = serde_json::from_str(text).map_err(SavedError::NoPlan)?;
        let written = std::mem::take(&mut plan.checksum);
        let open = text.trim_end().replacen(&written, "", 1);
        match checksum(&open) == written {
            true => Ok(plan),
            false => Err(SavedError::Damaged),
        }
    }
}

/// The hash of a text, in hexadecimal.
fn checksum(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
