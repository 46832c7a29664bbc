//! What `serve --record` counts: its key in the diagnostics, and its families in `/metrics`.

use serde::Serialize;

use super::channels::by_channel;
use super::metrics::Exposition;
use crate::array::Layout;

/// Since start; `queued_bytes` is as of now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RecordingFigures {
    /// Datagrams of each source that are in a file as a whole.
    pub recorded: Vec<u64>,
    /// Datagrams that are in none: the disk was full or too slow, or the kernel gave no timestamp.
    pub not_recorded: Vec<u64>,
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
    /// Of so many sources.
    pub fn new(sources: usize) -> RecordingFigures {
        RecordingFigures { recorded: vec![0; sources], not_recorded: vec![0; sources], ..Default::default() }
    }

    /// Becomes those of these sources alone, in the room that it has; what is no source's is as it is.
    pub fn copy_of(&mut self, all: &RecordingFigures, sources: impl Iterator<Item = usize> + Clone) {
        let RecordingFigures { mut recorded, mut not_recorded, .. } = std::mem::take(self);
        recorded.clear();
        recorded.extend(sources.clone().map(|source| all.recorded[source]));
        not_recorded.clear();
        not_recorded.extend(sources.map(|source| all.not_recorded[source]));
        *self = RecordingFigures { recorded, not_recorded, ..*all };
    }

    /// Becomes these, in the room that it has: for what is called each turn of a loop.
    pub fn copy(&mut self, newest: &RecordingFigures) {
        let RecordingFigures { recorded, not_recorded, .. } = std::mem::take(self);
        *self = RecordingFigures { recorded, not_recorded, ..*newest };
        self.recorded.clone_from(&newest.recorded);
        self.not_recorded.clone_from(&newest.not_recorded);
    }

    /// `earlier`: `None` before it began.
    pub(super) fn since(&self, earlier: Option<&RecordingFigures>) -> RecordingFigures {
        let Some(earlier) = earlier else { return self.clone() };
        let per_mic = |now: &[u64], then: &[u64]| now.iter().zip(then).map(|(now, then)| now - then).collect();
        RecordingFigures {
            recorded: per_mic(&self.recorded, &earlier.recorded),
            not_recorded: per_mic(&self.not_recorded, &earlier.not_recorded),
            bytes: self.bytes - earlier.bytes,
            files: self.files - earlier.files,
            files_removed: self.files_removed - earlier.files_removed,
            errors: self.errors - earlier.errors,
            queued_bytes: self.queued_bytes,
        }
    }

    pub(super) fn render(&self, text: &mut Exposition, layout: &Layout) {
        let of = |counts: &[u64]| by_channel(layout).map(|source| Some(counts[source])).collect::<Vec<_>>();
        let (recorded, not_recorded) = (of(&self.recorded), of(&self.not_recorded));
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
        let earlier = RecordingFigures {
            recorded: vec![5, 6, 7],
            bytes: 100,
            files: 1,
            queued_bytes: 9,
            ..RecordingFigures::new(3)
        };
        let now =
            RecordingFigures { recorded: vec![8, 8, 8], bytes: 150, files: 2, queued_bytes: 4, ..earlier.clone() };
        let since = now.since(Some(&earlier));
        assert_eq!((since.recorded, since.bytes, since.files, since.queued_bytes), (vec![3, 2, 1], 50, 1, 4));
        assert_eq!(now.since(None), now);
    }
}
