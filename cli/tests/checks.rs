//! `quarrel plan --check` and `--measure` on a tiny model: what they print, and what they refuse.

#![expect(clippy::panic, reason = "test helpers")]

mod support;

use serde_json::Value;
use support::{Bench, Tiny, has};

fn tiny() -> (Bench, String) {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    (bench, file)
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("{field:?} is no number: {value}"))
}

#[test]
fn every_kernel_is_compared() {
    let (bench, file) = tiny();
    let json = bench.run(&["plan", &file, "--chunk", "16", "--check", "--json"]).json();
    has(&json, &["model", "device", "prompt_tokens", "steps", "kernels", "chain", "passed"]);
    assert_eq!((&json["passed"], &json["first"]), (&true.into(), &Value::Null));
    let programs: Vec<&str> = json["kernels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["program"].as_str().unwrap())
        .collect();
    for program in ["decode", "prefill", "greedy", "sample"] {
        assert!(programs.contains(&program), "{program}: {programs:?}");
    }
    for kernel in json["kernels"].as_array().unwrap() {
        assert!(number(kernel, "compared") > 0.0, "{kernel}");
        assert!(
            number(&kernel["worst"], "relative") <= number(&kernel["worst"]["tolerance"], "within")
        );
    }
    // Prompts in several chunks, then two tokens.
    assert!(json["steps"].as_array().unwrap().len() > 3, "{}", json["steps"]);
    let text = bench.run(&["plan", &file, "--check", "Hello", "--no-fuse"]).ok();
    assert!(text.contains("every kernel is within its tolerance"), "{text}");
}

#[test]
fn checks_that_cannot_be_are_refused() {
    let (bench, file) = tiny();
    let refused: [(&[&str], &str); 4] = [
        (&["--check", "--check-layers", "0,7"], "there is no layer 7"),
        (&["--check", "--prompt-tokens", "1,9999"], "9999"),
        (&["--check", "--ctx", "8", "--prompt-tokens", "1,2,3,4,5,6,7,8"], "--ctx"),
        (&["--check", "--device", "reference"], "needs a GPU"),
    ];
    for (options, says) in refused {
        bench.run(&[&["plan", &file][..], options].concat()).refused(&[says]);
    }
}

#[test]
fn kernels_are_measured() {
    let (bench, file) = tiny();
    for phase in ["decode", "prefill"] {
        let args = ["plan", &file, "--phase", phase, "--chunk", "32", "--measure"];
        let json = bench.run(&[&args[..], &["--json"]].concat()).json();
        has(&json["plan"], &["version", "programs"]);
        let kernels = json["measured"]["kernels"]["kernels"].as_array().unwrap();
        assert!(kernels.iter().all(|kernel| number(kernel, "us") >= 0.0), "{kernels:?}");
        assert_eq!(json["measured"]["kernels"]["name"], phase);
        assert!(number(&json["measured"]["barriers"], "step_us") > 0.0);
        let text = bench.run(&args).ok();
        assert!(text.contains("barriers: "), "{text}");
    }
}
