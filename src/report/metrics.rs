//! The body of `/metrics`: Prometheus text, version 0.0.4.
//!
//! Base units (seconds, bytes, ratios), `_total` on counters, a HELP and a TYPE line before each family, and the samples of a
//! family together, as the format's description asks. A figure that is unknown has no sample: Prometheus knows absence.

use std::fmt::{Display, Write};

use super::channels::{by_channel, couples};
use super::{Drift, ProcessFigures, Snapshot, faults, sound};
use crate::array::Layout;
use crate::engine::figures::{Buckets, MicCounters, SkewHistograms};
use crate::time::Span;

type OfMic = fn(&MicCounters) -> u64;

/// Counters of a microphone that never fall.
const OF_MICS: [(&str, &str, OfMic); 15] = [
    ("micring_packets_received_total", "Accepted packets.", |mic| mic.received),
    ("micring_samples_received_total", "Samples in the accepted packets.", |mic| mic.samples),
    ("micring_pieces_lost_total", "Pieces inferred lost of chunks of which something came.", |mic| mic.lost_pieces),
    ("micring_packets_late_total", "Packets that came after their cycle had left.", |mic| mic.late),
    ("micring_packets_duplicate_total", "Packets that repeated the one before.", |mic| mic.duplicate),
    ("micring_packets_foreign_total", "Packets from a sender that is not followed.", |mic| mic.foreign),
    ("micring_packets_truncated_total", "Packets longer than the limit.", |mic| mic.truncated),
    ("micring_packets_malformed_total", "Packets that are empty or no whole number of samples.", |mic| mic.malformed),
    ("micring_packets_kernel_dropped_total", "Packets that the kernel dropped at a full socket buffer.", |mic| {
        mic.kernel_dropped
    }),
    ("micring_packets_unstamped_total", "Packets without a kernel timestamp.", |mic| mic.unstamped),
    ("micring_number_jumps_total", "Packets not placed, their numbers far from all that was expected.", |mic| {
        mic.jumps
    }),
    ("micring_packets_control_total", "Packets without audio that belong to the format: RTCP, VBAN's text.", |mic| {
        mic.control
    }),
    ("micring_sender_changes_total", "Times that another sender was adopted.", |mic| mic.sender_changes),
    ("micring_slips_total", "Whole samples slipped to follow a free-running board.", |mic| mic.slips),
    ("micring_skips_corrected_total", "Skips that proved false and were taken back.", |mic| mic.corrected),
];

/// Renders `/metrics`, and remembers what it said where a figure can fall.
///
/// What is inferred lost may be taken back: a late packet shows up, a skip proves false. A Prometheus counter that falls means a restart and counts
/// double; so these two families stay at the most that was ever exported until the truth has passed it;
/// and as they are while a rate is not the nominal one, for then nothing is known of losses. Where packets cannot be numbered, their
/// microphone has no sample.
#[derive(Debug, Default)]
pub struct Exporter {
    /// By source.
    lost: Vec<u64>,
    skipped: u64,
}

impl Exporter {
    /// Remembers what is told of an array that its figures can fall below.
    fn note(&mut self, snapshot: &Snapshot) {
        let (counters, layout) = (&snapshot.totals.engine, &snapshot.layout);
        let told = |source: &usize| snapshot.health.loss_unknown(*source, &counters.mics[*source]).is_none();
        self.lost.resize(layout.sources(), 0);
        for source in (0..layout.sources()).filter(told) {
            self.lost[source] = self.lost[source].max(counters.mics[source].lost);
        }
        if (0..layout.sources()).all(|source| told(&source)) {
            self.skipped = self.skipped.max(counters.cycles.skipped);
        }
    }

    fn write(&self, text: &mut Text, snapshot: &Snapshot, histograms: &SkewHistograms) {
        let (counters, layout) = (&snapshot.totals.engine, &snapshot.layout);
        server(text, snapshot);
        for (name, help, of) in OF_MICS {
            text.per_mic(name, "counter", help, by_channel(layout).map(|source| Some(of(&counters.mics[source]))));
        }
        text.per_mic(
            "micring_packets_lost_total",
            "counter",
            "Packets inferred lost; what is taken back shows in the diagnostics only.",
            by_channel(layout).map(|source| snapshot.health.unnumbered[source].is_none().then_some(self.lost[source])),
        );
        let cycles = &counters.cycles;
        text.counter("micring_cycles_emitted_total", "Cycles that left.", cycles.emitted);
        text.counter("micring_cycles_complete_total", "Cycles that left with all microphones.", cycles.complete);
        text.counter("micring_cycles_incomplete_total", "Cycles that left with a gap.", cycles.incomplete);
        text.counter("micring_cycles_skipped_total", "Whole cycles inferred lost.", self.skipped);
        text.counter("micring_clock_steps_total", "Steps of the host's clock that were noticed.", counters.clock_steps);
        skew(text, snapshot, histograms);
        drift_and_alignment(text, snapshot);
        faults::metrics(text, &snapshot.health);
        sound::metrics(text, snapshot.totals.sound);
        http(text, snapshot);
        ring(text, snapshot);
        if let Some(recording) = &snapshot.totals.recording {
            recording.render(text, layout);
        }
        if let Some(saving) = &snapshot.totals.saving {
            saving.render(text);
        }
    }
}

/// Families that are of the whole program: an array's label would say nothing.
const OF_ALL: [&str; 22] = [
    "micring_build_info",
    "micring_uptime_seconds",
    "micring_clock_steps_total",
    "micring_http_bytes_sent_total",
    "micring_http_connections_open",
    "micring_http_connections_total",
    "micring_http_requests_total",
    "micring_http_rejected_total",
    "micring_loop_turns_total",
    "micring_ring_enters_total",
    "micring_ring_completions_total",
    "micring_ring_rearms_total",
    "micring_ring_cq_overflows_total",
    "micring_ring_stale_completions_total",
    "micring_ring_sq_full_total",
    "micring_control_truncated_total",
    "micring_log_lines_dropped_total",
    "micring_recording_bytes_total",
    "micring_recording_files_total",
    "micring_recording_files_removed_total",
    "micring_recording_errors_total",
    "micring_recording_queued_bytes",
];

/// The body of `/metrics` while arrays are added to it: family by family, the samples of all arrays together.
#[derive(Debug, Default)]
pub struct Metrics(Text);

impl Metrics {
    /// The first array under its plain names, with what is of the whole program; and where arrays have names, each of them (the first
    /// too) with the label `array`.
    pub fn add(
        &mut self,
        label: Option<&str>,
        exporter: &mut Exporter,
        snapshot: &Snapshot,
        histograms: &SkewHistograms,
    ) {
        exporter.note(snapshot);
        self.0.label = label.map(|name| format!("array=\"{}\"", escaped(name)));
        exporter.write(&mut self.0, snapshot, histograms);
    }

    pub fn finish(self, process: &ProcessFigures) -> String {
        self.families(process).concat()
    }

    /// The same, family by family.
    pub fn families(mut self, process: &ProcessFigures) -> Vec<String> {
        self.0.label = None;
        process_figures(&mut self.0, process);
        self.0.families.into_iter().map(|(_, text)| text).collect()
    }
}

fn server(text: &mut Text, snapshot: &Snapshot) {
    let server = &snapshot.server;
    text.family("micring_build_info", "gauge", "Version of micring and of the kernel it runs on.");
    let (version, kernel) = (escaped(server.version), escaped(&server.kernel));
    text.sample("micring_build_info", format_args!("version=\"{version}\",kernel=\"{kernel}\""), 1);
    text.family("micring_clock_mode", "gauge", "1 for how the microphones are clocked: shared, independent, or auto.");
    text.sample("micring_clock_mode", format_args!("mode=\"{}\"", server.clock), 1);
    text.gauge("micring_uptime_seconds", "Time since start.", Some(server.uptime.as_secs_f64()));
    text.gauge("micring_hold_seconds", "How long an incomplete cycle waits at most.", Some(server.hold.as_secs_f64()));
    text.gauge("micring_sample_rate_hertz", "Nominal sample rate.", Some(server.sample_rate));
    let held = by_channel(&snapshot.layout).map(|source| Some(snapshot.buffer_packets[source]));
    text.per_mic("micring_buffer_packets", "gauge", "Packets in the history.", held);
    text.per_mic(
        "micring_silent_seconds",
        "gauge",
        "Time since the newest accepted packet.",
        by_channel(&snapshot.layout).map(|source| snapshot.silent_for[source].map(Span::as_secs_f64)),
    );
}

fn skew(text: &mut Text, snapshot: &Snapshot, histograms: &SkewHistograms) {
    text.family(
        "micring_arrival_skew_seconds",
        "histogram",
        "Kernel arrival of the second microphone minus that of the first, inside a cycle.",
    );
    let layout = &snapshot.layout;
    for couple in couples(layout) {
        // Channels of one source do not arrive apart.
        if let Some(pair) = couple.sources {
            let label = format!("pair=\"{}\"", couple.name());
            text.histogram("micring_arrival_skew_seconds", &label, &histograms.arrival_skew[pair]);
        }
    }
    text.family("micring_loop_delay_seconds", "histogram", "Kernel timestamp until the loop read the packet.");
    text.histograms("micring_loop_delay_seconds", layout, &histograms.loop_delay);
    text.family("micring_loop_skew_seconds", "histogram", "Spread of the loop delays inside a complete cycle.");
    text.histogram("micring_loop_skew_seconds", "", &histograms.loop_skew);
    text.family(
        "micring_emit_delay_seconds",
        "histogram",
        "Kernel timestamp of the packet that completed a cycle until its event was handed to the ring.",
    );
    text.histogram("micring_emit_delay_seconds", "", &histograms.emit_delay);
    text.family(
        "micring_packet_delay_variation_seconds",
        "histogram",
        "Delay above the smallest of the last ten seconds, RFC 5481.",
    );
    text.histograms("micring_packet_delay_variation_seconds", layout, &histograms.delay_variation);

    let figures = &snapshot.skew;
    text.per_pair(
        "micring_arrival_skew_trend_ratio",
        "Lasting change of the arrival skew, in seconds a second.",
        layout,
        |pair| figures.arrival_trend[pair].ok().map(|trend| trend.us_per_min / 60e6),
    );
    text.per_mic(
        "micring_jitter_seconds",
        "gauge",
        "Interarrival jitter, RFC 3550 6.4.1.",
        by_channel(layout).map(|source| figures.jitter[source].ok().map(Span::as_secs_f64)),
    );
}

fn drift_and_alignment(text: &mut Text, snapshot: &Snapshot) {
    let layout = &snapshot.layout;
    let ppm = |drift: &Drift| drift.as_ref().ok().map(|drift| drift.ppm / 1e6);
    let uncertainty = |drift: &Drift| drift.as_ref().ok().map(|drift| drift.uncertainty_ppm / 1e6);
    let age = |drift: &Drift| drift.as_ref().ok().and_then(|drift| drift.age).map(Span::as_secs_f64);
    let (mics, pairs) = (&snapshot.drift.mics, &snapshot.drift.pairs);
    text.per_mic(
        "micring_clock_drift_ratio",
        "gauge",
        "Rate of the microphone's clock against the host's, minus 1.",
        by_channel(layout).map(|source| ppm(&mics[source])),
    );
    text.per_mic(
        "micring_clock_drift_uncertainty_ratio",
        "gauge",
        "Half-width of the 95 % interval of micring_clock_drift_ratio.",
        by_channel(layout).map(|source| uncertainty(&mics[source])),
    );
    text.per_mic(
        "micring_clock_drift_age_seconds",
        "gauge",
        "How long ago the stretch ended that micring_clock_drift_ratio was seen over.",
        by_channel(layout).map(|source| age(&mics[source])),
    );
    text.per_pair(
        "micring_pair_drift_ratio",
        "Rate of the first microphone's clock minus that of the second.",
        layout,
        |pair| ppm(&pairs[pair]),
    );
    text.per_pair(
        "micring_pair_drift_uncertainty_ratio",
        "Half-width of the 95 % interval of micring_pair_drift_ratio.",
        layout,
        |pair| uncertainty(&pairs[pair]),
    );
    text.per_pair(
        "micring_pair_drift_age_seconds",
        "How long ago the stretch ended that micring_pair_drift_ratio was seen over.",
        layout,
        |pair| age(&pairs[pair]),
    );
    text.per_pair(
        "micring_alignment_offset_seconds",
        "How much later the first channel's samples stand than those of the second that were taken at the same moment.",
        layout,
        |pair| snapshot.alignment[pair].ok().map(|pair| pair.offset.as_secs_f64()),
    );
    text.per_pair(
        "micring_alignment_uncertainty_seconds",
        "Half-width of the 95 % interval of micring_alignment_offset_seconds.",
        layout,
        |pair| snapshot.alignment[pair].ok().map(|pair| pair.uncertainty.as_secs_f64()),
    );
}

fn http(text: &mut Text, snapshot: &Snapshot) {
    let stream = &snapshot.totals.stream;
    text.gauge("micring_stream_subscribers", "Clients of the event and audio streams.", Some(stream.subscribers));
    text.counter("micring_stream_events_sent_total", "Events sent to subscribers.", stream.events_sent);
    text.counter(
        "micring_stream_events_dropped_total",
        "Events (of the WAV: cycles) that subscribers lost because they could not keep up.",
        stream.events_dropped,
    );
    text.counter("micring_stream_resumed_total", "Streams that went on after a Last-Event-ID.", stream.resumed);
    text.counter("micring_http_bytes_sent_total", "Bytes of all responses.", stream.bytes_sent);
    text.gauge("micring_http_connections_open", "Open connections.", Some(stream.connections_open));
    text.counter("micring_http_connections_total", "Connections accepted.", stream.connections);
    text.counter("micring_http_requests_total", "Requests answered.", stream.requests);
    text.counter("micring_http_rejected_total", "Connections and requests turned away at a limit.", stream.rejected);
    text.counter(
        "micring_http_downloads_aborted_total",
        "Downloads cut off before their end.",
        stream.downloads_aborted,
    );
}

fn ring(text: &mut Text, snapshot: &Snapshot) {
    let ring = &snapshot.totals.ring;
    text.counter("micring_loop_turns_total", "Turns of the loop.", ring.turns);
    text.counter("micring_ring_enters_total", "Calls of io_uring_enter.", ring.enters);
    text.counter("micring_ring_completions_total", "Completions read.", ring.completions);
    text.family("micring_ring_rearms_total", "counter", "Multishot requests armed again, by what had ended them.");
    for (cause, count) in [
        ("enobufs", ring.rearms_enobufs),
        ("cq_overflow", ring.rearms_cq_overflow),
        ("empty_datagram", ring.rearms_empty_datagram),
        ("emfile", ring.rearms_emfile),
        ("error", ring.rearms_error),
    ] {
        text.sample("micring_ring_rearms_total", format_args!("cause=\"{cause}\""), count);
    }
    text.counter(
        "micring_ring_cq_overflows_total",
        "Enters after which completions waited in the kernel, their queue being full.",
        ring.cq_overflows,
    );
    text.counter(
        "micring_ring_stale_completions_total",
        "Completions that came after their connection had been given up.",
        ring.stale,
    );
    text.counter("micring_ring_sq_full_total", "Submissions that found their queue full.", ring.sq_full);
    text.counter(
        "micring_control_truncated_total",
        "Datagrams whose control messages did not fit.",
        ring.control_truncated,
    );
    text.counter(
        "micring_log_lines_dropped_total",
        "Log lines that standard error did not take.",
        ring.log_lines_dropped,
    );
}

/// Named as Prometheus's own client libraries name them.
fn process_figures(text: &mut Text, process: &ProcessFigures) {
    if let Some(seconds) = process.cpu_seconds {
        text.counter("process_cpu_seconds_total", "User and system time.", seconds);
    }
    text.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
    text.gauge("process_open_fds", "Open file descriptors.", process.open_fds);
    text.gauge("process_max_fds", "Limit of open file descriptors.", process.max_fds);
    text.gauge("process_start_time_seconds", "Start, since the Unix epoch.", process.start_time_seconds);
    text.counter(
        "micring_strange_datagrams_total",
        "Datagrams of addresses that no array is made for (max_arrays).",
        process.strange_datagrams,
    );
}

/// A label's value: backslash, quote and line feed are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A body while it is written: families by name, in the order in which they came first.
#[derive(Debug, Default)]
pub(super) struct Text {
    families: Vec<(String, String)>,
    /// The family that is written.
    at: usize,
    /// `array="NAME"`, which goes before the other labels of each sample.
    label: Option<String>,
    /// What is written is of the whole program, and told already.
    skips: bool,
}

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        if self.skips {
            return;
        }
        let text = &mut self.families[self.at].1;
        let start = text.len();
        text.write_fmt(line).expect("a String takes everything");
        text.push('\n');
        // `NAME{LABELS} VALUE` or `NAME VALUE`.
        if let Some(label) = &self.label
            && let Some(end) = text[start..].find(['{', ' ']).map(|end| start + end)
        {
            match text.as_bytes()[end] {
                b'{' => text.insert_str(end + 1, &format!("{label},")),
                _ => text.insert_str(end, &format!("{{{label}}}")),
            }
        }
    }

    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.skips = self.label.is_some() && OF_ALL.contains(&name);
        if self.skips {
            return;
        }
        let is_it = |(other, _): &(String, String)| other == name;
        // Every array has them in the same order: most often it is the next one.
        let next = Some(self.at + 1).filter(|&next| self.families.get(next).is_some_and(is_it));
        if let Some(there) = next.or_else(|| self.families.iter().position(is_it)) {
            self.at = there;
            return;
        }
        self.at = self.families.len();
        self.families.push((name.to_owned(), format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")));
    }

    pub(super) fn sample(&mut self, name: &str, labels: impl Display, value: impl Display) {
        self.line(format_args!("{name}{{{labels}}} {value}"));
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.line(format_args!("{name} {value}"));
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(name, "gauge", help);
            self.line(format_args!("{name} {value}"));
        }
    }

    /// `values`: of the channels, in order.
    pub(super) fn per_mic<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl IntoIterator<Item = Option<V>>,
    ) {
        self.family(name, kind, help);
        for (mic, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                self.sample(name, format_args!("mic=\"{mic}\""), value);
            }
        }
    }

    /// `value`: of a pair of sources; of two channels of one source it is 0.
    fn per_pair(&mut self, name: &str, help: &str, layout: &Layout, value: impl Fn(usize) -> Option<f64>) {
        self.family(name, "gauge", help);
        for couple in couples(layout) {
            if let Some(value) = couple.sources.map_or(Some(0.0), &value) {
                self.sample(name, format_args!("pair=\"{}\"", couple.name()), value);
            }
        }
    }

    /// Of each channel that of its source.
    fn histograms(&mut self, name: &str, layout: &Layout, of: &[Buckets]) {
        for (mic, source) in by_channel(layout).enumerate() {
            self.histogram(name, &format!("mic=\"{mic}\""), &of[source]);
        }
    }

    /// Cumulative buckets, then the sum and the count; `labels` without braces, or empty.
    fn histogram(&mut self, name: &str, labels: &str, buckets: &Buckets) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (bucket, in_bucket) in buckets.counts.iter().enumerate() {
            count += in_bucket;
            match buckets.bounds.get(bucket) {
                Some(bound) => {
                    let le = bound.as_secs_f64();
                    self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{le}\"}} {count}"));
                }
                None => self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}")),
            }
        }
        let sum = buckets.sum_ns as f64 / 1e9;
        if labels.is_empty() {
            self.line(format_args!("{name}_sum {sum}"));
            self.line(format_args!("{name}_count {count}"));
        } else {
            self.sample(&format!("{name}_sum"), labels, sum);
            self.sample(&format!("{name}_count"), labels, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::tests::{empty, full, full_histograms};
    use super::*;

    fn render(snapshot: &Snapshot) -> String {
        rendered(&mut Exporter::default(), snapshot, &ProcessFigures::default())
    }

    fn rendered(exporter: &mut Exporter, snapshot: &Snapshot, process: &ProcessFigures) -> String {
        let mut metrics = Metrics::default();
        metrics.add(None, exporter, snapshot, &full_histograms());
        metrics.finish(process)
    }

    #[test]
    fn named_arrays_have_a_label_and_the_first_its_plain_names_besides() {
        let mut metrics = Metrics::default();
        let mut exporter = Exporter::default();
        metrics.add(None, &mut exporter, &full(), &full_histograms());
        metrics.add(Some("roof"), &mut exporter, &full(), &full_histograms());
        metrics.add(Some("door"), &mut Exporter::default(), &empty(), &full_histograms());
        let body = metrics.finish(&ProcessFigures::default());
        let plain: Vec<&str> = body.lines().filter(|line| !line.contains("array=")).collect();
        assert_eq!(plain, render(&full()).lines().collect::<Vec<_>>(), "what was told before stands as it was");
        for line in [
            r#"micring_packets_received_total{array="roof",mic="0"} 100"#,
            r#"micring_packets_received_total{array="door",mic="0"} 0"#,
            r#"micring_cycles_emitted_total{array="roof"} 1"#,
            r#"micring_loop_skew_seconds_bucket{array="roof",le="+Inf"} 1"#,
        ] {
            assert!(body.lines().any(|l| l == line), "{line}\n{body}");
        }
        for of_all in ["micring_build_info", "micring_ring_enters_total", "micring_http_requests_total"] {
            assert_eq!(body.lines().filter(|line| line.starts_with(of_all)).count(), 1, "{of_all}");
        }
        // A family's samples stand together.
        let families: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(families.len(), families.iter().collect::<std::collections::HashSet<_>>().len());
    }

    /// The rules of the text format, each checked line by line: HELP and TYPE come once and before the samples of their family, which
    /// stand together; counters end in `_total`; no sample comes twice; every value is a number.
    #[test]
    fn the_text_keeps_the_rules_of_the_format() {
        for snapshot in [full(), empty()] {
            let process = ProcessFigures {
                cpu_seconds: Some(1.5),
                resident_bytes: Some(9_000_000),
                open_fds: Some(12),
                max_fds: Some(1024),
                start_time_seconds: Some(1_795_345_500.25),
                strange_datagrams: 0,
            };
            let body = rendered(&mut Exporter::default(), &snapshot, &process);
            assert!(body.ends_with('\n'));
            let mut kinds: HashMap<&str, &str> = HashMap::new();
            let mut helped = "";
            let mut current = ("", "");
            let mut seen = std::collections::HashSet::new();
            for line in body.lines() {
                if let Some(help) = line.strip_prefix("# HELP ") {
                    let (name, text) = help.split_once(' ').expect("a help text");
                    assert!(!text.is_empty() && !kinds.contains_key(name), "{line}");
                    helped = name;
                } else if let Some(of) = line.strip_prefix("# TYPE ") {
                    let (name, kind) = of.split_once(' ').expect("a kind");
                    assert_eq!(name, helped, "TYPE follows the HELP of its family");
                    assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                    assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                    assert_eq!(kinds.insert(name, kind), None, "{name} comes once");
                    current = (name, kind);
                } else {
                    let (series, value) = line.rsplit_once(' ').expect("a value");
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                    assert!(seen.insert(series), "{series} comes once");
                    let name = series.split('{').next().unwrap();
                    let family = match current.1 {
                        "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)),
                        _ => Some(name),
                    };
                    assert_eq!(family, Some(current.0), "{line} stands in its family");
                }
            }
        }
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let body = render(&full());
        // See `full_histograms`: 42 us of loop delay once, for each microphone.
        for line in [
            r#"micring_loop_delay_seconds_bucket{mic="0",le="0.00002"} 0"#,
            r#"micring_loop_delay_seconds_bucket{mic="0",le="0.00005"} 1"#,
            r#"micring_loop_delay_seconds_bucket{mic="0",le="+Inf"} 1"#,
            r#"micring_loop_delay_seconds_sum{mic="0"} 0.000042"#,
            r#"micring_loop_delay_seconds_count{mic="0"} 1"#,
            r#"micring_arrival_skew_seconds_bucket{pair="mic0_vs_mic1",le="-0.04"} 0"#,
            r#"micring_arrival_skew_seconds_bucket{pair="mic0_vs_mic1",le="0.0002"} 1"#,
            r#"micring_loop_skew_seconds_count 1"#,
        ] {
            assert!(body.lines().any(|l| l == line), "{line}\n{body}");
        }
    }

    #[test]
    fn counters_and_ratios() {
        let body = render(&full());
        for line in [
            r#"micring_packets_received_total{mic="0"} 100"#,
            r#"micring_packets_malformed_total{mic="2"} 3"#,
            r#"micring_clock_drift_ratio{mic="0"} 0.00002025"#,
            r#"micring_clock_drift_uncertainty_ratio{mic="0"} 0.0000005"#,
            r#"micring_hold_seconds 0.04"#,
            r#"micring_build_info{version="0.1.0",kernel="6.18 \"test\""} 1"#,
        ] {
            assert!(body.lines().any(|l| l == line), "{line}\n{body}");
        }
        assert!(!render(&empty()).contains("micring_clock_drift_ratio{"), "unknown has no sample");
    }

    #[test]
    fn a_counter_does_not_fall_when_a_loss_is_taken_back() {
        let mut exporter = Exporter::default();
        let mut snapshot = full();
        let mut lost = |snapshot: &Snapshot| {
            let body = rendered(&mut exporter, snapshot, &ProcessFigures::default());
            let line =
                body.lines().find(|l| l.starts_with("micring_packets_lost_total{mic=\"1\"}")).unwrap().to_owned();
            line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
        };
        for (truth, exported) in [(5, 5), (4, 5), (5, 5), (6, 6)] {
            snapshot.totals.engine.mics[1].lost = truth;
            assert_eq!(lost(&snapshot), exported);
        }
    }

    #[test]
    fn what_numbers_say_was_lost_is_exported_whatever_the_rate() {
        let mut exporter = Exporter::default();
        let mut snapshot = full();
        snapshot.health.disagreements.fill(Some("the rate is another".to_owned()));
        snapshot.totals.engine.mics.iter_mut().for_each(|mic| mic.lost = 7);
        snapshot.totals.engine.mics[1].known = true;
        let body = rendered(&mut exporter, &snapshot, &ProcessFigures::default());
        let lost = |mic| body.lines().any(|l| l == format!("micring_packets_lost_total{{mic=\"{mic}\"}} 7"));
        assert_eq!([0, 1, 2].map(lost), [false, true, false], "{body}");
    }
}
