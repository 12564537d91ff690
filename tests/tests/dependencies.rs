//! The edges between crates, where the world is touched, and how long files are: the rules of the
//! workspace that no compiler checks.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each crate may depend on: Quarrel's crates, and those of other crates that are named only
/// where they are allowed.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("quarrel-ir", &[]),
    ("quarrel-models", &["quarrel-ir"]),
    ("quarrel-reference", &["quarrel-ir"]),
    ("quarrel-kernels", &["quarrel-ir", "naga"]),
    ("quarrel-compiler", &["quarrel-ir", "quarrel-kernels"]),
    ("quarrel-runtime", &["quarrel-ir", "wgpu"]),
    ("quarrel-check", &["quarrel-ir", "quarrel-reference", "quarrel-runtime"]),
    (
        "quarrel-cli",
        &[
            "quarrel-check",
            "quarrel-ir",
            "quarrel-models",
            "quarrel-reference",
            "quarrel-kernels",
            "quarrel-compiler",
            "quarrel-runtime",
        ],
    ),
];

/// The crate of the suites that cross crates, to which the rules do not apply.
const SUITES: &str = "quarrel-tests";

/// Crates of others that ALLOWED speaks of.
const SPOKEN_OF: [&str; 2] = ["naga", "wgpu"];

/// Crates whose code touches files, the network and the environment.
const TOUCH_THE_WORLD: [&str; 2] = ["models", "cli"];

/// Files that name a module and yet touch nothing outside of the program: file, module, reason.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("runtime/src/quiet.rs", "fs", "a `File` made from a descriptor of memory; no path is opened"),
    ("runtime/src/spread.rs", "fs", "Linux tells of the process's threads by files"),
];

const LONGEST_FILE: usize = 500;

fn workspace() -> PathBuf {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR"));
    suites.parent().expect("this crate is a folder of the workspace").into()
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(workspace().join("Cargo.toml")).no_deps();
    command.other_options(["--offline".to_string()]).exec().unwrap()
}

/// The dependencies of these kinds that the rules speak of.
fn spoken_of(package: &Package, kinds: &[DependencyKind]) -> BTreeSet<String> {
    let ours = |name: &str| name.starts_with("quarrel-");
    package
        .dependencies
        .iter()
        .filter(|dependency| kinds.contains(&dependency.kind))
        .map(|dependency| dependency.name.clone())
        .filter(|name| ours(name) || SPOKEN_OF.contains(&name.as_str()))
        .collect()
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut seen = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if name == SUITES {
            continue;
        }
        seen.insert(name);
        let allowed = allowed.get(name);
        let allowed = allowed.unwrap_or_else(|| panic!("{name}: not in the table of crates"));
        let kinds = [DependencyKind::Normal, DependencyKind::Build];
        for dependency in spoken_of(package, &kinds) {
            assert!(allowed.contains(&dependency.as_str()), "{name} depends on {dependency}");
        }
        let for_tests = spoken_of(package, &[DependencyKind::Development]);
        assert!(for_tests.is_empty(), "{name}: tests that need {for_tests:?} belong into tests/");
    }
    assert_eq!(
        seen,
        allowed.keys().copied().collect(),
        "the crates of the table and the workspace"
    );
}

/// Source files under `folder`, but for build output.
fn sources(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Source files of the crates' libraries and programs that are not tests.
fn code_of(folder: &str) -> Vec<PathBuf> {
    let src = workspace().join(folder).join("src");
    let mut files = sources(&src, &[".rs"]);
    let test = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    files.retain(|path| !path.strip_prefix(&src).unwrap().iter().any(test));
    files
}

/// The code of a file before its unit tests, without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether code names the module `std::<module>`, alone or in a list of imports.
fn names_std(code: &str, module: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let ends = |rest: &str| !rest.starts_with(word);
    let direct = format!("std::{module}");
    let direct = code.match_indices(&direct).any(|(at, found)| ends(&code[at + found.len()..]));
    let lists = code.match_indices("std::{").map(|(at, found)| {
        let list = &code[at + found.len()..];
        // Up to the `;` of the import.
        &list[..list.find(';').unwrap_or(list.len())]
    });
    direct
        || lists.into_iter().any(|list| list.split(|c: char| !word(c)).any(|part| part == module))
}

#[test]
fn naming_a_module_is_recognised() {
    for (code, expected) in [
        ("use std::fs;", true),
        ("let x = std::fs::read(path);", true),
        ("use std::{fmt, fs::File};", true),
        ("use std::{\n    fmt,\n    fs,\n};", true),
        ("use std::{fmt, io}; let fs = 1;", false),
        ("std::fsync(), std::fmt, my::fs", false),
    ] {
        assert_eq!(names_std(code, "fs"), expected, "{code}");
    }
}

#[test]
fn files_network_and_environment_are_touched_where_they_may_be() {
    let folders = ALLOWED.map(|(name, _)| name.trim_start_matches("quarrel-"));
    for folder in folders.into_iter().filter(|folder| !TOUCH_THE_WORLD.contains(folder)) {
        for path in code_of(folder) {
            for module in ["fs", "net", "env"] {
                let excepted = |file: &str, of: &str| of == module && path.ends_with(file);
                if !EXCEPTIONS.iter().any(|(file, of, _)| excepted(file, of)) {
                    let named = names_std(&code(&path), module);
                    assert!(!named, "{}: names std::{module}", path.display());
                }
            }
        }
    }
}

#[test]
fn wgpu_is_named_in_the_runtime_alone() {
    for (name, _) in ALLOWED.iter().filter(|(name, _)| *name != "quarrel-runtime") {
        for path in code_of(name.trim_start_matches("quarrel-")) {
            assert!(!code(&path).contains("wgpu::"), "{}: names wgpu", path.display());
        }
    }
}

#[test]
fn files_are_short() {
    for path in sources(&workspace(), &[".rs", ".wgsl"]) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < LONGEST_FILE, "{} has {lines} lines", path.display());
    }
}
