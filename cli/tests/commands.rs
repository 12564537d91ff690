//! Every command on a tiny model: what it prints, and that nothing else is printed.

mod support;

use support::{Bench, CONTEXT, Tiny, VOCABULARY, has};

fn bench() -> (Bench, String) {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    (bench, file)
}

#[test]
fn run_generates_the_same_text_and_json() {
    let (bench, file) = bench();
    let text = bench.run(&["run", &file, "--raw", "Hello", "-n", "8"]).out;
    let json = bench.run(&["run", &file, "--raw", "Hello", "-n", "8", "--json"]).json();
    has(&json, &["prompt_tokens", "tokens", "text", "stop_reason", "timings"]);
    has(
        &json["timings"],
        &["load_ms", "compile_ms", "prefill_ms", "decode_tokens_per_s", "ttft_ms"],
    );
    assert_eq!(json["prompt_tokens"].as_array().unwrap().len(), 5);
    assert!(json["tokens"].as_array().unwrap().len() <= 8);
    assert_eq!(text, format!("{}\n", json["text"].as_str().unwrap()));
}

#[test]
fn run_applies_the_template() {
    let (bench, file) = bench();
    let json = bench.run(&["run", &file, "Hi", "-n", "1", "--system", "Be.", "--json"]).json();
    let text = "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    let tokens = bench.run(&["tokenize", &file, text, "--json"]).json();
    assert_eq!(json["prompt_tokens"], tokens["tokens"]);
    assert_eq!(tokens["pieces"][0], "<|im_start|>");
}

#[test]
fn run_takes_tools_and_a_conversation() {
    const TEMPLATE: &str = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}\
{% for m in messages %}{{ m.role[:1] }}:{{ m.content or '' }}{% for c in m.tool_calls or [] %}\
{{ c.function.arguments | tojson }}{% endfor %};{% endfor %}";
    let bench = Bench::new();
    let file = bench.model(&Tiny { template: TEMPLATE, ..Tiny::default() });
    let tools = r#"[{"type": "function", "function": {"name": "now"}}]"#;
    let tools = bench.file("tools.json", tools.as_bytes());
    let messages = r#"[{"role": "user", "content": "Time?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"type": "function", "function": {"name": "now", "arguments": {"b": 1.0, "a": "x"}}}]},
        {"role": "tool", "name": "now", "content": "noon"}]"#;
    let said = bench.file("messages.json", messages.as_bytes());
    let ids = |text: &str| bench.run(&["tokenize", &file, text, "--json"]).json()["tokens"].clone();
    let given = |arguments: &[&str], input: &str| {
        let all = [&["run", &file, "-n", "1", "--json"], arguments].concat();
        bench.run_with(&all, input).json()["prompt_tokens"].clone()
    };
    let text = r#"<now>u:Time?;a:{"b": 1.0, "a": "x"};t:noon;"#;
    assert_eq!(given(&["--tools", &tools, "--messages", &said], ""), ids(text));
    assert_eq!(given(&["--tools", &tools, "--messages", "-"], messages), ids(text));
    assert_eq!(given(&["--messages", &said], ""), ids(&text[5..]));
    let once = given(&["--tools", &tools, "--system", "S", "Hi"], "");
    assert_eq!(once, ids("<now>s:S;u:Hi;"));
    let talk = bench.run_with(&["chat", &file, "--tools", &tools, "-n", "1", "--stats"], "Hi\n");
    assert_eq!(counts(&talk.err).0, ids("<now>u:Hi;").as_array().unwrap().len(), "{talk:?}");
}

#[test]
fn a_template_that_ignores_tools_is_noted() {
    let (bench, file) = bench();
    let tools = r#"[{"type": "function", "function": {"name": "now"}}]"#;
    let tools = bench.file("tools.json", tools.as_bytes());
    let run = bench.run(&["run", &file, "Hi", "-n", "1", "--tools", &tools]);
    let chat = bench.run_with(&["chat", &file, "-n", "1", "--tools", &tools], "Hi\n");
    for finished in [run, chat] {
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.err.contains("does not mention tools"), "{finished:?}");
        assert_eq!(finished.err.lines().count(), 1, "{finished:?}");
    }
}

#[test]
fn run_reads_the_prompt_from_the_input() {
    let (bench, file) = bench();
    let json =
        bench.run_with(&["run", &file, "--raw", "-", "-n", "1", "--json"], "from a pipe").json();
    assert_eq!(json["prompt_tokens"].as_array().unwrap().len(), 11);
}

#[test]
fn run_takes_ids_for_a_file_without_a_tokenizer() {
    let bench = Bench::new();
    let file = bench.model(&Tiny { tokenizer: false, ..Tiny::default() });
    let arguments = ["run", &file, "--prompt-tokens", "1,17,93", "-n", "4", "--json"];
    let json = bench.run(&arguments).json();
    assert_eq!(json["prompt_tokens"], serde_json::json!([1, 17, 93]));
    assert_eq!(json["tokens"].as_array().unwrap().len(), 4);
    assert_eq!(json["stop_reason"], "max_tokens");
    bench.run(&["run", &file, "Hello"]).refused(&["no tokenizer"]);
}

#[test]
fn run_samples_with_a_seed() {
    let (bench, file) = bench();
    let draw = |seed: &str| {
        let options = ["--temp", "1.5", "--top-k", "0", "--min-p", "0", "--seed", seed, "--json"];
        let arguments = [&["run", &file, "--raw", "Hello", "-n", "12"][..], &options].concat();
        bench.run(&arguments).json()["tokens"].clone()
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn run_stops_where_the_context_is_full() {
    let (bench, file) = bench();
    let arguments = ["run", &file, "--raw", "Hello", "--ctx", "9", "-n", "99", "--json"];
    let json = bench.run(&arguments).json();
    assert!(json["stop_reason"] == "context_full" || json["stop_reason"] == "stop_token", "{json}");
    assert!(json["tokens"].as_array().unwrap().len() <= 5, "{json}");
}

#[test]
fn a_batch_gives_a_line_for_each_line() {
    let (bench, file) = bench();
    let each = ["One", "Two two", "Three and three and three", "Four"];
    let alone = each.map(|prompt| {
        bench.run(&["run", &file, "--raw", prompt, "-n", "3", "--json"]).json()["tokens"].clone()
    });
    let prompts = bench.file("prompts.txt", each.join("\n").as_bytes());
    // All together, in groups with a last one that is not full, and one by one.
    for size in ["32", "3", "1"] {
        let arguments =
            ["run", &file, "--raw", "--batch", &prompts, "--batch-size", size, "-n", "3"];
        let out = bench.run(&arguments).ok();
        let tokens: Vec<serde_json::Value> = out
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["tokens"].clone())
            .collect();
        assert_eq!(tokens, alone, "{size} together");
    }
    let reference =
        ["run", &file, "--raw", "--batch", &prompts, "--device", "reference", "-n", "3"];
    assert_eq!(bench.run(&reference).ok().lines().count(), each.len());
}

#[test]
fn a_conversation_processes_only_what_is_new() {
    let (bench, file) = bench();
    let input = "Hello there\n\nAnd again\n/reset\nAnew\n/exit\nnot reached\n";
    let finished = bench.run_with(&["chat", &file, "-n", "2", "--stats"], input);
    assert_eq!(finished.code, 0, "{finished:?}");
    let counts: Vec<(usize, usize)> = finished.err.lines().map(counts).collect();
    let [(first, first_new), (second, second_new), (third, third_new)] = counts[..] else {
        panic!("three turns: {finished:?}");
    };
    assert_eq!(first, first_new);
    assert!(second > first, "{finished:?}");
    // The first turn's prompt is not processed again.
    assert!(second_new <= second - first, "{finished:?}");
    assert!(third < second && third_new <= third, "{finished:?}");
}

/// Tokens of the prompt, and those that were new, from a line of statistics.
fn counts(line: &str) -> (usize, usize) {
    let parts = line.split(|c: char| !c.is_ascii_digit());
    let mut numbers = parts.filter_map(|part| part.parse().ok());
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next())
}

#[test]
fn a_conversation_that_outgrows_the_context_says_so() {
    let (bench, file) = bench();
    let line = "x".repeat(CONTEXT as usize);
    let finished = bench.run_with(&["chat", &file], &line);
    finished.refused(&["256", "/reset", "--ctx"]);
    let bare = bench.model(&Tiny { template: "", ..Tiny::default() });
    bench.run_with(&["chat", &bare], "Hi\n").refused(&["no chat template", "quarrel run"]);
}

#[test]
fn logits_agree_between_last_and_all() {
    let (bench, file) = bench();
    let last = bench.run(&["logits", &file, "Hello", "--top", "3", "--json"]).json();
    has(&last, &["prompt_tokens", "logits", "top"]);
    let logits = last["logits"].as_array().unwrap();
    assert_eq!(logits.len() as u64, VOCABULARY);
    assert_eq!(last["top"].as_array().unwrap().len(), 3);
    let best = last["top"][0][0].as_u64().unwrap() as usize;
    assert_eq!(last["top"][0][1], logits[best]);
    let all = bench.run(&["logits", &file, "Hello", "--all", "--json"]).json();
    assert_eq!(all["logits"].as_array().unwrap().len(), 5);
    let of_all = all["logits"][4].as_array().unwrap();
    for (a, b) in logits.iter().zip(of_all) {
        assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-3);
    }
    assert!(bench.run(&["logits", &file, "Hello"]).ok().contains("after token 4"));
}

#[test]
fn the_reference_agrees_with_the_device() {
    let (bench, file) = bench();
    let of = |extra: &[&str]| {
        let arguments = [&["logits", &file, "Hello", "--json"][..], extra].concat();
        let logits = bench.run(&arguments).json()["logits"].clone();
        serde_json::from_value::<Vec<f64>>(logits).unwrap()
    };
    let reference = of(&["--device", "reference"]);
    for extra in [&[][..], &["--no-fuse"], &["--chunk", "1"], &["--chunk", "2"]] {
        let found = of(extra);
        let error: f64 = found.iter().zip(&reference).map(|(a, b)| (a - b).powi(2)).sum();
        let size: f64 = reference.iter().map(|b| b * b).sum();
        assert!((error / size).sqrt() < 1e-3, "{extra:?}: {}", (error / size).sqrt());
    }
    let arguments = ["run", &file, "--raw", "Hello", "-n", "3", "--json", "--device", "reference"];
    assert!(!bench.run(&arguments).json()["tokens"].as_array().unwrap().is_empty());
}

#[test]
fn perplexity_of_a_text() {
    let (bench, file) = bench();
    let text = bench.file("text.txt", "Some text that nobody has predicted. ".repeat(9).as_bytes());
    let arguments = ["perplexity", &file, "--file", &text, "--json"];
    let json = bench.run(&arguments).json();
    // Longer than the model's own context: the window is as long as the text.
    assert_eq!(json["n_scored"], 332);
    let (nll, perplexity) =
        (json["mean_nll"].as_f64().unwrap(), json["perplexity"].as_f64().unwrap());
    assert!((nll.exp() - perplexity).abs() < 1e-6 * perplexity);
    let oracle = bench.run(&[&arguments[..], &["--device", "reference"]].concat()).json();
    assert!((nll - oracle["mean_nll"].as_f64().unwrap()).abs() < 1e-3);
}

#[test]
fn plans_are_shown_in_every_form() {
    let (bench, file) = bench();
    let text = bench.run(&["plan", &file]).ok();
    for word in ["model", "device", "layers 0–1, × 2", "why", "total", "memory", "weights"] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    let plan = bench.run(&["plan", &file, "--json"]).json();
    has(&plan, &["version", "device", "buffers", "kernels", "programs", "load", "decisions"]);
    let kernel = plan["kernels"][0]["name"].as_str().unwrap();
    assert!(bench.run(&["plan", &file, "--kernel", kernel]).ok().contains("@compute"));
    let msl = bench.run(&["plan", &file, "--kernel", kernel, "--emit", "msl"]).ok();
    assert!(msl.contains("metal"), "{msl}");
    assert!(bench.run(&["plan", &file, "--format", "dot"]).ok().starts_with("digraph"));
    assert!(bench.run(&["plan", &file, "--stage", "graph"]).ok().contains("attention"));
    assert!(
        bench.run(&["plan", &file, "--phase", "prefill", "--no-fuse"]).ok().contains("op by op")
    );
}

#[test]
fn a_plan_for_a_device_that_is_not_here() {
    let (bench, file) = bench();
    let mut facts = bench.run(&["devices", "--json"]).json();
    has(&facts, &["name", "subgroup_size", "max_binding_bytes"]);
    facts["name"] = "Imaginary 9000".into();
    facts["subgroup_size"] = 32.into();
    facts["kind"] = "discrete".into();
    let path = bench.file("facts.json", facts.to_string().as_bytes());
    let plan = bench.run(&["plan", &file, "--for", &path, "--json"]).json();
    assert_eq!(plan["device"]["name"], "Imaginary 9000");
    assert_eq!(plan["device"]["subgroup_size"], 32);
}

#[test]
fn bench_measures_both_phases() {
    let (bench, file) = bench();
    let arguments =
        ["bench", &file, "--prompt-len", "16", "--gen-len", "4", "--reps", "2", "--json"];
    let json = bench.run(&arguments).json();
    let tests = json["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 2);
    for test in tests {
        has(test, &["name", "n", "depth", "batch", "tokens_per_s"]);
        has(test, &["bytes_per_token", "gb_per_s", "dispatches_per_token"]);
        has(&test["tokens_per_s"], &["median", "min", "max"]);
        assert!(test["tokens_per_s"]["min"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(tests[0]["name"], "prefill");
    assert_eq!(tests[1]["name"], "decode");
}

#[test]
fn inspect_shows_the_file_and_what_it_needs() {
    let (bench, file) = bench();
    let json = bench.run(&["inspect", &file, "--json"]).json();
    has(
        &json,
        &["metadata", "tensors", "formats", "parameters", "tokenizer", "needs", "served_by"],
    );
    assert_eq!(json["tokenizer"]["stop_set"][0]["piece"], "<|endoftext|>");
    assert_eq!(json["tensors"].as_array().unwrap().len(), 20);
    assert!(json["needs"]["weights"].as_u64().unwrap() > 0, "{json}");
    let text = bench.run(&["inspect", &file]).ok();
    for word in ["llama.arch", "stops at", "needs", "tokenizer.ggml.tokens", "260 in all"] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    // A model that nothing serves is shown all the same.
    let odd = quarrel_models::gguf::write::GgufWriter::new();
    let odd = bench.file("odd.gguf", &odd.metadata("general.architecture", "parrot").finish());
    assert!(bench.run(&["inspect", &odd]).ok().contains("parrot"));
}

#[test]
fn architectures_are_listed_shown_and_checked() {
    let (bench, file) = bench();
    assert!(bench.run(&["arch", "list"]).ok().contains("llama"));
    let text = bench.run(&["arch", "show", "llama"]).ok();
    let mine = bench.file("mine.arch", text.as_bytes());
    assert!(bench.run(&["arch", "check", &mine, "--model", &file]).ok().contains("in order"));
    bench.run(&["arch", "show", "parrot"]).refused(&["parrot", "llama"]);
    // A file in the user's folder is found without being named.
    let folder = bench.path().join("quarrel").join("arch");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("mine.arch"), text.replace("arch llama", "arch mine")).unwrap();
    let json = bench.run(&["arch", "list", "--json"]).json();
    assert!(json.as_array().unwrap().iter().any(|arch| arch["name"] == "mine"), "{json}");
    bench.run(&["run", &file, "Hi"]).refused(&["mine", "llama.arch", "2 architecture files"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (bench, file) = bench();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_quarrel"))
        .args(["plan", &file, "--json"])
        .env("QUARREL_CACHE", bench.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn devices_and_lists() {
    let (bench, _) = bench();
    assert!(bench.run(&["devices"]).ok().contains("subgroup size"));
    assert_eq!(bench.run(&["list", "--json"]).json(), serde_json::json!([]));
    assert!(bench.run(&["list"]).ok().contains("quarrel pull"));
}

#[test]
fn every_command_explains_itself_with_examples() {
    let (bench, _) = bench();
    let commands = [
        "run",
        "chat",
        "logits",
        "plan",
        "bench",
        "perplexity",
        "tokenize",
        "inspect",
        "devices",
        "arch",
        "pull",
        "list",
    ];
    for command in commands {
        let help = bench.run(&[command, "--help"]).ok();
        assert!(help.contains("Examples:"), "{command}: {help}");
        assert!(help.contains(&format!("quarrel {command}")), "{command}: {help}");
    }
}
