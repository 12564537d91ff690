//! What is known of a device from before: small files in the user's cache folder, one a device and
//! driver, that are worth no error when they are damaged or another's.

use crate::store::cache_folder;
use crate::{files, output};
use quarrel_ir::facts::DeviceFacts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::{fs, io};

/// A file that was kept, with what it is about.
#[derive(Debug, Serialize, Deserialize)]
struct Kept<T> {
    device: String,
    backend: String,
    driver: String,
    content: T,
}

/// The file of `kind` for a device; `None` where the user has no cache folder.
fn path(kind: &str, facts: &DeviceFacts) -> Option<PathBuf> {
    let mut hash = Sha256::new();
    for part in [&facts.name, &facts.backend, &facts.driver] {
        hash.update(part);
        hash.update([0]);
    }
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = facts.name.chars().map(word).take(32).collect();
    Some(cache_folder()?.join(kind).join(format!("{name}-{hash}.json")))
}

/// What is kept of `kind` for a device. A file that is damaged or of another device is left alone,
/// with a remark.
pub(crate) fn load<T: DeserializeOwned>(kind: &str, facts: &DeviceFacts) -> Option<T> {
    let path = path(kind, facts)?;
    let ignored = |why: String| {
        output::remark(&format!("{} is ignored: {why}\n", path.display()));
        None
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return None,
        Err(why) => return ignored(why.to_string()),
    };
    match serde_json::from_str::<Kept<T>>(&text) {
        Err(why) => ignored(format!("it is damaged ({why})")),
        Ok(kept) => {
            let about = [&kept.device, &kept.backend, &kept.driver];
            match about == [&facts.name, &facts.backend, &facts.driver] {
                true => Some(kept.content),
                false => ignored(format!("it is about {} ({})", kept.device, kept.driver)),
            }
        }
    }
}

/// Keeps `content` as what is known of `kind` of a device, in place of what was; the file's path.
///
/// # Errors
/// Why it could not be kept.
pub(crate) fn keep<T: Serialize>(
    kind: &str,
    facts: &DeviceFacts,
    content: &T,
) -> io::Result<PathBuf> {
    let path = path(kind, facts).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "there is no cache folder: set QUARREL_CACHE")
    })?;
    let kept = Kept {
        device: facts.name.clone(),
        backend: facts.backend.clone(),
        driver: facts.driver.clone(),
        content,
    };
    files::write_in_new_folder(&path, &serde_json::to_vec_pretty(&kept)?)?;
    Ok(path)
}
