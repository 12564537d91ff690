//! `quarrel bench` on a tiny model: what it prints, and what it refuses.

#![expect(clippy::panic, clippy::unwrap_used, reason = "test helpers")]

mod support;

use quarrel_ir::format::Format;
use quarrel_ir::weight::WeightSource;
use quarrel_models::gguf::GgufFile;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{Bench, Finished, Tiny, has};

/// The shortest tests there are.
const SHORT: [&str; 7] = ["--prompt-len", "8", "--gen-len", "2", "--reps", "1", "--json"];

/// `quarrel bench` with short tests and `options`, as JSON.
fn measured(options: &[&str]) -> Value {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    bench.run(&[&["bench", &file][..], &SHORT, options].concat()).json()
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("{field:?} is no number: {value}"))
}

#[test]
fn kernels_are_timed_by_either_clock() {
    for clock in ["timestamps", "repetition"] {
        let json = measured(&["--depth", "3", &format!("--kernels={clock}")]);
        has(
            &json["speeds"],
            &["copy_bytes_per_s", "workgroup_bytes_per_s", "flops_per_s", "dispatch_us"],
        );
        let least = number(&json["speeds"], "dispatch_us");
        let steps = json["kernels"].as_array().unwrap();
        assert_eq!(steps.len(), 2);
        for (step, test) in steps.iter().zip(json["tests"].as_array().unwrap()) {
            assert_eq!((&step["name"], &step["clock"]), (&test["name"], &clock.into()));
            assert_eq!(step["depth"], 3);
            let steps = if step["name"] == "decode" { 2.0 } else { 1.0 };
            let in_test = 1e6 * number(test, "seconds") / steps;
            assert!((number(step, "test_step_us") / in_test - 1.0).abs() < 1e-9, "{step}");
            let kernels = step["kernels"].as_array().unwrap();
            let sum = |field: &str| kernels.iter().map(|row| number(row, field)).sum::<f64>();
            let per_step = number(test, "dispatches_per_token") * number(step, "n");
            assert_eq!(sum("dispatches"), per_step, "{step}");
            assert!((sum("share") - 1.0).abs() < 1e-9);
            assert!((sum("us") / number(step, "step_us") - 1.0).abs() < 1e-9);
            for row in kernels {
                has(
                    row,
                    &["kernel", "family", "variant", "ops", "bound", "gb_per_s", "gflop_per_s"],
                );
                let us = number(row, "us");
                assert!(us > 0.0, "{row}");
                assert!(number(row, "predicted_us") >= least * number(row, "dispatches") * 0.999);
                let rate = number(row, "bytes") / us / 1e3;
                assert!((rate - number(row, "gb_per_s")).abs() <= 1e-9 * rate, "{row}");
                let lost = us - number(row, "predicted_us");
                assert!((lost - number(row, "lost_us")).abs() < 1e-6, "{row}");
            }
            let lost: Vec<f64> = kernels.iter().map(|row| number(row, "lost_us")).collect();
            assert!(lost.is_sorted_by(|a, b| a >= b), "{lost:?}");
        }
    }
}

#[test]
fn kernels_are_a_table_for_people() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let short = ["--prompt-len", "0", "--gen-len", "2", "--reps", "1", "--kernels"];
    let text = bench.run(&[&["bench", &file][..], &short].concat()).ok();
    for word in ["kernels of a decode step of 1 token", "lost µs", "linear logits", "greedy"] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    let guess = bench.run(&["bench", &file, "--kernels=guess"]);
    assert!(guess.code == 2 && guess.err.contains("repetition"), "{guess:?}");
}

#[test]
fn depths_and_batches_make_a_test_each() {
    let json = measured(&["--depth", "0,5", "--batch-size", "1,3"]);
    let tests = json["tests"].as_array().unwrap();
    let found: Vec<(&str, u64, u64)> = tests
        .iter()
        .map(|test| {
            let whole = |field: &str| test[field].as_u64().unwrap();
            (test["name"].as_str().unwrap(), whole("depth"), whole("batch"))
        })
        .collect();
    let wanted = [
        ("prefill", 0, 1),
        ("decode", 0, 1),
        ("prefill", 5, 1),
        ("decode", 5, 1),
        ("decode", 0, 3),
        ("decode", 5, 3),
    ];
    assert_eq!(found, wanted);
    for test in tests {
        let (batch, rate) = (number(test, "batch"), number(&test["tokens_per_s"], "median"));
        let each = number(test, "tokens_per_s_per_sequence");
        assert!((each * batch / rate - 1.0).abs() < 1e-9, "{test}");
        assert_eq!(test["split"].is_object(), test["name"] == "decode", "{test}");
        if let Some(split) = test["split"].as_object() {
            let part = |field: &str| split[field].as_f64().unwrap();
            assert!(part("record_us") > 0.0 && part("sampling_us") > 0.0, "{test}");
            let sum = part("busy_us") + part("gap_us");
            assert!((sum / part("step_us") - 1.0).abs() < 1e-9, "{test}");
            assert_eq!(part("steps_per_submission"), 1.0, "software goes step by step: {test}");
        }
    }
    // Three sequences share the weights and the dispatches of a step.
    let dispatches = |test: usize| number(&tests[test], "dispatches_per_token");
    assert!((dispatches(1) / dispatches(4) - 3.0).abs() < 1.0, "{json}");
    assert!(number(&tests[4], "bytes_per_token") < number(&tests[1], "bytes_per_token"));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let refused = |options: &[&str], words: &[&str]| {
        bench.run(&[&["bench", &file][..], options].concat()).refused(words);
    };
    refused(&["--prompt-len", "0", "--gen-len", "0"], &["nothing to measure"]);
    refused(&["--depth", "0,40", "--ctx", "32"], &["--ctx is 32"]);
    refused(&["--depth", "16000000"], &["binds at most", "use a smaller --depth, --prompt-len"]);
    bench.run(&["bench", "--synthetic", "llama-8b"]).refused(&["SHAPE:FORMAT", "Q4_K_M"]);
    let cut = ["bench", "--synthetic", "smollm2-135m:F16", "--layers", "31"];
    bench.run(&cut).refused(&["30 layers"]);
}

/// The options of a shape are not those of a file.
#[test]
fn options_of_shapes_need_a_shape() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    for option in [&["--check"][..], &["--layers", "2"]] {
        bench.run(&[&["bench", &file][..], option].concat()).refused(&["--synthetic"]);
    }
}

#[test]
fn a_shape_is_checked_against_the_reference() {
    let bench = Bench::new();
    let check = ["bench", "--synthetic", "smollm2-135m:Q4_K_M", "--layers", "1", "--check"];
    let json = bench.run(&[&check[..], &["--json"]].concat()).json();
    assert_eq!(json["passed"], true);
    let checks = json["checks"].as_array().unwrap();
    assert_eq!((&checks[0]["name"], &checks[1]["name"]), (&"prefill".into(), &"decode".into()));
    for check in checks {
        let distance = number(check, "distance");
        assert!(distance > 0.0 && distance <= number(&json, "within"), "{json}");
    }
}

/// Writes a program of these lines of shell and gives its path.
fn program(bench: &Bench, name: &str, lines: &str) -> String {
    let path = bench.file(name, format!("#!/bin/sh\n{lines}\n").as_bytes());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// What llama-bench prints for a prompt of 8 and a generation of 2, with fewer fields.
const LLAMA_BENCH: &str = r#"[
  {"build_commit": "abc1234", "build_number": 99, "backends": "Vulkan", "gpu_info": "llvmpipe",
   "n_prompt": 8, "n_gen": 0, "n_depth": 0, "avg_ts": 20.0, "stddev_ts": 1.0,
   "samples_ts": [10.0, 30.0, 15.0]},
  {"build_commit": "abc1234", "build_number": 99, "backends": "Vulkan", "gpu_info": "llvmpipe",
   "n_prompt": 0, "n_gen": 2, "n_depth": 0, "avg_ts": 4.0, "stddev_ts": 0.0, "samples_ts": []}
]"#;

/// A llama-bench that keeps its arguments in a file and prints what it should.
fn llama_bench(bench: &Bench) -> String {
    let kept = bench.path().join("arguments").display().to_string();
    let lines = format!("echo \"$@\" > '{kept}'\ncat <<'END'\n{LLAMA_BENCH}\nEND");
    program(bench, "llama-bench", &lines)
}

#[test]
fn llama_cpp_is_run_on_the_same_file_for_the_same_tests() {
    let bench = Bench::new();
    let (file, llama) = (bench.model(&Tiny::default()), llama_bench(&bench));
    let arguments = [&["bench", &file, "--vs", &llama][..], &SHORT].concat();
    let json = bench.run(&arguments).json();
    let kept = std::fs::read_to_string(bench.path().join("arguments")).unwrap();
    assert_eq!(kept.trim(), format!("-m {file} -p 8 -n 2 -d 0 -r 1 -fa 1 -ngl 99 -o json"));
    let (vs, tests) = (&json["vs"], &json["tests"]);
    assert_eq!((&vs["build"], &vs["backend"]), (&"abc1234 (99)".into(), &"Vulkan llvmpipe".into()));
    for (index, median) in [15.0, 4.0].into_iter().enumerate() {
        let theirs = &vs["tests"][index];
        assert_eq!(theirs["name"], tests[index]["name"]);
        assert_eq!(number(&theirs["tokens_per_s"], "median"), median);
        let ratio = number(&tests[index]["tokens_per_s"], "median") / median;
        assert!((number(theirs, "ratio") / ratio - 1.0).abs() < 1e-9, "{json}");
    }
    let text = bench.run(&arguments[..arguments.len() - 1]).ok();
    assert!(text.contains("beside llama.cpp abc1234 (99)") && text.contains("ratio"), "{text}");
}

#[test]
fn a_llama_bench_that_does_not_work_is_named() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let run = |vs: &str| bench.run(&[&["bench", &file, "--vs", vs][..], &SHORT].concat());
    let failed = |finished: Finished, words: &[&str]| {
        assert_eq!(finished.code, 1, "{finished:?}");
        for word in words {
            assert!(finished.err.contains(word), "{word:?} is not in: {}", finished.err);
        }
    };
    run("/no/such/llama-bench").refused(&["/no/such/llama-bench", "does not exist"]);
    run("no-such-llama-bench").refused(&["no-such-llama-bench", "cannot be run"]);
    run(&bench.path().display().to_string()).refused(&["is no file"]);
    let fails = program(&bench, "fails", "echo 'loading' >&2\necho 'no GPU at all' >&2\nexit 3");
    failed(run(&fails), &["fails failed", "3", "no GPU at all"]);
    failed(run(&program(&bench, "silent", "exit 4")), &["silent failed", "4", "it said nothing"]);
    failed(run(&program(&bench, "talks", "echo hello")), &["talks", "JSON", "llama-bench?"]);
    failed(run(&program(&bench, "measures-nothing", "echo '[]'")), &["measured nothing"]);
}

/// Shapes and expanded weights have no file: one is written, and it is gone afterwards.
#[test]
fn llama_cpp_gets_a_file_of_what_has_none() {
    let bench = Bench::new();
    let kept = bench.path().join("kept.gguf");
    let lines = format!(
        "echo \"$2\" > '{}'\ncp \"$2\" '{}'\ncat <<'END'\n{LLAMA_BENCH}\nEND",
        bench.path().join("name").display(),
        kept.display()
    );
    let llama = program(&bench, "llama-bench", &lines);
    let file = bench.model(&Tiny::default());
    let shape = ["--synthetic", "smollm2-135m:Q4_0", "--layers", "1"];
    for (model, word) in [(&shape[..], "smollm2-135m"), (&[&file[..], "--weights", "F16"], "")] {
        let json = bench.run(&[&["bench", "--vs", &llama], model, &SHORT].concat()).json();
        assert!(json["vs"]["tests"][1]["ratio"].is_number(), "{json}");
        assert!(json["model"].as_str().unwrap().contains(word), "{json}");
        let name = std::fs::read_to_string(bench.path().join("name")).unwrap();
        assert!(!Path::new(name.trim()).exists(), "{name} was left behind");
        let written = GgufFile::open(&kept).unwrap();
        let format = if word.is_empty() { Format::F16 } else { Format::Q4_0 };
        assert_eq!(written.info("blk.0.attn_q.weight").unwrap().format, format);
        assert_eq!(written.info("blk.0.attn_norm.weight").unwrap().format, Format::F32);
        assert_eq!(written.architecture(), Some("llama"));
    }
}

#[test]
fn an_interrupt_leaves_no_file_behind() {
    let bench = Bench::new();
    let name = bench.path().join("name");
    let lines = format!("echo \"$2\" > '{}'\nexec sleep 5", name.display());
    let waits = program(&bench, "waits", &lines);
    let shape = ["bench", "--synthetic", "smollm2-135m:Q4_0", "--layers", "1", "--vs", &waits];
    let mut child = bench.command(&shape).spawn().unwrap();
    let written = || std::fs::read_to_string(&name).is_ok_and(|text| text.ends_with('\n'));
    while !written() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let file = std::fs::read_to_string(&name).unwrap();
    assert!(Path::new(file.trim()).is_file());
    let signal = ["-INT", &child.id().to_string()];
    assert!(std::process::Command::new("kill").args(signal).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!Path::new(file.trim()).exists(), "{file} was left behind");
}

#[test]
fn a_report_says_everything() {
    let bench = Bench::new();
    let (file, llama) = (bench.model(&Tiny::default()), llama_bench(&bench));
    program(&bench, "llama-cli", "echo 'and it runs away'");
    let path = bench.path().join("report.md").display().to_string();
    let short = ["--prompt-len", "8", "--gen-len", "2", "--reps", "2", "--batch-size", "1,2"];
    let options = ["bench", &file, "--report", &path, "--vs", &llama];
    bench.run(&[&options[..], &short].concat()).ok();
    let report = std::fs::read_to_string(&path).unwrap();
    for words in [
        "# Quarrel on",
        "UTC, Quarrel 0.",
        "## System\n\n| what | value |\n| --- | --- |\n| operating system |",
        "| memory | ",
        "| driver | ",
        "| copies, read plus written | ",
        "| a dependent dispatch | ",
        "| architecture | llama (llama.arch) |",
        "| F32 | 20 | ",
        "| activations | F32 |",
        "| keys, values and other states | F16 |",
        "| their size | 65536 bytes (65.5 kB) for 256 positions of 1 sequence |",
        "| prefill | 8 | 0 | 1 | ",
        "| decode | 2 | 0 | 2 | ",
        "## Time of a decode step",
        "### kernels of a prefill step of 8 tokens after 0, by ",
        "### kernels of a decode step of 2 tokens after 0, by ",
        "## llama.cpp\n\nBeside llama.cpp abc1234 (99) on Vulkan llvmpipe",
        "Quarrel:\n\n~~~~~~text\n",
        "llama.cpp:\n\n~~~~~~text\nand it runs away\n~~~~~~\n",
    ] {
        assert!(report.contains(words), "{words:?} is not in:\n{report}");
    }
    let nowhere = ["bench", &file, "--report", "/no/such/folder/report.md"];
    bench.run(&nowhere).refused(&["/no/such/folder"]);
}

#[test]
fn a_report_says_what_is_not_there() {
    let bench = Bench::new();
    let file = bench.model(&Tiny { tokenizer: false, ..Tiny::default() });
    let path = bench.path().join("report.md").display().to_string();
    let short = ["--prompt-len", "0", "--gen-len", "2", "--reps", "1"];
    let llama = llama_bench(&bench);
    let options = ["bench", &file, "--report", &path, "--vs", &llama];
    bench.run(&[&options[..], &short].concat()).ok();
    let report = std::fs::read_to_string(&path).unwrap();
    for words in ["Quarrel: none (", "llama.cpp: none (neither llama-completion nor llama-cli"] {
        assert!(report.contains(words), "{words:?} is not in:\n{report}");
    }
}
