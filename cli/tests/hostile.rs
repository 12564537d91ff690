//! Files and prompts that are wrong: each ends in one paragraph that says what to do, and exit code
//! 2. Nothing panics, hangs or answers anyway.

mod support;

use quarrel_ir::format::Format;
use quarrel_models::gguf::write::GgufWriter;
use support::{Bench, Tiny};

/// A file with one tensor of a kind, shape, place and bytes.
fn one_tensor(kind: u32, shape: &[u64], offset: u64) -> Vec<u8> {
    GgufWriter::new()
        .metadata("general.architecture", "llama")
        .tensor_at("token_embd.weight", kind, shape, offset, &[0; 64])
        .finish()
}

fn refused(bytes: &[u8], words: &[&str]) {
    let bench = Bench::new();
    let file = bench.file("bad.gguf", bytes);
    bench.run(&["run", &file, "Hello", "-n", "4"]).refused(words);
    bench.run(&["plan", &file]).refused(words);
}

#[test]
fn a_truncated_file() {
    let whole = Tiny::default().bytes();
    refused(&whole[..whole.len() / 2], &["bad.gguf", "fetch it again"]);
    refused(&whole[..100], &["bad.gguf", "fetch it again"]);
}

#[test]
fn a_file_of_another_kind() {
    refused(b"PK\x03\x04 something zipped", &["not a GGUF file", "zip"]);
    refused(b"", &["empty"]);
}

#[test]
fn a_tensor_past_the_end() {
    refused(&one_tensor(0, &[4, 4], 1 << 40), &["token_embd.weight", "fetch"]);
}

#[test]
fn dimensions_that_overflow() {
    refused(&one_tensor(0, &[u64::MAX / 2, 8], 0), &["token_embd.weight"]);
    refused(&one_tensor(0, &[1 << 33, 1 << 33], 0), &["token_embd.weight"]);
}

#[test]
fn an_unknown_tensor_type() {
    refused(&one_tensor(250, &[4, 4], 0), &["250", "supported"]);
}

#[test]
fn a_missing_tensor() {
    let tiny = Tiny { without: "blk.1.ffn_up.weight", ..Tiny::default() };
    refused(&tiny.bytes(), &["blk.1.ffn_up", "llama.arch"]);
}

#[test]
fn absurd_metadata() {
    refused(&Tiny { layers: u32::MAX, ..Tiny::default() }.bytes(), &["bad.gguf"]);
    refused(&Tiny { heads: 0, ..Tiny::default() }.bytes(), &["bad.gguf"]);
    refused(&Tiny { heads: 7, ..Tiny::default() }.bytes(), &["bad.gguf"]);
    let silent = GgufWriter::new().tensor("x", Format::F32, &[1], &[0; 4]).finish();
    refused(&silent, &["general.architecture"]);
    let unknown = GgufWriter::new().metadata("general.architecture", "parrot").finish();
    refused(&unknown, &["parrot", "--arch"]);
}

#[test]
fn a_vocabulary_of_another_size() {
    let bench = Bench::new();
    let file = bench.model(&Tiny { vocabulary: 300, ..Tiny::default() });
    bench.run(&["run", &file, "Hello"]).refused(&["260 tokens", "300 rows", "--prompt-tokens"]);
}

#[test]
fn a_prompt_without_tokens() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    bench.run(&["run", &file, "--raw", ""]).refused(&["no tokens"]);
    bench.run(&["logits", &file, ""]).refused(&["no tokens"]);
    bench.run(&["run", &file]).refused(&["no prompt", "--prompt-tokens"]);
}

#[test]
fn a_prompt_longer_than_the_context() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let long = "x".repeat(300);
    bench.run(&["run", &file, "--raw", &long]).refused(&["300 tokens", "256", "--ctx"]);
    bench
        .run(&["run", &file, "--raw", "--ctx", "8", "nine char"])
        .refused(&["9 tokens", "holds 8"]);
    let text = bench.file("text.txt", long.as_bytes());
    bench
        .run(&["perplexity", &file, "--file", &text, "--ctx", "99"])
        .refused(&["300 tokens", "--ctx allows 99"]);
}

#[test]
fn ids_outside_the_vocabulary() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    bench.run(&["run", &file, "--prompt-tokens", "1,260"]).refused(&["token 260", "260"]);
}

#[test]
fn names_and_files_that_are_not_there() {
    let bench = Bench::new();
    bench.run(&["run", "smolm2", "Hi"]).refused(&["smolm2", "smollm2"]);
    bench.run(&["run", "none.gguf", "Hi"]).refused(&["none.gguf"]);
    bench.run(&["pull", "gpt-5"]).refused(&["gpt-5", "smollm2"]);
    let file = bench.model(&Tiny::default());
    bench.run(&["run", &file, "Hi", "--arch", "none.arch"]).refused(&["none.arch"]);
    bench.run(&["plan", &file, "--for", "none.json"]).refused(&["none.json"]);
    let facts = bench.file("facts.json", b"{}");
    bench.run(&["plan", &file, "--for", &facts]).refused(&["facts.json", "quarrel devices"]);
    bench.run(&["plan", &file, "--kernel", "nothing"]).refused(&["nothing", "sample"]);
    bench.run(&["run", &file, "Hi", "--device", "voodoo"]).refused(&["voodoo"]);
    bench.run(&["run", &file, "Hi", "--device", ""]).refused(&["no device matches"]);
    bench.run(&["run", "", "Hi"]).refused(&["no file"]);
    let folder = std::path::Path::new(&facts).parent().unwrap().display().to_string();
    bench.run(&["run", &folder, "Hi"]).refused(&["config.json", ".gguf"]);
    bench.run(&["bench", "--synthetic", "llama-1b"]).refused(&["SHAPE:FORMAT"]);
}

#[test]
fn options_that_make_no_sense() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    bench.run(&["run", &file, "Hi", "--temp", "-1"]).refused(&["temperature"]);
    bench.run(&["run", &file, "Hi", "--top-p", "2"]).refused(&["top-p"]);
    bench.run(&["run", &file, "Hi", "--raw", "--system", "x"]).refused(&["--system"]);
    bench.run(&["run", &file, "Hi", "--ctx", "4294967295"]).refused(&["--ctx", "at most"]);
    for arguments in [
        ["run", &file, "Hi", "--ctx", "0"],
        ["run", &file, "Hi", "--chunk", "0"],
        ["run", &file, "Hi", "--seed", "-1"],
        ["run", &file, "Hi", "-n", "-5"],
        ["run", &file, "Hi", "--weights", "Q4_0"],
        ["run", &file, "Hi", "--precision", "f8"],
    ] {
        let finished = bench.run(&arguments);
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.err.starts_with("error: invalid value"), "{finished:?}");
    }
}

#[test]
fn a_context_beyond_the_model_is_noted() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let note = |context: &str| {
        let finished = bench.run(&["run", &file, "--raw", "Hi", "-n", "1", "--ctx", context]);
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.err
    };
    assert_eq!(note("256"), "");
    let said = note("300");
    assert!(said.starts_with("note: ") && said.contains("300") && said.contains("256"), "{said}");
}

#[test]
fn what_the_device_cannot_bind() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let mut facts = bench.run(&["devices", "--json"]).json();
    facts["max_binding_bytes"] = (1 << 20).into();
    let facts = bench.file("facts.json", facts.to_string().as_bytes());
    let plan =
        |options: [&str; 4]| bench.run(&[&["plan", &file, "--for", &facts], &options[..]].concat());
    assert_eq!(plan(["--ctx", "4096", "--chunk", "512"]).code, 0);
    plan(["--ctx", "1000000", "--chunk", "512"]).refused(&["state", "1048576", "smaller --ctx"]);
    plan(["--ctx", "16384", "--chunk", "16384"]).refused(&["step", "1048576", "smaller --chunk"]);
}

#[test]
fn facts_of_no_device() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let facts: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/facts/nvidia-h100.json")).unwrap();
    let with = |fact: &str, value: serde_json::Value| {
        let mut facts = facts.clone();
        facts[fact] = value;
        let facts = bench.file("facts.json", facts.to_string().as_bytes());
        bench.run(&["plan", &file, "--for", &facts])
    };
    with("subgroup_size", 0.into()).refused(&["subgroup_size is 0", "power of two"]);
    with("subgroup_size", u32::MAX.into()).refused(&["subgroup_size"]);
    with("max_workgroup_threads", 7.into()).refused(&["max_workgroup_threads is 7"]);
    with("max_workgroup_bytes", 0.into()).refused(&["max_workgroup_bytes"]);
    with("max_grid", 1.into()).refused(&["max_grid"]);
    with("binding_alignment", 3.into()).refused(&["binding_alignment"]);
    with("dispatch_us", (-1.0).into()).refused(&["dispatch_us"]);
    with("subgroup_size", "many".into()).refused(&["facts.json", "quarrel devices --json"]);
}

#[test]
fn tools_and_messages_that_are_none() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let tools = |json: &str, words: &[&str]| {
        let path = bench.file("tools.json", json.as_bytes());
        bench.run(&["run", &file, "Hi", "--tools", &path]).refused(words);
        bench.run_with(&["chat", &file, "--tools", &path], "Hi\n").refused(words);
    };
    tools("[{", &["tools.json", "no JSON", "line 1"]);
    tools("{}", &["tools.json", "an array is wanted", "an object"]);
    tools("[]", &["empty"]);
    tools(r#"[{"name": "now"}]"#, &["tool 1", r#""type": "function""#]);
    tools(r#"[{"type": "function", "function": {}}]"#, &["tool 1", "no `name`"]);
    bench.run(&["run", &file, "Hi", "--tools", "nowhere.json"]).refused(&["nowhere.json", "tools"]);
    let messages = |json: &str, words: &[&str]| {
        let path = bench.file("messages.json", json.as_bytes());
        bench.run(&["run", &file, "--messages", &path]).refused(words);
    };
    messages("", &["messages.json", "no JSON"]);
    messages(r#"{"role": "user"}"#, &["an array is wanted"]);
    messages("[]", &["empty"]);
    messages("[1]", &["message 1", "an object is wanted"]);
    messages(r#"[{"content": "Hi"}]"#, &["message 1", "no `role`"]);
    messages(r#"[{"role": "user"}]"#, &["message 1", "neither `content`"]);
    messages(r#"[{"role": "user", "content": 3}]"#, &["`content` must be text", "a number"]);
    messages(
        r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [{}]}]"#,
        &["message 2", "no `name`"],
    );
    let deep = format!("[{}", "[".repeat(100_000));
    messages(&deep, &["no JSON"]);
    let said = bench.file("messages.json", br#"[{"role": "user", "content": "Hi"}]"#);
    for extra in [&["Hi"][..], &["--raw"], &["--system", "S"], &["--prompt-tokens", "1"]] {
        let finished = bench.run(&[&["run", &file, "--messages", &said], extra].concat());
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.err.contains("cannot be used with"), "{finished:?}");
    }
    let path = bench.file("tools.json", br#"[{"type": "function", "function": {"name": "f"}}]"#);
    bench.run(&["run", &file, "Hi", "--raw", "--tools", &path]).refused(&["--tools", "template"]);
    bench.run(&["run", &file, "--prompt-tokens", "1", "--tools", &path]).refused(&["--tools"]);
    let bare = bench.model(&Tiny { template: "", ..Tiny::default() });
    bench.run(&["run", &bare, "--messages", &said]).refused(&["--messages", "chat template"]);
}

#[test]
fn an_architecture_file_that_is_wrong_is_shown() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let arch = bench.file("mine.arch", b"arch llama serves \"llama\" {\n  h = embed(tokens,\n}\n");
    for arguments in
        [vec!["run", &file, "Hi", "--arch", &arch], vec!["arch", "check", &arch, "--model", &file]]
    {
        let finished = bench.run(&arguments);
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.err.contains("mine.arch:3"), "{}", finished.err);
    }
}
