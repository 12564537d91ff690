//! What is shown while a model is fetched: a bar on a terminal, a line or two otherwise.

use crate::output::remark;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows progress on the standard error stream. Clones show the same progress.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    /// A bar where standard error is a terminal; otherwise only the lines that matter.
    pub(crate) fn stderr() -> Progress {
        Progress::new(ProgressDrawTarget::stderr(), true)
    }

    /// Shows nothing.
    #[cfg(test)]
    pub(crate) fn hidden() -> Progress {
        Progress::new(ProgressDrawTarget::hidden(), false)
    }

    fn new(target: ProgressDrawTarget, lines: bool) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{msg:12} {wide_bar} {decimal_bytes}/{decimal_total_bytes} \
                        {decimal_bytes_per_sec} {eta}";
        // A malformed template would leave the default style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar, lines }
    }

    /// A line that is worth keeping wherever the output goes.
    pub(super) fn line(&self, text: &str) {
        match self.bar.length() {
            _ if !self.lines => {}
            // Not started: nothing is drawn that would have to go.
            Some(0) => remark(&format!("{text}\n")),
            _ => self.bar.suspend(|| remark(&format!("{text}\n"))),
        }
    }

    /// A line for somebody who is watching.
    pub(super) fn note(&self, text: &str) {
        if !self.bar.is_hidden() {
            self.line(text);
        }
    }

    /// Starts a part of the work, of so many bytes.
    pub(super) fn start(&self, what: &'static str, bytes: u64) {
        self.bar.set_length(bytes);
        self.bar.set_message(what);
        self.bar.reset();
    }

    /// Says how many of the part's bytes are done.
    pub(super) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes.min(self.bar.length().unwrap_or(u64::MAX)));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
