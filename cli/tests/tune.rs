//! `quarrel tune`, and what is kept of it.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod support;

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use support::{Bench, Tiny};

/// Tunes a small model; its path, what was printed, and the file that holds winners.
fn tuned(bench: &Bench) -> (String, Value, PathBuf) {
    let model = bench.model(&Tiny::default());
    let json = bench.run(&["tune", &model, "--ctx", "64", "--chunk", "16", "--json"]).json();
    let kept = PathBuf::from(json["kept"].as_str().unwrap());
    (model, json, kept)
}

/// The choices of a plan, by whom each was made.
fn chosen(bench: &Bench, model: &str, options: &[&str]) -> Vec<(String, String, String)> {
    let arguments = [&["plan", model, "--ctx", "64", "--chunk", "16", "--json"], options].concat();
    let plan = bench.run(&arguments).json();
    let kernels = plan["kernels"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let choice = |kernel: &Value| {
        let choice = &kernel["choice"];
        let made = choice.is_object();
        made.then(|| (text(&choice["key"]), text(&choice["chosen"]), text(&choice["by"])))
    };
    kernels.iter().filter_map(choice).collect()
}

#[test]
fn variants_are_measured_and_winners_are_taken() {
    let bench = Bench::new();
    let (model, json, kept) = tuned(&bench);
    let kernels = json["kernels"].as_array().unwrap();
    let measured = kernels.iter().filter(|kernel| kernel["variants"].as_array().unwrap().len() > 1);
    assert!(measured.clone().count() > 2, "{json}");
    for kernel in measured {
        let variants = kernel["variants"].as_array().unwrap();
        assert_eq!(variants[0]["name"], kernel["usual"]);
        assert!(variants.iter().all(|v| v["measured_us"].as_f64().unwrap() > 0.0), "{kernel}");
        assert!(variants.iter().any(|v| v["name"] == kernel["winner"]), "{kernel}");
    }
    // Whoever won here, a winner is taken: the last variant of a kernel is made one.
    let (key, other) = kernels
        .iter()
        .find_map(|kernel| {
            let other = kernel["variants"].as_array().unwrap().last()?["name"].as_str()?;
            (kernel["usual"] != other).then(|| (kernel["key"].as_str().unwrap(), other))
        })
        .unwrap();
    let mut file: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    file["content"]["winners"] = serde_json::json!({
        key: { "variant": other, "us": 1.0, "usual": "x", "usual_us": 2.0 }
    });
    fs::write(&kept, file.to_string()).unwrap();
    let expected = (key.to_string(), other.to_string(), "tuning".to_string());
    assert!(chosen(&bench, &model, &[]).contains(&expected));
    let text = bench.run(&["plan", &model, "--ctx", "64", "--chunk", "16"]).ok()
        + &bench.run(&["plan", &model, "--ctx", "64", "--chunk", "16", "--phase", "prefill"]).ok();
    assert!(text.contains("when measured on this device"), "{text}");
    let without = chosen(&bench, &model, &["--no-tuned"]);
    assert!(without.iter().all(|(_, _, by)| by != "tuning"), "{without:?}");
    let run = |options: &[&str]| {
        let arguments = ["run", &model, "--prompt-tokens", "1,2,3", "-n", "4", "--json"];
        bench.run(&[&arguments[..], options].concat()).json()["tokens"].clone()
    };
    assert_eq!(run(&["--ctx", "64", "--chunk", "16"]), run(&["--ctx", "64", "--no-tuned"]));
}

#[test]
fn files_that_are_damaged_or_of_another_device_or_version_are_left_out() {
    let bench = Bench::new();
    let (model, _, kept) = tuned(&bench);
    let file: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    let mut foreign = file.clone();
    foreign["driver"] = "another".into();
    let mut old = file;
    old["content"]["version"] = "0.0.1".into();
    let cases = [
        ("{\"device\"".to_string(), "it is damaged"),
        (foreign.to_string(), "it is about"),
        (old.to_string(), "with version 0.0.1 is ignored: tune again"),
    ];
    for (text, note) in cases {
        fs::write(&kept, text).unwrap();
        let finished = bench.run(&["plan", &model, "--json"]);
        assert!(finished.err.contains(note), "{note}: {}", finished.err);
        assert_eq!(finished.code, 0);
        let plan: Value = serde_json::from_str(&finished.out).unwrap();
        assert!(plan["kernels"].is_array());
    }
}

#[test]
fn speeds_of_no_device_are_left_out() {
    let bench = Bench::new();
    let (model, _, kept) = tuned(&bench);
    let name = kept.file_name().unwrap();
    let speeds = kept.parent().unwrap().with_file_name("devices").join(name);
    let mut file: Value = serde_json::from_slice(&fs::read(&speeds).unwrap()).unwrap();
    for us in [0.0, -1.0, 1e300] {
        file["content"]["dispatch_us"] = us.into();
        fs::write(&speeds, file.to_string()).unwrap();
        let finished = bench.run(&["plan", &model]);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.err.contains("dispatch_us"), "{finished:?}");
        assert!(finished.err.contains("`quarrel devices --measure`"), "{finished:?}");
    }
}
