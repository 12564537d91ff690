//! Bounds on what a template may do to the process that runs it.
//!
//! The engine counts instructions and the bytes they make. Two things escape its count: recursion
//! over values and expressions nested very deeply, and single instructions on a list that holds
//! the same list many times over, which a few lines can make larger than any memory. So templates
//! run on a thread of their own, with a large stack and a deadline.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::ChatError;

/// Bytes that a template's source may have: several times that of the longest in use.
pub(super) const MAX_SOURCE: usize = 256 << 10;

/// Stack of the thread; only what is touched takes memory. Enough for the deepest nesting that
/// [`MAX_SOURCE`] and the fuel allow.
const STACK: usize = 512 << 20;

/// Time that reading or rendering a template may take. Real ones take milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);

/// Runs `work` within bounds. Past the deadline its thread is left behind, since a thread cannot
/// be ended from outside; it ends with the process.
pub(super) fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChatError> + Send + 'static,
) -> Result<T, ChatError> {
    let (send, receive) = sync_channel(1);
    let task = move || {
        // The receiver is gone if the deadline has passed; then nobody wants the result.
        let _ = send.send(work());
    };
    let builder = thread::Builder::new().name("chat-template".to_owned()).stack_size(STACK);
    builder.spawn(task).map_err(|error| ChatError::Thread { detail: error.to_string() })?;
    match receive.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(ChatError::Deadline),
        Err(RecvTimeoutError::Disconnected) => Err(ChatError::Crashed),
    }
}
