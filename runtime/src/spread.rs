//! Spreads the threads of a driver that runs kernels in software over the processors.
//!
//! Such a driver wakes its workers for each dispatch. With dispatches of a fraction of a millisecond two
//! workers were seen to share one processor for good while another idled, on Linux, which does not
//! move threads that ran a moment ago (docs/performance.md has the figures). Where there are as many threads
//! as processors, each gets one of its own.

/// The name of the thread that opens a device, which the driver's threads inherit.
pub(crate) const NAME: &str = "quarrel-device";

/// The driver's threads that there are.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
pub(crate) struct Threads(std::collections::BTreeSet<i32>);

#[cfg(target_os = "linux")]
impl Threads {
    /// The threads that have the [`NAME`], but for the calling one; none if the system does not tell.
    pub(crate) fn now() -> Threads {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let named = tasks.filter(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.trim_end() == NAME
        });
        let ids = named.filter_map(|task| task.file_name().to_str()?.parse().ok());
        Threads(ids.filter(|id| *id != own).collect())
    }

    /// Gives each thread that has come since then a processor, in turn: workers are started one after
    /// another, so neighbours get different ones. Nothing where there are fewer threads than
    /// processors, as then there are processors to spare, or where the system refuses.
    pub(crate) fn spread_new(&self) {
        use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
        let Ok(allowed) = sched_getaffinity(None) else { return };
        let processors: Vec<usize> =
            (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let now = Threads::now();
        let new: Vec<Pid> = now.0.difference(&self.0).filter_map(|id| Pid::from_raw(*id)).collect();
        if processors.len() < 2 || new.len() < processors.len() {
            return;
        }
        for (thread, processor) in new.into_iter().zip(processors.into_iter().cycle()) {
            let mut one = CpuSet::new();
            one.set(processor);
            // A thread that cannot be moved stays where the system puts it.
            let _ = sched_setaffinity(Some(thread), &one);
        }
    }
}

/// The driver's threads that there are: other systems are not asked.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Default)]
pub(crate) struct Threads;

#[cfg(not(target_os = "linux"))]
impl Threads {
    pub(crate) fn now() -> Threads {
        Threads
    }

    pub(crate) fn spread_new(&self) {}
}
