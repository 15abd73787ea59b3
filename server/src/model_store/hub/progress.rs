//! How a download shows itself: a bar on a terminal, lines of the log otherwise.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::api::tokio::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Lines of the log for one large file, at most.
const LINES_OF_A_FILE: u64 = 10;
/// Smaller files get one line.
const LARGE_FILE_BYTES: u64 = 64 << 20;

/// Follows the download of one file. Clones follow the same one.
#[derive(Clone)]
pub(super) struct FileProgress {
    file: Arc<str>,
    display: Display,
    total_bytes: Arc<AtomicU64>,
    fetched_bytes: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Display {
    Bar(ProgressBar),
    Lines,
}

impl FileProgress {
    /// Shows the download on standard error.
    pub(super) fn new(file: &str) -> Self {
        let display = if std::io::stderr().is_terminal() {
            let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            Display::Bar(ProgressBar::new(0).with_style(style).with_message(file.to_owned()))
        } else {
            Display::Lines
        };
        Self { file: Arc::from(file), display, total_bytes: Arc::default(), fetched_bytes: Arc::default() }
    }

    /// Whether any attempt has come so far that the file's size is known.
    pub(super) fn has_begun(&self) -> bool {
        self.total_bytes.load(Ordering::Relaxed) > 0
    }

    /// Bytes that have come in this attempt, with those that an earlier one has left.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    /// Whether a line is due now that `after` bytes are there, and `before` were there at the last look.
    fn is_line_due(total: u64, before: u64, after: u64) -> bool {
        let part = (total / LINES_OF_A_FILE).max(1);
        total >= LARGE_FILE_BYTES && after < total && before / part != after / part
    }
}

impl Progress for FileProgress {
    async fn init(&mut self, size: usize, _filename: &str) {
        self.total_bytes.store(size as u64, Ordering::Relaxed);
        self.fetched_bytes.store(0, Ordering::Relaxed);
        match &self.display {
            Display::Bar(bar) => bar.set_length(size as u64),
            Display::Lines => tracing::info!(file = %self.file, bytes = size, "fetching"),
        }
    }

    async fn update(&mut self, size: usize) {
        let before = self.fetched_bytes.fetch_add(size as u64, Ordering::Relaxed);
        let total = self.total_bytes.load(Ordering::Relaxed);
        match &self.display {
            Display::Bar(bar) => bar.set_position((before + size as u64).min(total)),
            Display::Lines if Self::is_line_due(total, before, before + size as u64) => {
                tracing::info!(file = %self.file, bytes = total, fetched = before + size as u64, "fetching");
            }
            Display::Lines => {}
        }
    }

    async fn finish(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_gets_a_line_for_each_tenth() {
        let total = 100 << 20;
        let due = |before: u64, after: u64| FileProgress::is_line_due(total, before << 20, after << 20);
        assert!(due(9, 10) && due(5, 35));
        assert!(!due(10, 19) && !due(99, 100));
        assert!(!FileProgress::is_line_due(1000, 0, 999));
    }
}
