//! Bytes of system memory that are free.

/// Bytes of memory that programs may still take; `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes of memory that programs may take: macOS compresses and swaps, so all but a quarter of what
/// the machine has; `None` where the system does not say.
#[cfg(target_os = "macos")]
pub(crate) fn available_memory() -> Option<u64> {
    let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.memsize"]).output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(text.trim().parse::<u64>().ok()? / 4 * 3)
}

/// Unknown on this system.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(crate) fn available_memory() -> Option<u64> {
    None
}
