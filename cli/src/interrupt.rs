//! Ctrl-C: while tokens are generated it ends the generation, the second time the program; at any
//! other time it ends the program. Large files that were written for a while go with it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Whether tokens are being generated.
static BUSY: AtomicBool = AtomicBool::new(false);
/// Whether an interrupt has come meanwhile.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Files that go when an interrupt ends the program.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The exit code of a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// Has interrupts handled here.
fn handle() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // Where the system refuses, an interrupt ends the program as it does without this.
        let _ = ctrlc::set_handler(|| {
            if !BUSY.load(Ordering::SeqCst) || ASKED.swap(true, Ordering::SeqCst) {
                for path in LEFT.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    // One that is gone already need not go.
                    let _ = std::fs::remove_file(path);
                }
                std::process::exit(INTERRUPTED);
            }
        });
    });
}

/// Removes a file, too, where an interrupt ends the program: nothing else would.
pub(crate) fn remove_at_end(path: &Path) {
    handle();
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(path.into());
}

/// A generation that an interrupt ends, as long as this lives.
pub(crate) struct Watch(());

impl Watch {
    /// Begins a generation; earlier interrupts are forgotten.
    pub(crate) fn start() -> Watch {
        handle();
        ASKED.store(false, Ordering::SeqCst);
        BUSY.store(true, Ordering::SeqCst);
        Watch(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::SeqCst);
    }
}

/// Whether an interrupt came during the last generation.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
