//! What `serve --record` counts: its key in the diagnostics, and its families in `/metrics`.

use serde::Serialize;

use super::metrics::Text;
use crate::MICS;

/// Since start; `queued_bytes` is as of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RecordingFigures {
    /// Datagrams of each microphone that are in a file as a whole.
    pub recorded: [u64; MICS],
    /// Datagrams that are in none: the disk was full or too slow, or the kernel gave no timestamp.
    pub not_recorded: [u64; MICS],
    /// Bytes that the file system took.
    pub bytes: u64,
    pub files: u64,
    /// Old recordings removed to stay within `--record-max-bytes`.
    pub files_removed: u64,
    /// File operations that failed; each is tried again.
    pub errors: u64,
    pub queued_bytes: u64,
}

impl RecordingFigures {
    pub(super) fn since(&self, earlier: &RecordingFigures) -> RecordingFigures {
        let per_mic = |now: [u64; MICS], then: [u64; MICS]| std::array::from_fn(|mic| now[mic] - then[mic]);
        RecordingFigures {
            recorded: per_mic(self.recorded, earlier.recorded),
            not_recorded: per_mic(self.not_recorded, earlier.not_recorded),
            bytes: self.bytes - earlier.bytes,
            files: self.files - earlier.files,
            files_removed: self.files_removed - earlier.files_removed,
            errors: self.errors - earlier.errors,
            queued_bytes: self.queued_bytes,
        }
    }

    pub(super) fn render(&self, text: &mut Text) {
        let (recorded, not_recorded) = (self.recorded.map(Some), self.not_recorded.map(Some));
        text.per_mic("micring_recorded_datagrams_total", "counter", "Datagrams in a recording.", recorded);
        text.per_mic(
            "micring_not_recorded_datagrams_total",
            "counter",
            "Datagrams that no recording holds: disk full or too slow.",
            not_recorded,
        );
        text.counter("micring_recording_bytes_total", "Bytes written to recordings.", self.bytes);
        text.counter("micring_recording_files_total", "Recordings begun.", self.files);
        text.counter("micring_recording_files_removed_total", "Old recordings removed.", self.files_removed);
        text.counter("micring_recording_errors_total", "File operations that failed.", self.errors);
        text.gauge("micring_recording_queued_bytes", "Bytes that wait for the disk.", Some(self.queued_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_since_is_the_difference_but_the_queue_is_as_it_is() {
        let earlier =
            RecordingFigures { recorded: [5, 6, 7], bytes: 100, files: 1, queued_bytes: 9, ..Default::default() };
        let now = RecordingFigures { recorded: [8, 8, 8], bytes: 150, files: 2, queued_bytes: 4, ..earlier };
        let since = now.since(&earlier);
        assert_eq!((since.recorded, since.bytes, since.files, since.queued_bytes), ([3, 2, 1], 50, 1, 4));
    }
}
