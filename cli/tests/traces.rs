//! `--trace` of `quarrel run` and `quarrel chat` on a tiny model: the file, its events, and how they
//! lie.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

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

/// Reads a trace, of which every event is as the Trace Event Format wants it.
fn read(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    // The JSON array format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    events.iter().for_each(check_fields);
    let named = |what: &str, ids: &[&str]| -> BTreeSet<Vec<u64>> {
        let of = events.iter().filter(|event| event["name"] == what && event["ph"] == "M");
        of.map(|event| ids.iter().map(|id| event[*id].as_u64().unwrap()).collect()).collect()
    };
    let (processes, threads) =
        (named("process_name", &["pid"]), named("thread_name", &["pid", "tid"]));
    for ((pid, tid), events) in tracks(&events) {
        assert!(processes.contains(&vec![pid]), "process {pid} has no name");
        assert!(threads.contains(&vec![pid, tid]), "thread {tid} of process {pid} has no name");
        check_order(&events);
    }
    events
}

/// What an event's phase (`ph`) requires, of which there are two kinds here: complete events, with
/// begin and duration, and metadata, which name processes and threads.
fn check_fields(event: &Value) {
    let fields: BTreeSet<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    let always = BTreeSet::from(["name", "ph", "pid", "tid", "args"]);
    assert!(event["name"].as_str().is_some_and(|name| !name.is_empty()), "{event}");
    assert!(event["pid"].is_u64() && event["tid"].is_u64() && event["args"].is_object(), "{event}");
    match event["ph"].as_str() {
        Some("X") => {
            let timed = always.union(&BTreeSet::from(["ts", "dur"])).copied().collect();
            assert_eq!(fields, timed, "{event}");
            // Microseconds from the beginning of the command.
            let (ts, dur) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
            assert!([ts, dur].iter().all(|us| (0.0..1e9).contains(us)), "{event}");
        }
        Some("M") => {
            assert_eq!(fields, always, "{event}");
            assert!(["process_name", "thread_name"].contains(&event["name"].as_str().unwrap()));
            assert!(event["args"]["name"].as_str().is_some_and(|name| !name.is_empty()), "{event}");
        }
        _ => panic!("an event of another kind: {event}"),
    }
}

/// Events of a track come in order, and are apart from each other or one within another: viewers draw
/// nothing sensible of others.
fn check_order(events: &[&Value]) {
    let mut open: Vec<(i64, i64)> = Vec::new();
    let mut last = 0;
    for event in events {
        let (start, end) = times(event);
        assert!(last <= start && start <= end, "{event} after {last}");
        last = start;
        open.retain(|(_, other)| *other > start);
        if let Some(outer) = open.last() {
            assert!(outer.0 <= start && end <= outer.1, "{event} in {outer:?}");
        }
        open.push((start, end));
    }
}

#[test]
fn a_trace_has_every_token_and_nests() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let path = bench.path().join("trace.json").display().to_string();
    let run = ["run", &file, "--raw", "-n", "6", "--chunk", "8", "--json", "Hello, how are you?"];
    let json = bench.run(&[&run[..], &["--trace", &path]].concat()).json();
    let events = read(&path);
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

/// A conversation is one trace, each turn in it.
#[test]
fn a_conversation_is_traced() {
    let bench = Bench::new();
    let file = bench.model(&Tiny::default());
    let path = bench.path().join("trace.json").display().to_string();
    let chat = ["chat", &file, "-n", "3", "--trace", &path];
    bench.run_with(&chat, "Hello\nAnd now?\n").ok();
    let events = read(&path);
    let count = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert!(count("prompt chunk") >= 2, "a turn has a prompt");
    assert!((2..=6).contains(&count("token")), "{} tokens", count("token"));
    // Nothing was said: what was done until then is there.
    bench.run_with(&chat, "").ok();
    assert!(read(&path).iter().any(|event| event["name"] == "compile the plan"));
    bench
        .run(&["chat", &file, "--trace", &path, "--device", "reference"])
        .refused(&["--trace", "GPU"]);
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
