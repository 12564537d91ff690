//! A bar for loading weights, on a terminal and where it takes long enough to be seen.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Loading that is over sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(400);

/// The bar; it goes when it is dropped.
pub(crate) struct LoadBar {
    bar: ProgressBar,
    start: Instant,
}

impl LoadBar {
    /// A bar on the standard error stream; nothing is shown where that is no terminal.
    pub(crate) fn new() -> LoadBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "loading {wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}";
        // A malformed template would leave the default style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        LoadBar { bar, start: Instant::now() }
    }

    /// `done` of `whole` bytes are loaded.
    pub(crate) fn at(&self, done: u64, whole: u64) {
        if self.start.elapsed() > PATIENCE {
            self.bar.set_length(whole);
            self.bar.set_position(done);
        }
    }
}

impl Drop for LoadBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
