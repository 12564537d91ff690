//! Views of plans: questions, barriers, passes, changes and differences.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use support::{Bench, Tiny, has};

/// A model, and a device that was measured and need not be present.
fn bench() -> (Bench, String, String) {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let facts = facts(&bench, "nvidia-h100", &[("dispatch_us", 2.1), ("copy_bytes_per_s", 2.5e12)]);
    (bench, file, facts)
}

fn facts(bench: &Bench, name: &str, speeds: &[(&str, f64)]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/facts");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let mut facts: Value = serde_json::from_str(&text).unwrap();
    for (speed, value) in speeds {
        facts[speed] = (*value).into();
    }
    bench.file(&format!("{name}.json"), facts.to_string().as_bytes())
}

#[track_caller]
fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "too wide:\n{text}");
}

#[test]
fn the_text_view_predicts_and_maps_memory() {
    let (bench, file, facts) = bench();
    let text = bench.run(&["plan", &file, "--for", &facts]).ok();
    holds(
        &text,
        &["µs", "predicted", "tokens/s", "by what bounds it", "kept apart", "holds most at"],
    );
    let prefill = bench.run(&["plan", &file, "--for", &facts, "--phase", "prefill"]).ok();
    holds(&prefill, &["⌈N/", "predicted"]);
}

/// What is between quotes, without them, and the text with the quoted parts taken out.
fn strings(line: &str) -> (Vec<String>, String) {
    let (mut strings, mut rest, mut open, mut escaped) = (vec![], String::new(), None, false);
    for c in line.chars() {
        match (&mut open, c) {
            (None, '"') => open = Some(String::new()),
            (None, c) => rest.push(c),
            (Some(_), '"') if !escaped => strings.extend(open.take()),
            (Some(text), c) => {
                text.push(c);
                escaped = c == '\\' && !escaped;
            }
        }
    }
    assert!(open.is_none(), "a string has no end: {line}");
    (strings, rest)
}

/// Graphviz's language, as far as it is used: nodes are named once, edges are between nodes, layers
/// that are alike are drawn once.
#[test]
fn the_graph_for_graphviz_is_whole() {
    let (bench, file, facts) = bench();
    for phase in ["decode", "prefill"] {
        let dot = bench.run(&["plan", &file, "--for", &facts, "--format", "dot", "--phase", phase]);
        let dot = dot.ok();
        let (mut nodes, mut edges, mut depth, mut labels) = (HashSet::new(), vec![], 0, vec![]);
        for line in dot.lines() {
            let (strings, rest) = strings(line);
            labels.extend(strings);
            match rest.trim() {
                start if start.ends_with('{') => depth += 1,
                "}" => depth -= 1,
                edge if edge.contains("->") => {
                    let ends = edge.split(['[', ';']).next().unwrap_or_default().split("->");
                    edges.push(ends.map(|end| end.trim().to_owned()).collect::<Vec<_>>());
                }
                node if node.starts_with('d') => {
                    assert!(nodes.insert(node.split(' ').next().unwrap().to_owned()), "{line}");
                }
                _ => {}
            }
            assert!(depth > 0 || line == "}", "{line}");
        }
        assert_eq!(depth, 0);
        assert!(edges.len() + 1 >= nodes.len(), "{dot}");
        for edge in edges {
            assert!(matches!(&edge[..], [a, b] if nodes.contains(a) && nodes.contains(b)), "{dot}");
        }
        assert!(labels.iter().any(|label| label == "layers 0–1, × 2"), "{dot}");
        assert!(labels.iter().any(|label| label.contains("computes") && label.contains("µs")));
        assert!(dot.contains("style=dashed"), "{dot}");
    }
}

#[test]
fn two_values_are_explained() {
    let (bench, file, facts) = bench();
    let ask = |a: &str, b: &str, more: &[&str]| {
        bench.run(&[&["plan", &file, "--for", &facts, "--explain", a, b], more].concat())
    };
    holds(&ask("q", "k", &[]).ok(), &["one kernel computes both", "merge", "fuse-epilogue"]);
    holds(&ask("q", "attention", &[]).ok(), &["no kernel", "anchor-operands", "why", "change"]);
    let json = ask("h@1", "x@1", &["--json"]).json();
    has(&json, &["a", "b", "together", "steps", "anchors"]);
    has(&json["steps"][0]["decisions"][0], &["rule", "taken", "reason", "would_change", "pairs"]);
    ask("parrot", "q", &[]).refused(&["parrot", "%17", "layer"]);
    ask("%9999", "q", &[]).refused(&["%9999"]);
    // A synthetic shape has no file to be named after.
    let shape = ["plan", "--synthetic", "smollm2-135m:Q4_1", "--layers", "2", "--for", &facts];
    let shape = bench.run(&[&shape[..], &["--explain", "q", "k"]].concat()).ok();
    holds(&shape, &["one kernel computes both"]);
}

#[test]
fn barriers_have_causes() {
    let (bench, file, facts) = bench();
    let show = ["plan", &file, "--for", &facts, "--barriers"];
    holds(&bench.run(&show).ok(), &["barriers in", "after product_1", "reads", "2.10 µs"]);
    let json = bench.run(&[&show[..], &["--json"]].concat()).json();
    has(&json, &["barriers", "without_reuse", "where_needed", "longest_chain", "dispatch_us"]);
    has(&json["barriers"][0], &["before", "kernel", "hazards", "removed_by"]);
}

#[test]
fn passes_are_shown_and_traced() {
    let (bench, file, facts) = bench();
    let words = [
        ("graph", "attention"),
        ("canonical", "attention"),
        ("fused", "kernel of"),
        ("schedule", "kernel of"),
        ("weights", "blk.0.attn_q.weight + "),
        ("split", "kernel of"),
        ("lowered", "subgroup"),
        ("memory", "activations 0"),
    ];
    for (stage, word) in words {
        let text = bench.run(&["plan", &file, "--for", &facts, "--stage", stage]).ok();
        assert!(text.contains(word), "{stage}: {word:?} is not in:\n{text}");
    }
    let trace = bench.run(&["plan", &file, "--for", &facts, "--trace-passes"]).ok();
    for pass in ["canonicalise", "fuse", "schedule", "weights", "split", "lower", "memory"] {
        assert!(trace.lines().any(|line| line == pass), "{pass} is not in:\n{trace}");
    }
    assert!(trace.lines().any(|line| line.starts_with("- ")), "{trace}");
    assert!(trace.contains("+ decode: "), "{trace}");
}

#[test]
fn changes_are_predicted() {
    let (bench, file, facts) = bench();
    let shape = ["plan", "--synthetic", "llama-1b:Q4_0", "--layers", "2", "--ctx", "8192"];
    let shape = [&shape[..], &["--for", &facts]].concat();
    let what_if = |changes: &[&str]| {
        let each = changes.iter().flat_map(|change| ["--what-if", change]);
        bench.run(&shape.iter().copied().chain(each).chain(["--json"]).collect::<Vec<_>>())
    };
    let us = |json: &Value, side: usize| json["us"][side].as_f64().unwrap();
    let unfused = what_if(&["no-fuse"]).json();
    assert!(us(&unfused, 1) > us(&unfused, 0), "{unfused}");
    assert!(unfused["dispatches"][1].as_u64() > unfused["dispatches"][0].as_u64());
    let shorter = what_if(&["ctx=512", "slots=1"]).json();
    assert!(us(&shorter, 1) < us(&shorter, 0), "{shorter}");
    for change in ["split=1", "split=4", "no-coop", "subgroup=64", "chunk=64"] {
        has(&what_if(&[change]).json(), &["changes", "us", "dispatches", "kernels"]);
    }
    // Another variant of a product, by the key and a name that the plan gives.
    let plan = bench.run(&[&shape[..], &["--json"]].concat()).json();
    let mut choices = plan["kernels"].as_array().unwrap().iter().map(|kernel| &kernel["choice"]);
    let several = |choice: &&Value| choice["alternatives"].as_array().is_some_and(|a| a.len() > 1);
    let choice = choices.find(several).unwrap();
    let (key, taken) = (choice["key"].as_str().unwrap(), &choice["chosen"]);
    let mut names = choice["alternatives"].as_array().unwrap().iter().map(|other| &other["name"]);
    let other = names.find(|name| *name != taken).unwrap().as_str().unwrap();
    has(&what_if(&[format!("variant={key}:{other}").as_str()]).json(), &["us", "kernels"]);
    what_if(&[format!("variant={key}:parrot").as_str()]).refused(&["parrot", other]);
    what_if(&["variant=parrot:1"]).refused(&["parrot", key]);
    what_if(&["variant=parrot"]).refused(&["KEY:NAME", "--kernel NAME"]);
    what_if(&["fuse=h,x"]).refused(&["cannot be computed by one kernel", "fuse-prologue"]);
    what_if(&["parrot"]).refused(&["parrot", "split=N"]);
    what_if(&["split=0"]).refused(&["split", "1 to 64"]);
    // The text says so too.
    let view = bench.run(&shape).ok();
    assert!(view.contains("; one of ") && view.contains("--kernel NAME"), "{view}");
    let kernels = plan["kernels"].as_array().unwrap();
    let kernel = kernels.iter().find(|kernel| kernel["choice"]["key"] == key).unwrap();
    let kernel = [&shape[..], &["--kernel", kernel["name"].as_str().unwrap()]].concat();
    let wgsl = bench.run(&kernel).ok();
    let comments: Vec<&str> = wgsl.lines().take_while(|line| line.starts_with("// ")).collect();
    for word in [key, "others ", other, "--what-if variant="] {
        assert!(comments.iter().any(|line| line.contains(word)), "{word} is not in:\n{wgsl}");
    }
    // What only costs more is done where it is asked for.
    let prompt = ["plan", &file, "--for", &facts, "--phase", "prefill", "--precision", "f32"];
    let together = [&prompt[..], &["--what-if", "fuse=x,q"]].concat();
    let text = bench.run(&together).ok();
    assert!(text.contains("fuse=x,q") && text.contains("predicted"), "{text}");
}

/// Both plans run, and their kernels' times stand beside each other.
#[test]
fn changes_are_measured() {
    let (bench, file, facts) = bench();
    let measure =
        |more: &[&str]| bench.run(&[&["plan", &file, "--chunk", "16", "--measure"], more].concat());
    for phase in ["decode", "prefill"] {
        let json = measure(&["--phase", phase, "--what-if", "no-fuse", "--json"]).json();
        has(&json, &["changes", "us", "measured_us", "how", "spread", "dispatches", "kernels"]);
        let kernels = json["kernels"].as_array().unwrap();
        for (side, index) in [("before", 0), ("after", 1)] {
            let rows: Vec<&Value> = kernels.iter().map(|row| &row[side]).collect();
            let present = rows.iter().filter(|row| !row.is_null());
            let times = present.map(|row| row["measured_us"].as_f64().unwrap());
            let sum: f64 = times.inspect(|us| assert!(*us > 0.0, "{json}")).sum();
            let whole = json["measured_us"][index].as_f64().unwrap();
            assert!((sum - whole).abs() < 1e-6 * whole, "{sum} {json}");
        }
        assert!(kernels.iter().any(|row| !row["before"].is_null() && !row["after"].is_null()));
    }
    let text = measure(&["--what-if", "split=2"]).ok();
    holds(&text, &["split=2", "measured: kernels of a decode step", "predicted µs", "total"]);
    assert!(text.lines().any(|line| line.trim().starts_with("measured ")), "{text}");
    // Another device's plan does not run here.
    measure(&["--what-if", "subgroup=64"]).refused(&["subgroups of 64", "without --measure"]);
    let other = measure(&["--what-if", "no-fuse", "--for", &facts]);
    assert!(other.code == 2 && other.err.contains("--for"), "{other:?}");
}

#[test]
fn plans_are_compared() {
    let (bench, file, facts) = bench();
    let apple = self::facts(&bench, "apple-m3-pro", &[]);
    let (a, b) = (format!("{file} --for {facts}"), format!("{file} --for {apple}"));
    let text = bench.run(&["plan", "diff", &a, &b]).ok();
    for word in ["compiled from", "device.name", "kernels", "cause"] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    let same = bench.run(&["plan", "diff", &a, &a]).ok();
    assert!(same.contains("alike"), "{same}");
    // Each fact and option that brings something about is named.
    let json = bench.run(&["plan", "diff", &a, &format!("{a} --no-fuse"), "--json"]).json();
    has(&json, &["inputs", "figures", "changes", "fusions"]);
    assert_eq!(json["inputs"][0]["name"], "options.fuse");
    let fusions = json["fusions"].as_array().unwrap();
    assert!(!fusions.is_empty());
    for fusion in fusions {
        assert_eq!(fusion["causes"][0], "options.fuse", "{fusion}");
        assert_eq!(fusion["declined"]["rule"], "no-fuse", "{fusion}");
    }
    // Saved plans, and models of other shapes.
    let plan = bench.path().join("a.plan").display().to_string();
    bench.run(&["plan", &file, "--for", &facts, "--save", &plan]).ok();
    assert!(bench.run(&["plan", "diff", &plan, &a]).ok().contains("alike"));
    let shape = format!("--synthetic smollm2-135m:F16 --layers 2 --for {facts}");
    assert!(bench.run(&["plan", "diff", &plan, &shape]).ok().contains("model.vocabulary"));
    bench.run(&["plan", "diff", &plan, "nowhere.gguf"]).refused(&["nowhere.gguf"]);
    bench.run(&["plan", "diff", &plan, "a --parrot"]).refused(&["--parrot"]);
}
