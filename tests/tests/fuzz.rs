//! What fuzzing found, and the files it starts from, once more (`tests/fuzz`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use quarrel_models::arch::ArchFile;
use quarrel_models::gguf::GgufFile;
use quarrel_models::tokenizer::{Tokenizer, TokenizerSpec};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// One at a time: the heap that is measured is the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

/// Runs the target on every file in `folder`; how many there are.
fn replay_folder(target: fn(&[u8]), folder: &Path) -> usize {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        println!("{}", path.display());
        fuzz::bounded(target, &std::fs::read(path).unwrap());
    }
    paths.len()
}

fn replay(target: fn(&[u8]), name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    assert!(replay_folder(target, &folder("seeds", name)) > 0);
    let cases = folder("cases", name);
    if cases.is_dir() {
        replay_folder(target, &cases);
    }
}

#[test]
fn gguf_files() {
    replay(fuzz::gguf, "gguf");
}

#[test]
fn hugging_face_folders() {
    replay(fuzz::folder, "folder");
}

#[test]
fn architecture_files() {
    replay(fuzz::arch, "arch");
}

#[test]
fn chat_templates() {
    replay(fuzz::chat, "chat");
}

/// A seed that is refused early leads nowhere.
#[test]
fn seeds_are_accepted() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for name in ["llama_bpe.gguf", "llama_sentencepiece.gguf"] {
        let file = GgufFile::open(&folder("seeds", "gguf").join(name)).unwrap();
        assert!(fuzz::model(&file).is_some(), "{name}");
        TokenizerSpec::from_metadata(file.metadata()).and_then(Tokenizer::from_spec).unwrap();
    }
    let text = std::fs::read_to_string(folder("seeds", "arch").join("scan.arch")).unwrap();
    let report = ArchFile::parse("scan.arch", &text).unwrap().check(Some(&fuzz::small_llama()));
    assert!(report.graph.is_some(), "{:?}", report.findings);
}
