//! Work on a thread of its own whose result is wanted later.

use std::thread::JoinHandle;

/// A result that is being worked on. Dropping it waits: device drivers are loaded with the standard
/// error stream redirected, and the program must not end before that is undone.
#[derive(Debug)]
pub(crate) struct Pending<T>(Option<JoinHandle<T>>);

impl<T: Send + 'static> Pending<T> {
    /// Starts the work.
    pub(crate) fn start(work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        Pending(Some(std::thread::spawn(work)))
    }

    /// Waits for the result. A panic of the work goes on here.
    pub(crate) fn wait(mut self) -> T {
        match self.0.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            // The handle is taken here and in `drop` alone, and `self` is gone afterwards.
            None => unreachable!("a pending result is waited for once"),
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Its result, and a panic, concern nobody any more.
            drop(thread.join());
        }
    }
}
