//! The file in which compiled pipelines are kept from one run to the next, in the user's cache folder.
//!
//! It only saves time: whatever is wrong with it, nothing is said, and pipelines are compiled.

use crate::store::cache_folder;
use quarrel_runtime::Gpu;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

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
            let _ = write(&self.file, &bytes);
        }
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let length = fs::metadata(file).ok()?.len();
    if length <= MOST_BYTES { fs::read(file).ok() } else { None }
}

/// Writes the whole file or none of it: two runs may end at once.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut part = NamedTempFile::new_in(folder)?;
    part.write_all(bytes)?;
    part.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipelines").join("key");
        assert_eq!(read(&file), None);
        write(&file, b"first").unwrap();
        write(&file, b"second").unwrap();
        assert_eq!(read(&file).as_deref(), Some(&b"second"[..]));
        let names: Vec<_> = fs::read_dir(folder.path().join("pipelines")).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        // Where a folder should be is a file, and the other way round.
        assert!(write(&file.join("key"), b"third").is_err());
        assert!(write(&folder.path().join("pipelines"), b"third").is_err());
        assert_eq!(read(&folder.path().join("pipelines")), None);
    }
}
