//! `quarrel run --trace` on a tiny model: the file, its events, and how they lie.

#![expect(clippy::unwrap_used, reason = "test helpers")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use support::{Bench, Tiny};

/// Begin and end in nanoseconds.
fn times(event: &Value) -> (i64, i64) {
    let ns = |field: &str| (event[field].as_f64().unwrap() * 1e3).round() as i64;
    (ns("ts"), ns("ts") + ns("dur"))
}

/// Complete events by process and thread, in the file's order.
fn tracks(events: &[Value]) -> BTreeMap<(u64, u64), Vec<&Value>> {
    let mut tracks: BTreeMap<(u64, u64), Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let id = |field: &str| event[field].as_u64().unwrap();
        tracks.entry((id("pid"), id("tid"))).or_default().push(event);
    }
    tracks
}

#[test]
fn a_trace_has_every_token_and_nests() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let path = bench.path().join("trace.json").display().to_string();
    let run = ["run", &file, "--raw", "-n", "6", "--chunk", "8", "--json", "Hello, how are you?"];
    let json = bench.run(&[&run[..], &["--trace", &path]].concat()).json();
    let events: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let tokens: Vec<u64> =
        json["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    let named = |name: &str| events.iter().filter(|e| e["name"] == name).collect::<Vec<_>>();
    // Each token has its events, in order; steps of several tokens have as many on the device.
    let ids: Vec<u64> =
        named("token").iter().map(|e| e["args"]["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ids, tokens);
    let prompt = json["prompt_tokens"].as_array().unwrap().len();
    assert_eq!(named("prompt chunk").len(), prompt.div_ceil(8));
    for name in ["open the model", "compile the plan", "load the weights", "compile a kernel"] {
        assert!(!named(name).is_empty(), "{name}");
    }
    for name in ["record", "submit", "wait for the device", "read back"] {
        assert!(named(name).len() >= tokens.len().div_ceil(32), "{name}");
    }
    // What lies on a track is apart from each other or one within another.
    for (track, events) in tracks(&events) {
        let mut open: Vec<(i64, i64)> = Vec::new();
        for event in events {
            let (start, end) = times(event);
            assert!(start <= end, "{event}");
            open.retain(|(_, other)| *other > start);
            if let Some(outer) = open.last() {
                assert!(outer.0 <= start && end <= outer.1, "{track:?}: {event} in {outer:?}");
            }
            open.push((start, end));
        }
    }
    check_device(&bench, &file, &events, tokens.len());
}

/// The device's events: programs, and in them kernels of the plan.
fn check_device(bench: &Bench, file: &str, events: &[Value], tokens: usize) {
    let plan = bench.run(&["plan", file, "--chunk", "8", "--json"]).json();
    let names = |field: &str| -> BTreeSet<String> {
        let all = plan[field].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let (programs, kernels) = (names("programs"), names("kernels"));
    let device: Vec<&str> = events
        .iter()
        .filter(|event| event["ph"] == "X" && event["pid"] == 2)
        .map(|event| event["name"].as_str().unwrap())
        .collect();
    let clock = events.iter().any(|event| {
        event["pid"] == 2 && event["args"]["name"].as_str().is_some_and(|n| n.contains("within"))
    });
    assert!(clock || device.is_empty(), "events by no clock");
    if clock {
        let count = |name: &str| device.iter().filter(|found| **found == name).count();
        assert!(count("decode") >= tokens - 1 && count("greedy") >= tokens, "{device:?}");
        assert!(count("prefill") > 0, "{device:?}");
        let known = |name: &str| programs.contains(name) || kernels.contains(name);
        assert!(device.iter().all(|name| known(name)), "{device:?}");
    }
}

#[test]
fn a_trace_that_cannot_be_is_refused() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let run = ["run", &file, "--raw", "-n", "1", "Hello", "--trace"];
    bench
        .run(&[&run[..], &["t.json", "--device", "reference"]].concat())
        .refused(&["--trace", "GPU"]);
    let with = |place: &str| bench.run(&[&run[..], &[place]].concat());
    with("nowhere/t.json").refused(&["--trace", "no folder nowhere"]);
    with(".").refused(&["--trace", "is a folder"]);
}
