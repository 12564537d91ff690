//! Ctrl-C: the first ends a generation, the second the program.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// Watches for interrupts from now on.
pub(crate) fn watch() {
    // Where the system refuses, an interrupt ends the program as it does without this.
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
    });
}

/// Whether an interrupt has come since the last [`clear`].
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Forgets an interrupt that has been obeyed.
pub(crate) fn clear() {
    ASKED.store(false, Ordering::SeqCst);
}
