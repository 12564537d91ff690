//! Keeps the noise of graphics drivers off the user's terminal.
//!
//! Drivers write to file descriptor 2 from C code, past every logger: Mesa's software Vulkan says
//! that it is not conformant each time it is loaded, and window-system code complains of a missing
//! `XDG_RUNTIME_DIR` although no window is wanted. While a driver is loaded, what it writes is
//! caught; lines known to mean nothing are dropped and all others are passed on.

/// Parts of lines that say nothing to a user.
const NOISE: [&str; 4] = [
    "lavapipe is not a conformant vulkan implementation",
    "XDG_RUNTIME_DIR not set in the environment",
    "XDG_RUNTIME_DIR is invalid or not set",
    "is not a conformant Vulkan implementation",
];

/// Whether a line of a driver's output is dropped.
fn is_noise(line: &str) -> bool {
    NOISE.iter().any(|noise| line.contains(noise))
}

/// Runs `work` and returns its result, without the drivers' noise on the terminal.
#[cfg(not(target_os = "linux"))]
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let _ = is_noise;
    work()
}

/// Runs `work` and returns its result, without the drivers' noise on the terminal.
///
/// If the output cannot be caught, `work` runs with it as it is.
#[cfg(target_os = "linux")]
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    use std::sync::{Mutex, PoisonError};
    // Two redirections at once would restore each other's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let catcher = linux::Catcher::start();
    let result = work();
    drop(catcher);
    result
}

#[cfg(target_os = "linux")]
mod linux {
    use super::is_noise;
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::{AsFd, OwnedFd};

    /// File descriptor 2 points to memory while this lives.
    pub(super) struct Catcher {
        terminal: OwnedFd,
        caught: File,
    }

    impl Catcher {
        /// Redirects file descriptor 2; `None` if the system refuses.
        pub(super) fn start() -> Option<Catcher> {
            let terminal = std::io::stderr().as_fd().try_clone_to_owned().ok()?;
            let caught = memfd_create("driver messages", MemfdFlags::CLOEXEC).ok()?;
            rustix::stdio::dup2_stderr(&caught).ok()?;
            Some(Catcher { terminal, caught: caught.into() })
        }

        /// Passes on what is not noise.
        fn forward(&mut self) -> std::io::Result<()> {
            let mut bytes = Vec::new();
            self.caught.seek(SeekFrom::Start(0))?;
            self.caught.read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            let mut terminal = std::io::stderr().lock();
            text.split_inclusive('\n')
                .filter(|line| !is_noise(line))
                .try_for_each(|line| terminal.write_all(line.as_bytes()))
        }
    }

    impl Drop for Catcher {
        fn drop(&mut self) {
            // If either fails there is nowhere left to report it.
            if rustix::stdio::dup2_stderr(&self.terminal).is_ok() {
                let _ = self.forward();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_noise;

    #[test]
    fn known_lines_are_noise_and_others_are_not() {
        assert!(is_noise(
            "WARNING: lavapipe is not a conformant vulkan implementation, testing use only."
        ));
        assert!(is_noise("error: XDG_RUNTIME_DIR not set in the environment."));
        assert!(!is_noise("error: the GPU is on fire"));
    }
}
