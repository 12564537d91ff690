//! The threads of a driver that runs kernels in software, on a real device.
#![cfg(target_os = "linux")]

use quarrel_ir::facts::DeviceKind;
use quarrel_runtime::Gpu;
use std::path::Path;

/// The value of a field of a thread's status.
fn status(task: &Path, field: &str) -> String {
    let text = std::fs::read_to_string(task.join("status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// Processors in a list such as `0-3,8`.
fn count(list: &str) -> usize {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).sum()
}

#[test]
fn each_processor_has_a_thread_of_the_driver() {
    let gpu = Gpu::open(None).expect("tests need a Vulkan device");
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists threads").flatten();
    let tasks = tasks.map(|task| task.path());
    let places: Vec<String> = tasks
        .filter(|task| status(task, "Name") == "quarrel-device")
        .map(|task| status(&task, "Cpus_allowed_list"))
        .collect();
    let own = status(Path::new("/proc/thread-self"), "Cpus_allowed_list");
    let processors = count(&own);
    if gpu.facts().kind != DeviceKind::Cpu || processors < 2 || places.len() < processors {
        assert!(places.iter().all(|place| *place == own), "threads were moved: {places:?}");
        return;
    }
    let single = |place: &String| place.parse::<usize>().is_ok();
    assert!(places.iter().all(single), "a thread has several processors: {places:?}");
    let distinct: std::collections::BTreeSet<_> = places.iter().collect();
    assert_eq!(distinct.len(), processors, "processors without a thread: {places:?}");
}
