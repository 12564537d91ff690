//! Files mapped into memory, read-only: what GGUF files and safetensors files share.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

/// A file's contents.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A map of the file.
    Mapped(Mmap),
    /// Contents that were in memory already, or of a file that is empty.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps the file at `path`; `None` where it is a folder, a pipe or a device.
    ///
    /// Another process that shortens the file while it is open can end this one with a bus error:
    /// the operating system offers no map that is safe from that. Files are replaced by renaming,
    /// never rewritten in place, by everything that fetches models.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Bytes>> {
        // Asked before the file is opened, because opening a pipe waits for its other end.
        let about = std::fs::metadata(path)?;
        if !about.is_file() {
            return Ok(None);
        }
        if about.len() == 0 {
            return Ok(Some(Bytes::Owned(Vec::new())));
        }
        map(&File::open(path)?).map(|map| Some(Bytes::Mapped(map)))
    }

    /// The contents.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(vec) => vec,
        }
    }

    /// Tells the system that the whole pages within `range` are not needed again.
    pub(crate) fn release(&self, range: &Range<usize>) {
        if let Bytes::Mapped(map) = self {
            release_pages(map, range);
        }
    }
}

/// Maps the whole file, read-only.
#[expect(unsafe_code, reason = "mapping a file has no safe interface")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private and read-only, and is only ever read as bytes. That the file is
    // not changed meanwhile is a condition that `Bytes::open` documents.
    unsafe { Mmap::map(file) }
}

/// Tells the system that the whole pages within `range` are not needed again.
#[cfg(unix)]
#[expect(unsafe_code, reason = "this advice has no safe interface")]
fn release_pages(map: &Mmap, range: &Range<usize>) {
    /// A multiple of every page size in use (4, 16 and 64 KiB), so that no neighbour's page goes.
    const PAGES: usize = 64 << 10;
    let start = range.start.next_multiple_of(PAGES);
    let end = range.end / PAGES * PAGES;
    if start < end {
        // SAFETY: the map is a private, read-only, never written view of a file: dropped pages are
        // read from the file again if they are touched again.
        let advised = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
        };
        // Only a hint: where the system declines it the pages merely stay.
        drop(advised);
    }
}

/// Mapped pages are the system's own business here.
#[cfg(not(unix))]
fn release_pages(_map: &Mmap, _range: &Range<usize>) {}
