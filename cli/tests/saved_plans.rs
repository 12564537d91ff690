//! Plans in files: run as they were compiled, refused where they do not fit.

mod support;

use support::{Bench, Tiny};

/// A model, and a plan for it.
fn saved(more: &[&str]) -> (Bench, String, String) {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let plan = save(&bench, &file, more);
    (bench, file, plan)
}

fn save(bench: &Bench, file: &str, more: &[&str]) -> String {
    let plan = bench.path().join("tiny.plan").display().to_string();
    let arguments = [&["plan", file, "--save", &plan][..], more].concat();
    assert_eq!(bench.run(&arguments).ok(), "");
    plan
}

/// The tokens of a run.
fn tokens(bench: &Bench, arguments: &[&str]) -> serde_json::Value {
    let run = bench.run(&[arguments, &["--json", "-n", "8", "--raw", "Hi"]].concat()).json();
    run["tokens"].clone()
}

#[test]
fn a_saved_plan_says_what_a_compiled_one_says() {
    let (bench, file, plan) = saved(&[]);
    let compiled = tokens(&bench, &["run", &file]);
    assert_eq!(compiled, tokens(&bench, &["run", &file, "--plan", &plan]));
    // Options that say what the plan is are no contradiction.
    let same = ["run", &file, "--plan", &plan, "--ctx", "256", "--chunk", "512"];
    assert_eq!(compiled, tokens(&bench, &same));
    let logits = |more: &[&str]| {
        bench.run(&[&["logits", &file, "--json", "Hi"], more].concat()).json()["logits"].clone()
    };
    assert_eq!(logits(&[]), logits(&["--plan", &plan]));
    let chat = bench.run_with(&["chat", &file, "--plan", &plan, "-n", "4"], "Hi\n").ok();
    assert_eq!(chat, bench.run_with(&["chat", &file, "-n", "4"], "Hi\n").ok());
    // It can be looked at.
    let shown = |more: &[&str]| bench.run(&[&["plan", &file], more].concat()).ok();
    assert_eq!(shown(&["--plan", &plan]), shown(&[]));
    let text = std::fs::read_to_string(&plan).unwrap();
    assert_eq!(text.trim_end(), shown(&["--json"]).trim_end());
}

#[test]
fn several_sequences_and_all_logits() {
    let (bench, file, plan) = saved(&["--slots", "2", "--out-rows", "8"]);
    let prompts = bench.file("prompts.txt", b"Hi\nHo\nHe\n");
    let answers = |more: &[&str]| {
        let batch = ["run", &file, "--batch", &prompts, "-n", "4", "--raw"];
        let out = bench.run(&[&batch[..], more].concat()).ok();
        let answer = |line: &str| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            json["tokens"].to_string()
        };
        out.lines().map(answer).collect::<Vec<_>>()
    };
    assert_eq!(answers(&["--plan", &plan]), answers(&["--batch-size", "2"]));
    let text = bench.file("text.txt", b"a text of some length, which the model has never seen");
    let of = |more: &[&str]| {
        let json = bench.run(&[&["perplexity", &file, "--file", &text, "--json"], more].concat());
        json.json()["mean_nll"].as_f64().unwrap()
    };
    bench.run(&["run", &file, "--plan", &plan, "Hi"]).refused(&["2 sequences", "--slots"]);
    let one = save(&bench, &file, &["--out-rows", "8"]);
    assert!((of(&["--plan", &one]) - of(&[])).abs() < 1e-3);
    let measured = ["bench", &file, "--prompt-len", "0", "--gen-len", "2", "--reps", "1", "--json"];
    let json = bench.run(&[&measured[..], &["--plan", &one]].concat()).json();
    assert_eq!(json["tests"].as_array().unwrap().len(), 1);
    let long = [&measured[..5], &["300", "--plan", &one]].concat();
    bench.run(&long).refused(&["256 positions", "--ctx"]);
}

/// Nothing binds the model to an architecture: there is none for it.
#[test]
fn a_saved_plan_needs_no_architecture() {
    let bench = Bench::new();
    let llama = bench.run(&["arch", "show", "llama"]).ok();
    let mine = llama.replace("arch llama", "arch mine").replace("\"llama\"", "\"robin\"");
    let mine = bench.file("mine.arch", mine.as_bytes());
    let file = bench.file("robin.gguf", &replaced(&Tiny::default().bytes(), b"llama", b"robin"));
    bench.run(&["run", &file, "Hi"]).refused(&["robin"]);
    let plan = save(&bench, &file, &["--arch", &mine]);
    assert_eq!(
        tokens(&bench, &["run", &file, "--plan", &plan]),
        tokens(&bench, &["run", &file, "--arch", &mine])
    );
}

/// The bytes with each occurrence of a word made another of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn a_plan_for_another_model_is_refused() {
    let (bench, _, plan) = saved(&[]);
    let with = |name: &str, bytes: &[u8]| {
        let other = bench.file(name, bytes);
        bench.run(&["run", &other, "--plan", &plan, "Hi"])
    };
    let shape = Tiny { heads: 2, ..Tiny::default() };
    with("heads.gguf", &shape.bytes()).refused(&["llama.attention.head_count", "\"4\"", "\"2\""]);
    let words = Tiny { vocabulary: 264, ..Tiny::default() };
    with("words.gguf", &words.bytes()).refused(&["token_embd.weight", "264"]);
    let without = Tiny { without: "blk.1.attn_q.weight", ..Tiny::default() };
    with("without.gguf", &without.bytes()).refused(&["blk.1.attn_q.weight", "--save"]);
    // All shapes are the same, the numbers would not be.
    let base =
        replaced(&Tiny::default().bytes(), &10_000f32.to_le_bytes(), &9_999f32.to_le_bytes());
    with("base.gguf", &base).refused(&["rope.freq_base", "10000", "9999"]);
}

#[test]
fn options_that_contradict_a_plan_are_refused() {
    let (bench, file, plan) = saved(&[]);
    let with = |more: &[&str]| bench.run(&[&["run", &file, "--plan", &plan, "Hi"], more].concat());
    with(&["--ctx", "64"]).refused(&["--ctx", "64", "256"]);
    with(&["--chunk", "16"]).refused(&["--chunk", "16", "256"]);
    with(&["--no-fuse"]).refused(&["--no-fuse"]);
    with(&["--weights", "F16"]).refused(&["--weights", "F16"]);
    with(&["--precision", "f32"]).refused(&["--precision", "f32", "auto"]);
    with(&["--device", "reference"]).refused(&["--plan", "reference"]);
}

#[test]
fn a_plan_for_another_device_is_refused() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let mut facts = bench.run(&["devices", "--json"]).json();
    facts["name"] = "Imaginary 9000".into();
    facts["subgroup_size"] = (2 * facts["subgroup_size"].as_u64().unwrap()).into();
    let facts = bench.file("facts.json", facts.to_string().as_bytes());
    let plan = save(&bench, &file, &["--for", &facts]);
    bench.run(&["run", &file, "--plan", &plan, "Hi"]).refused(&["Imaginary 9000", "subgroup"]);
}

#[test]
fn damaged_plans_are_refused() {
    let (bench, file, plan) = saved(&[]);
    let text = std::fs::read_to_string(&plan).unwrap();
    let with = |text: &str| {
        let path = bench.file("damaged.plan", text.as_bytes());
        bench.run(&["run", &file, "--plan", &path, "Hi"])
    };
    with("").refused(&["damaged.plan", "holds no plan", "--save"]);
    with("{}").refused(&["holds no plan", "--save"]);
    with(&text[..text.len() / 2]).refused(&["holds no plan"]);
    let version = text.replacen("{\"version\":", "{\"version\":9", 1);
    with(&version).refused(&["version", "--save"]);
    // One letter of a kernel.
    with(&text.replacen("@compute", "@compuge", 1)).refused(&["damaged", "--save"]);
    bench.run(&["run", &file, "--plan", "nowhere.plan", "Hi"]).refused(&["nowhere.plan"]);
    let nowhere = bench.path().join("no").join("such.plan").display().to_string();
    bench.run(&["plan", &file, "--save", &nowhere]).refused(&["such.plan"]);
}
