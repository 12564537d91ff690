//! Ctrl-C: while tokens are generated it ends the generation, the second time the program; at any
//! other time it ends the program.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether tokens are being generated.
static BUSY: AtomicBool = AtomicBool::new(false);
/// Whether an interrupt has come meanwhile.
static ASKED: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// A generation that an interrupt ends, as long as this lives.
pub(crate) struct Watch(());

impl Watch {
    /// Begins a generation; earlier interrupts are forgotten.
    pub(crate) fn start() -> Watch {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // Where the system refuses, an interrupt ends the program as it does without this.
            let _ = ctrlc::set_handler(|| {
                if !BUSY.load(Ordering::SeqCst) || ASKED.swap(true, Ordering::SeqCst) {
                    std::process::exit(INTERRUPTED);
                }
            });
        });
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
