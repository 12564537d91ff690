//! `quarrel bench` on a tiny model: what it prints, and what it refuses.

mod support;

use serde_json::Value;
use support::{Bench, Tiny, has};

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
        has(&json["roofline"], &["bytes_per_s", "flops_per_s", "dispatch_us"]);
        let least = number(&json["roofline"], "dispatch_us");
        let steps = json["kernels"].as_array().unwrap();
        assert_eq!(steps.len(), 2);
        for (step, test) in steps.iter().zip(json["tests"].as_array().unwrap()) {
            assert_eq!((&step["name"], &step["clock"]), (&test["name"], &clock.into()));
            assert_eq!(step["depth"], 3);
            let kernels = step["kernels"].as_array().unwrap();
            let sum = |field: &str| kernels.iter().map(|row| number(row, field)).sum::<f64>();
            let per_step = number(test, "dispatches_per_token") * number(step, "n");
            assert_eq!(sum("dispatches"), per_step, "{step}");
            assert!((sum("share") - 1.0).abs() < 1e-9);
            assert!((sum("us") / number(step, "step_us") - 1.0).abs() < 1e-9);
            for row in kernels {
                has(row, &["kernel", "family", "variant", "ops", "gb_per_s", "gflop_per_s"]);
                let us = number(row, "us");
                assert!(us > 0.0, "{row}");
                assert!(number(row, "roofline_us") >= least * number(row, "dispatches") * 0.999);
                let rate = number(row, "bytes") / us / 1e3;
                assert!((rate - number(row, "gb_per_s")).abs() <= 1e-9 * rate, "{row}");
                let lost = us - number(row, "roofline_us");
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
