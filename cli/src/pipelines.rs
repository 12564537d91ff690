//! The file in which compiled pipelines are kept from one run to the next, in the user's cache folder.
//!
//! It only saves time: whatever is wrong with it, nothing is said, and pipelines are compiled.

use crate::files;
use crate::store::cache_folder;
use quarrel_runtime::Gpu;
use std::fs;
use std::path::{Path, PathBuf};

/// No driver's pipelines of a few models come near it.
const MOST_BYTES: u64 = 256 << 20;

/// Pipelines of an open device; dropping it writes those that are new to the file.
#[derive(Debug)]
pub(crate) struct KeptPipelines {
    gpu: Gpu,
    file: PathBuf,
    /// What the file held.
    before: Option<Vec<u8>>,
}

impl KeptPipelines {
    /// Gives `gpu` what is kept for it; `None` where it or the user has no place for that.
    pub(crate) fn open(gpu: &mut Gpu) -> Option<KeptPipelines> {
        let file = cache_folder()?.join("pipelines").join(gpu.pipelines_key()?);
        let before = read(&file);
        gpu.keep_pipelines(before.as_deref());
        Some(KeptPipelines { gpu: gpu.clone(), file, before })
    }
}

impl Drop for KeptPipelines {
    fn drop(&mut self) {
        let now = self.gpu.kept_pipelines();
        if let Some(bytes) = now.filter(|now| Some(now) != self.before.as_ref()) {
            // The next run compiles again what cannot be written.
            let _ = files::write_in_new_folder(&self.file, &bytes);
        }
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let length = fs::metadata(file).ok()?.len();
    if length <= MOST_BYTES { fs::read(file).ok() } else { None }
}
