//! What host and device did, as a file for Perfetto and Chrome: the JSON array of the Trace Event
//! Format, complete events ("X") with times in microseconds.

use crate::error::{CliError, Result};
use crate::files;
use quarrel_runtime::{Span, Trace, Track};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// An event of the format.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: char,
    pid: u32,
    tid: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    args: BTreeMap<&'a str, String>,
}

/// The processes under which tracks stand.
const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// Process and thread of a track.
fn ids(track: Track) -> (u32, usize) {
    match track {
        Track::Host(thread) => (HOST, thread + 1),
        Track::Device => (DEVICE, 1),
    }
}

fn named(what: &'static str, pid: u32, tid: usize, name: String) -> Event<'static> {
    let args = [("name", name)].into();
    Event { name: what, ph: 'M', pid, tid, ts: None, dur: None, args }
}

/// A span in whole nanoseconds, so that what lies in another still does.
fn event(span: &Span) -> Event<'_> {
    let (pid, tid) = ids(span.track);
    let nanoseconds = |us: f64| (us * 1e3).round();
    let (start, end) = (nanoseconds(span.start_us), nanoseconds(span.start_us + span.us));
    let args = span.details.iter().map(|(name, value)| (*name, value.clone())).collect();
    let (ts, dur) = (Some(start / 1e3), Some((end - start) / 1e3));
    Event { name: &span.name, ph: 'X', pid, tid, ts, dur, args }
}

/// All events: the names of the tracks first.
fn events(trace: &Trace) -> Vec<Event<'_>> {
    let device = &trace.device;
    let clock = match trace.clocks_within_us {
        Some(within) => format!("{device} (its clock within {within:.0} µs of the host's)"),
        None => format!("{device} (it has no clock)"),
    };
    let mut all = vec![
        named("process_name", HOST, 0, "host".into()),
        named("process_name", DEVICE, 0, clock),
        named("thread_name", DEVICE, 1, "queue".into()),
    ];
    for (thread, name) in trace.threads.iter().enumerate() {
        let (pid, tid) = ids(Track::Host(thread));
        all.push(named("thread_name", pid, tid, name.clone()));
    }
    all.extend(trace.spans.iter().map(event));
    all
}

/// Writes the file, an event a line.
pub(crate) fn write(path: &Path, trace: &Trace) -> Result<()> {
    let lines: Vec<String> =
        events(trace).iter().map(serde_json::to_string).collect::<serde_json::Result<_>>()?;
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    files::write(path, text.as_bytes()).map_err(|why| {
        CliError::User(format!("the trace cannot be written to {}: {why}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_within_others_stay_within() {
        let span = |start_us, us| Span {
            track: Track::Device,
            name: "step".into(),
            details: vec![("layer", "3".into())],
            start_us,
            us,
        };
        let trace = Trace {
            device: "gpu".into(),
            spans: vec![span(1.0004, 2.0003), span(2.0005, 1.0002)],
            threads: vec!["main".into()],
            clocks_within_us: Some(12.0),
        };
        let events = events(&trace);
        let end = |event: &Event<'_>| event.ts.unwrap() + event.dur.unwrap();
        let [.., outer, inner] = &events[..] else { panic!("two spans") };
        assert!((end(outer) - end(inner)).abs() < 1e-9);
        assert_eq!((outer.ph, outer.pid, &outer.args["layer"][..]), ('X', 2, "3"));
        assert_eq!(events[3].args["name"], "main");
    }
}
