//! What `serve --save` counts: its key in the diagnostics, and its families in `/metrics`.

use serde::Serialize;

use super::metrics::Exposition;

/// Of one array, since start; `queued_bytes` is as of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SavingFigures {
    /// Frames that are in a file, silence where nothing came included.
    pub frames: u64,
    /// Frames that are silence in the files though something came: the disk was full or too slow.
    pub not_saved_frames: u64,
    /// Bytes that the file system took: audio, headers, sidecars.
    pub bytes: u64,
    /// Audio files begun; each has a sidecar.
    pub files: u64,
    /// Old audio files removed to stay within `--save-max-bytes`.
    pub files_removed: u64,
    /// File operations that failed; each is tried again.
    pub errors: u64,
    pub queued_bytes: u64,
}

impl SavingFigures {
    /// `earlier`: `None` before it began.
    pub(super) fn since(&self, earlier: Option<&SavingFigures>) -> SavingFigures {
        let Some(earlier) = earlier else { return *self };
        SavingFigures {
            frames: self.frames - earlier.frames,
            not_saved_frames: self.not_saved_frames - earlier.not_saved_frames,
            bytes: self.bytes - earlier.bytes,
            files: self.files - earlier.files,
            files_removed: self.files_removed - earlier.files_removed,
            errors: self.errors - earlier.errors,
            queued_bytes: self.queued_bytes,
        }
    }

    pub(super) fn render(&self, text: &mut Exposition) {
        text.counter("micring_saved_frames_total", "Frames of aligned audio that are in a file.", self.frames);
        text.counter(
            "micring_not_saved_frames_total",
            "Frames that no file holds: disk full or too slow.",
            self.not_saved_frames,
        );
        text.counter("micring_saved_bytes_total", "Bytes written of aligned audio.", self.bytes);
        text.counter("micring_saved_files_total", "Files of aligned audio begun.", self.files);
        text.counter("micring_saved_files_removed_total", "Old files of aligned audio removed.", self.files_removed);
        text.counter("micring_saving_errors_total", "File operations that failed.", self.errors);
        text.gauge("micring_saving_queued_bytes", "Bytes that wait for the disk.", Some(self.queued_bytes));
    }
}
