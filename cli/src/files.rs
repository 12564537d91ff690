//! Files that are written whole or not at all.

use crate::error::{CliError, Result};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file in place of what was there: aside, and renamed, so that nobody reads half of it. What
/// is no file, such as a pipe, is written to as it is.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return fs::write(path, bytes);
    }
    // A link stays a link to what is written.
    let path = fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
    let folder = path.parent().unwrap_or(&path);
    let mut builder = tempfile::Builder::new();
    // Temporary files are for their owner alone; this one is as any other that a program makes.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(&path)?;
    Ok(())
}

/// As [`write()`], in a folder that is made where there is none.
pub(crate) fn write_in_new_folder(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    write(path, bytes)
}

/// Refuses a place for a file that `option` names where no file can be, before there is one to write.
pub(crate) fn check_place(option: &str, path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            Err(CliError::User(format!("{option}: there is no folder {}", folder.display())))
        }
        _ if path.is_dir() => {
            Err(CliError::User(format!("{option}: {} is a folder", path.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kind").join("name");
        assert!(write(&file, b"nowhere").is_err());
        write_in_new_folder(&file, b"first").unwrap();
        write_in_new_folder(&file, b"second").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"second");
        let names: Vec<_> = fs::read_dir(folder.path().join("kind")).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        // Where a folder should be is a file, and the other way round.
        assert!(write_in_new_folder(&file.join("name"), b"third").is_err());
        assert!(write(&folder.path().join("kind"), b"third").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_and_what_is_no_file_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write(&file, b"first").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, b"second").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"second");
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write(&null, b"third").unwrap();
        assert!(!fs::metadata(&null).unwrap().is_file());
    }
}
