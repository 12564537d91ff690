//! The machine and the day, for reports.

use std::time::{SystemTime, UNIX_EPOCH};

/// The machine, as far as it says.
pub(super) struct System {
    pub(super) os: String,
    pub(super) cpu: String,
    pub(super) processors: usize,
    pub(super) memory: Option<u64>,
}

const UNKNOWN: &str = "unknown";

impl System {
    /// This one.
    pub(super) fn here() -> System {
        let name = os().unwrap_or_else(|| std::env::consts::OS.into());
        System {
            os: format!("{name} ({})", std::env::consts::ARCH),
            cpu: cpu().unwrap_or_else(|| UNKNOWN.into()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory(),
        }
    }
}

/// The value after `key` and a separator in a file of such lines.
#[cfg(target_os = "linux")]
fn field(path: &str, key: &str, separator: char) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().trim_matches('"').to_string())
    });
    value.filter(|value| !value.is_empty())
}

#[cfg(target_os = "linux")]
fn os() -> Option<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let name = field("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| "Linux".into());
    Some(format!("{name}, kernel {}", kernel.trim()))
}

#[cfg(target_os = "linux")]
fn cpu() -> Option<String> {
    field("/proc/cpuinfo", "model name", ':')
}

#[cfg(target_os = "linux")]
fn memory() -> Option<u64> {
    let text = field("/proc/meminfo", "MemTotal", ':')?;
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a program of the system prints.
#[cfg(target_os = "macos")]
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_string()).filter(|text| !text.is_empty())
}

#[cfg(target_os = "macos")]
fn os() -> Option<String> {
    Some(format!("macOS {}", printed("/usr/bin/sw_vers", &["-productVersion"])?))
}

#[cfg(target_os = "macos")]
fn cpu() -> Option<String> {
    printed("/usr/sbin/sysctl", &["-n", "machdep.cpu.brand_string"])
}

#[cfg(target_os = "macos")]
fn memory() -> Option<u64> {
    printed("/usr/sbin/sysctl", &["-n", "hw.memsize"])?.parse().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn os() -> Option<String> {
    None
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn cpu() -> Option<String> {
    None
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn memory() -> Option<u64> {
    None
}

/// Now, in UTC: `2026-11-23 02:15`.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock set before 1970 reads as 1970.
    moment(since.map_or(0, |since| since.as_secs()))
}

/// The Gregorian date and the time of a count of seconds since 1970.
fn moment(seconds: u64) -> String {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut days, mut year) = (seconds / 86_400, 1970);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00");
        assert_eq!(moment(1_795_399_199), "2026-11-23 01:59");
        assert_eq!(moment(4_102_444_799), "2099-12-31 23:59");
    }
}
