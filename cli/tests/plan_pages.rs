//! The plans in README.md and docs/ are what the program prints: each block that begins with a command which names
//! a file of device facts is run again and compared. `QUARREL_UPDATE_DOCS=1` writes what it prints.
//!
//! A line `…` stands for lines that are left out; such a block is not written anew.
//! The models are found through `QUARREL_TEST_MODEL` and `QUARREL_TEST_GEMMA`; without them this fails.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const OMISSION: &str = "…";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// A cache folder in which both models have been pulled, and nothing was measured or tuned.
fn pulled() -> TempDir {
    let cache = TempDir::new().unwrap();
    let models = cache.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let named = [
        ("QUARREL_TEST_MODEL", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        ("QUARREL_TEST_GEMMA", "gemma-3-270m-q4_k_m.gguf"),
    ];
    for (variable, file) in named {
        let path = std::env::var_os(variable).unwrap_or_else(|| panic!("set {variable}"));
        let path = std::fs::canonicalize(path).unwrap();
        // A link, where the system has links that anybody may make.
        #[cfg(unix)]
        std::os::unix::fs::symlink(path, models.join(file)).unwrap();
        #[cfg(not(unix))]
        std::fs::copy(path, models.join(file)).map(drop).unwrap();
    }
    cache
}

/// The words of a command, of which those in quotes are one.
fn words(command: &str) -> Vec<OsString> {
    let parts = command.split('"').enumerate();
    let of_part = |(index, part): (usize, &str)| match index % 2 {
        0 => part.split_whitespace().map(OsString::from).collect::<Vec<_>>(),
        _ => vec![part.into()],
    };
    parts.flat_map(of_part).collect()
}

fn printed(command: &str, cache: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quarrel"))
        .args(words(command))
        .env("QUARREL_CACHE", cache)
        .current_dir(root())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether `shown` is `printed` but for lines left out.
fn is_shown(shown: &str, printed: &str) -> bool {
    let printed: Vec<&str> = printed.lines().collect();
    let lines: Vec<&str> = shown.lines().collect();
    let pieces: Vec<&[&str]> = lines.split(|line| *line == OMISSION).collect();
    let mut at = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let room = printed.len().saturating_sub(piece.len());
        let places = match (index == 0, index + 1 == pieces.len()) {
            (true, true) if room > 0 => return false,
            (true, _) => 0..=0,
            (false, true) => room..=room,
            (false, false) => at..=room,
        };
        let fits = |place: &usize| {
            *place >= at && printed.get(*place..place + piece.len()).is_some_and(|p| p == *piece)
        };
        let Some(place) = places.into_iter().find(fits) else { return false };
        at = place + piece.len();
    }
    true
}

/// The page with what the program prints, and how many blocks it has.
fn renewed(page: &str, name: &str, cache: &Path) -> (String, usize) {
    let (mut text, mut blocks, mut rest) = (String::new(), 0, page);
    while let Some((before, after)) = rest.split_once("```text\n$ quarrel ") {
        let (command, after) = after.split_once('\n').unwrap();
        let (shown, after) = after.split_once("```").unwrap();
        rest = after;
        text += &format!("{before}```text\n$ quarrel {command}\n");
        if !command.contains("--for ") {
            text += &format!("{shown}```");
            continue;
        }
        blocks += 1;
        let printed = printed(command, cache);
        let same = is_shown(shown, &printed);
        let omits = shown.lines().any(|line| line == OMISSION);
        assert!(same || !omits, "{name}: quarrel {command}\nprints now:\n{printed}");
        text += if same { shown } else { &printed };
        text += "```";
    }
    (text + rest, blocks)
}

#[test]
fn plans_in_the_docs_are_what_is_printed() {
    let cache = pulled();
    let docs = root().join("docs");
    let mut pages = vec![root().join("README.md"), docs.join("plans.md")];
    let folder = std::fs::read_dir(docs.join("plans")).unwrap();
    pages.extend(folder.map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let update = std::env::var_os("QUARREL_UPDATE_DOCS").is_some();
    let mut all = 0;
    for path in pages {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let page = std::fs::read_to_string(&path).unwrap();
        let (text, blocks) = renewed(&page, &name, cache.path());
        all += blocks;
        if update && text != page {
            std::fs::write(&path, &text).unwrap();
        } else if text != page {
            let place = page.lines().zip(text.lines()).position(|(old, new)| old != new);
            let line = place.unwrap_or_else(|| page.lines().count().min(text.lines().count()));
            let [old, new] = [&page, &text].map(|text| text.lines().nth(line).unwrap_or_default());
            panic!(
                "{name}, line {}: the page has\n{old}\nand the program prints\n{new}\n\
                 QUARREL_UPDATE_DOCS=1 writes it anew",
                line + 1
            );
        }
    }
    assert!(all > 10, "only {all} blocks were found");
}

#[test]
fn lines_may_be_left_out() {
    let printed = "a\nb\nc\nd\n";
    for shown in [printed, "a\n…\nd\n", "…\nb\nc\n…\n", "a\nb\n…\n", "…\nd\n"] {
        assert!(is_shown(shown, printed), "{shown}");
    }
    for shown in ["a\nb\n", "a\nb\nc\nd\ne\n", "a\nc\n…\n", "…\nb\n", "…\nc\n…\nb\n…\n", ""]
    {
        assert!(!is_shown(shown, printed), "{shown}");
    }
}
