//! The JSON body of `/api/diagnostics_sync`.
//!
//! The structs below are the bodies: a field is a key, in the order in which it is written. The first keys are those of the server
//! that micring replaces, with its number types (integers, and floats where the name ends in `_ms`); clients read them
//! still. Times are microseconds with nanoseconds behind the point. What is unknown is null, with a `reason` beside it.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::channels::{Couple, ONE_SOURCE, OfMics, OfPairs, by_channel};
use super::chunk::ChunkOf;
use super::clocks::{AlignmentOf, DriftOf};
use super::faults::{self, HealthOf, LevelOf, RateHz};
use super::sender::SenderTime;
use super::sound::SoundOf;
use super::sums::{Cycles, Http, Ring, Stream};
use super::{DriftFigures, RecordingFigures, SavingFigures, Snapshot, Totals};
use crate::array::Layout;
use crate::engine::figures::window::WINDOW;
use crate::engine::figures::{Distribution, Known, MicCounters, SkewFigures, Trend};
use crate::engine::health::rates::Rate;
use crate::time::Span;

/// A rate cannot be told from a moving delay floor in so short a time: see the figure since start.
const NO_RATE_IN_WINDOW: &str = "ten seconds are too short for a rate: see the figure since start";

/// Bytes of a body with every figure known; more than enough, so that it is written without growing.
const BODY_BYTES: usize = 16 * 1024;

/// The body of `/api/diagnostics_sync`.
pub fn diagnostics_sync(snapshot: &Snapshot) -> String {
    let no_drift = DriftFigures::unknown(snapshot.layout.sources(), NO_RATE_IN_WINDOW);
    let since_start = Sheet::new(
        snapshot,
        snapshot.server.uptime,
        &snapshot.totals,
        &snapshot.skew,
        &snapshot.health.rates,
        &snapshot.drift,
    );
    let window = Sheet::new(
        snapshot,
        snapshot.server.uptime.min(WINDOW),
        &snapshot.window_totals,
        &snapshot.window_skew,
        &snapshot.health.window_rates,
        &no_drift,
    );
    json(&Body { since_start, window })
}

/// A body as text.
pub(super) fn json(body: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(BODY_BYTES);
    serde_json::to_writer(&mut bytes, body).expect("a struct with string keys, written to memory, serializes");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    since_start: Sheet<'a>,
    window: Sheet<'a>,
}

/// All figures of one stretch of time.
#[derive(Serialize)]
struct Sheet<'a> {
    synchronization_status: SynchronizationStatus,
    packet_stats: PacketStats,
    server: Server<'a>,
    /// How much time the figures cover.
    span_s: f64,
    arrival_skew_us: OfPairs<ArrivalSkew>,
    loop_delay_us: OfMics<Delay>,
    loop_skew_us: Delay,
    emit_delay_us: Delay,
    jitter_us: Jitter,
    pdv_us: OfMics<Delay>,
    sender_time: OfMics<SenderTime>,
    clock_drift_ppm: ClockDrift<'a>,
    alignment: OfPairs<AlignmentOf>,
    rate_hz: OfMics<RateHz>,
    level: OfMics<LevelOf>,
    health: OfMics<HealthOf<'a>>,
    loss: OfMics<Loss<'a>>,
    inference: OfMics<InferenceOf>,
    sound: SoundOf,
    cycles: Cycles,
    stream: Stream,
    http: Http,
    ring: Ring,
    /// Seconds since each microphone's newest packet.
    silent_s: OfMics<Option<f64>>,
    clock_steps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saving: Option<SavingFigures>,
}

impl<'a> Sheet<'a> {
    fn new(
        snapshot: &'a Snapshot,
        span: Span,
        totals: &Totals,
        skew: &SkewFigures,
        rates: &[Known<Rate>],
        drift: &'a DriftFigures,
    ) -> Sheet<'a> {
        let Totals { engine, stream, ring, recording, saving, sound } = totals;
        let layout = &snapshot.layout;
        Sheet {
            synchronization_status: SynchronizationStatus::new(snapshot, engine.cycles.complete),
            packet_stats: PacketStats {
                packets_received: by_channel(layout).map(|source| engine.mics[source].received).collect(),
                packet_errors: by_channel(layout).map(|source| packet_errors(&engine.mics[source])).collect(),
                total_samples: by_channel(layout).map(|source| engine.mics[source].samples).collect(),
            },
            server: Server::new(snapshot),
            span_s: seconds(span),
            arrival_skew_us: OfPairs::of(layout, |couple| ArrivalSkew::of(couple, skew)),
            loop_delay_us: OfMics::of_sources(layout, |source| Delay::new(skew.loop_delay[source])),
            loop_skew_us: Delay::new(skew.loop_skew),
            emit_delay_us: Delay::new(skew.emit_delay),
            jitter_us: Jitter::new(layout, &skew.jitter),
            pdv_us: OfMics::of_sources(layout, |source| Delay::new(skew.delay_variation[source])),
            sender_time: OfMics::of_sources(layout, |source| {
                SenderTime::of(skew, source, snapshot.server.untimed[source])
            }),
            clock_drift_ppm: ClockDrift {
                mics: OfMics::of_sources(layout, |source| DriftOf::new(&drift.mics[source])),
                pairs: OfPairs::of(layout, |couple| {
                    couple.sources.map_or(DriftOf::NONE, |pair| DriftOf::new(&drift.pairs[pair]))
                }),
            },
            alignment: OfPairs::of(layout, |couple| {
                let of = |pair: usize| AlignmentOf::new(snapshot.alignment[pair], snapshot.server.sample_rate);
                couple.sources.map_or(AlignmentOf::NONE, of)
            }),
            rate_hz: faults::rates(rates),
            level: faults::levels(&snapshot.health),
            health: faults::faults(&snapshot.health),
            loss: OfMics::of_channels(layout, |channel| {
                let source = layout.source_of(channel);
                let mic = &engine.mics[source];
                Loss::new(mic, snapshot.health.loss_unknown(source, mic))
            }),
            inference: OfMics::of_sources(layout, |source| InferenceOf::new(&engine.mics[source])),
            sound: SoundOf::new(*sound, span),
            cycles: Cycles::of(&engine.cycles),
            stream: Stream::of(stream),
            http: Http::of(stream),
            ring: Ring::of(ring),
            silent_s: OfMics::of_sources(layout, |source| snapshot.silent_for[source].map(seconds)),
            clock_steps: engine.clock_steps,
            recording: recording.clone(),
            saving: *saving,
        }
    }
}

#[derive(Serialize)]
struct SynchronizationStatus {
    buffer_packets: OfMics<u64>,
    buffer_packet_diffs: OfPairs<i64>,
    thread_scheduling_offset: SchedulingOffset,
}

/// Of each channel but the first, against the first.
struct SchedulingOffset {
    us: Result<Vec<i64>, &'static str>,
    channels: usize,
    sample_rate: u32,
}

impl Serialize for SchedulingOffset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for mic in 1..self.channels {
            let us = self.us.as_ref().ok().map(|us| us[mic]);
            map.serialize_entry(&format!("mic0{mic}_offset_us"), &us)?;
            // Truncates toward zero, from the whole microseconds that stand beside it, as it always did.
            let samples = us.map(|us| us * i64::from(self.sample_rate) / 1_000_000);
            map.serialize_entry(&format!("mic0{mic}_offset_samples"), &samples)?;
            map.serialize_entry(&format!("mic0{mic}_offset_ms"), &us.map(|us| us as f64 / 1e3))?;
        }
        if let Err(reason) = self.us {
            map.serialize_entry("reason", reason)?;
        }
        map.end()
    }
}

impl SynchronizationStatus {
    /// `complete`: cycles, since start or in the window.
    fn new(snapshot: &Snapshot, complete: u64) -> SynchronizationStatus {
        let layout = &snapshot.layout;
        let offsets = snapshot.latest_offsets.as_ref().filter(|_| complete > 0).ok_or("no complete cycle in this span");
        let held = |channel: usize| snapshot.buffer_packets[layout.source_of(channel)];
        SynchronizationStatus {
            buffer_packets: OfMics::of_channels(layout, held),
            buffer_packet_diffs: OfPairs::of(layout, |Couple { first, second, .. }| {
                held(first).cast_signed() - held(second).cast_signed()
            }),
            thread_scheduling_offset: SchedulingOffset {
                us: offsets.map(|offsets| by_channel(layout).map(|source| offsets[source].as_micros()).collect()),
                channels: layout.channels(),
                sample_rate: snapshot.server.sample_rate,
            },
        }
    }
}

#[derive(Serialize)]
struct PacketStats {
    packets_received: Vec<u64>,
    packet_errors: Vec<u64>,
    total_samples: Vec<u64>,
}

#[derive(Serialize)]
struct Server<'a> {
    version: &'a str,
    uptime_s: f64,
    core: Option<usize>,
    clock: &'a str,
    hold_us: i64,
    sample_rate: u32,
    chunk: OfMics<ChunkOf>,
    format: OfMics<&'a str>,
    kernel: &'a str,
    run: Option<u64>,
}

impl Server<'_> {
    fn new(snapshot: &Snapshot) -> Server<'_> {
        let server = &snapshot.server;
        Server {
            version: server.version,
            uptime_s: seconds(server.uptime),
            core: server.core,
            clock: server.clock,
            hold_us: server.hold.as_micros(),
            sample_rate: server.sample_rate,
            chunk: OfMics::of_sources(&snapshot.layout, |source| ChunkOf::new(&server.chunks[source])),
            format: OfMics::of_sources(&snapshot.layout, |source| server.formats[source].as_str()),
            kernel: &server.kernel,
            run: server.run,
        }
    }
}

#[derive(Serialize)]
struct ArrivalSkew {
    last: Option<f64>,
    min: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    trend_us_per_min: Option<f64>,
    trend_uncertainty_us_per_min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trend_reason: Option<&'static str>,
}

impl ArrivalSkew {
    fn of(couple: Couple, skew: &SkewFigures) -> ArrivalSkew {
        match couple.sources {
            Some(pair) => ArrivalSkew::new(skew.arrival_skew[pair], skew.arrival_trend[pair]),
            None => {
                let (none, still) = (Distribution::default(), Trend::default());
                ArrivalSkew { reason: Some(ONE_SOURCE), ..ArrivalSkew::new(Ok(none), Ok(still)) }
            }
        }
    }

    fn new(skew: Known<Distribution>, trend: Known<Trend>) -> ArrivalSkew {
        let us = |field: fn(&Distribution) -> Span| skew.as_ref().ok().map(|d| field(d).as_micros_f64());
        ArrivalSkew {
            last: us(|d| d.last),
            min: us(|d| d.min),
            p50: us(|d| d.p50),
            p90: us(|d| d.p90),
            p99: us(|d| d.p99),
            p999: us(|d| d.p999),
            max: us(|d| d.max),
            mean: us(|d| d.mean),
            count: skew.map_or(0, |d| d.count),
            reason: skew.err(),
            trend_us_per_min: trend.ok().map(|t| thousandths(t.us_per_min)),
            trend_uncertainty_us_per_min: trend.ok().map(|t| thousandths(t.uncertainty_us_per_min)),
            trend_reason: trend.err(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Delay {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Delay {
    pub fn new(delay: Known<Distribution>) -> Delay {
        let us = |field: fn(&Distribution) -> Span| delay.as_ref().ok().map(|d| field(d).as_micros_f64());
        Delay {
            p50: us(|d| d.p50),
            p99: us(|d| d.p99),
            p999: us(|d| d.p999),
            max: us(|d| d.max),
            count: delay.map_or(0, |d| d.count),
            reason: delay.err(),
        }
    }
}

#[derive(Serialize)]
struct Jitter {
    #[serde(flatten)]
    us: OfMics<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<OfMics<Option<&'static str>>>,
}

impl Jitter {
    fn new(layout: &Layout, jitter: &[Known<Span>]) -> Jitter {
        let unknown = jitter.iter().any(Result::is_err);
        Jitter {
            us: OfMics::of_sources(layout, |source| jitter[source].ok().map(Span::as_micros_f64)),
            reason: unknown.then(|| OfMics::of_sources(layout, |source| jitter[source].err())),
        }
    }
}

#[derive(Serialize)]
struct ClockDrift<'a> {
    #[serde(flatten)]
    mics: OfMics<DriftOf<'a>>,
    #[serde(flatten)]
    pairs: OfPairs<DriftOf<'a>>,
}

#[derive(Serialize)]
struct Loss<'a> {
    /// Its packets carry numbers: nothing of this is inferred.
    known: bool,
    lost: Option<u64>,
    lost_pieces: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    late: u64,
    duplicate: u64,
    foreign: u64,
    truncated: u64,
    malformed: u64,
    kernel_dropped: u64,
    sender_changes: u64,
    slips: u64,
    corrected: u64,
    unstamped: u64,
    number_jumps: u64,
    control: u64,
}

impl Loss<'_> {
    /// `unknown`: why no loss can be inferred.
    fn new<'a>(mic: &MicCounters, unknown: Option<&'a str>) -> Loss<'a> {
        Loss {
            known: mic.known,
            lost: unknown.is_none().then_some(mic.lost),
            lost_pieces: unknown.is_none().then_some(mic.lost_pieces),
            reason: unknown,
            late: mic.late,
            duplicate: mic.duplicate,
            foreign: mic.foreign,
            truncated: mic.truncated,
            malformed: mic.malformed,
            kernel_dropped: mic.kernel_dropped,
            sender_changes: mic.sender_changes,
            slips: mic.slips,
            corrected: mic.corrected,
            unstamped: mic.unstamped,
            number_jumps: mic.jumps,
            control: mic.control,
        }
    }
}

/// What arrival times alone would have said of a numbered source.
#[derive(Serialize)]
struct InferenceOf {
    agree: Option<u64>,
    missed: Option<u64>,
    invented: Option<u64>,
    shifted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl InferenceOf {
    fn new(mic: &MicCounters) -> InferenceOf {
        let told = |count: u64| mic.known.then_some(count);
        InferenceOf {
            agree: told(mic.inference.agree),
            missed: told(mic.inference.missed),
            invented: told(mic.inference.invented),
            shifted: told(mic.inference.shifted),
            reason: (!mic.known).then_some("its packets carry no numbers to hold it against"),
        }
    }
}

/// What section 5 of the contract calls `packet_errors`: bad packets from the sender that is followed.
pub(super) fn packet_errors(mic: &MicCounters) -> u64 {
    mic.malformed + mic.truncated
}

/// Seconds with three digits behind the point.
pub(super) fn seconds(span: Span) -> f64 {
    thousandths(span.as_secs_f64())
}

pub(super) fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

pub(super) fn millionths(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{empty, full};
    use super::*;

    fn parse(body: &str) -> Value {
        serde_json::from_str(body).expect("a body is JSON")
    }

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().expect("an object").keys().map(String::as_str).collect()
    }

    /// The contract's own example of the old keys: same values in, same text out.
    #[test]
    fn the_old_keys_are_the_old_ones() {
        let mut snapshot = full();
        snapshot.buffer_packets = vec![128, 127, 126];
        snapshot.latest_offsets = Some([0, 2_345_999, 4_567_001].map(Span::from_nanos).to_vec());
        for (mic, received) in [1250u64, 1248, 1247].into_iter().enumerate() {
            let counters = &mut snapshot.totals.engine.mics[mic];
            counters.received = received;
            counters.samples = received * 512;
            counters.malformed = 0;
            counters.truncated = 0;
        }
        let body = diagnostics_sync(&snapshot);
        let expected = concat!(
            r#"{"synchronization_status":{"buffer_packets":{"mic0":128,"mic1":127,"mic2":126},"#,
            r#""buffer_packet_diffs":{"mic0_vs_mic1":1,"mic0_vs_mic2":2,"mic1_vs_mic2":1},"#,
            r#""thread_scheduling_offset":{"mic01_offset_us":2345,"mic01_offset_samples":112,"mic01_offset_ms":2.345,"#,
            r#""mic02_offset_us":4567,"mic02_offset_samples":219,"mic02_offset_ms":4.567}},"#,
            r#""packet_stats":{"packets_received":[1250,1248,1247],"packet_errors":[0,0,0],"#,
            r#""total_samples":[640000,638976,638464]},"#,
        );
        assert!(body.starts_with(expected), "{body}");
    }

    #[test]
    fn offsets_truncate_toward_zero_on_both_sides() {
        let mut snapshot = full();
        snapshot.latest_offsets = Some([0, -2_345_999, 20_999].map(Span::from_nanos).to_vec());
        let body = parse(&diagnostics_sync(&snapshot));
        let offset = &body["synchronization_status"]["thread_scheduling_offset"];
        // 2345 us are 112.56 samples; 20 us are 0.96.
        assert_eq!(offset["mic01_offset_us"], json!(-2345));
        assert_eq!(offset["mic01_offset_samples"], json!(-112));
        assert_eq!(offset["mic01_offset_ms"], json!(-2.345));
        assert_eq!(offset["mic02_offset_samples"], json!(0));
        assert!(offset["mic02_offset_ms"].is_f64());
    }

    #[test]
    fn offsets_are_of_complete_cycles_whatever_skew_is_known() {
        let mut snapshot = full();
        snapshot.window_totals.engine.cycles.complete = 0;
        let body = parse(&diagnostics_sync(&snapshot));
        let offset = |sheet: &Value| sheet["synchronization_status"]["thread_scheduling_offset"].clone();
        assert_eq!((&offset(&body)["mic01_offset_us"], &offset(&body)["reason"]), (&json!(100), &Value::Null));
        let window = &body["window"];
        assert!(offset(window)["mic01_offset_us"].is_null() && offset(window)["reason"].is_string());
        assert_eq!(window["arrival_skew_us"]["mic0_vs_mic1"]["last"], json!(100.5));
    }

    #[test]
    fn every_key_of_the_contract_is_there_and_in_the_window_again() {
        for snapshot in [full(), empty()] {
            let body = parse(&diagnostics_sync(&snapshot));
            let mut top = keys(&body);
            top.retain(|key| *key != "window");
            assert_eq!(top, keys(&body["window"]));
            for sheet in [&body, &body["window"]] {
                let pairs = ["mic0_vs_mic1", "mic0_vs_mic2", "mic1_vs_mic2"];
                let mics = ["mic0", "mic1", "mic2"];
                let require = |value: &Value, wanted: &[&str]| {
                    let found = keys(value);
                    assert!(wanted.iter().all(|key| found.contains(key)), "{wanted:?} in {found:?}");
                };
                require(
                    &sheet["server"],
                    &["version", "uptime_s", "core", "clock", "hold_us", "sample_rate", "chunk", "kernel"],
                );
                assert_eq!(sheet["server"]["chunk"]["mic0"], json!({"samples": 512, "pieces": [365, 147]}));
                assert_eq!(sheet["server"]["chunk"]["mic1"], json!({"samples": 512, "pieces": [512]}));
                let skew = ["last", "min", "p50", "p90", "p99", "p999", "max", "mean", "count", "trend_us_per_min"];
                require(&sheet["arrival_skew_us"], &pairs);
                require(&sheet["loop_delay_us"], &mics);
                require(&sheet["jitter_us"], &mics);
                require(&sheet["loss"], &mics);
                let delay = ["p50", "p99", "p999", "max", "count"];
                require(&sheet["loop_skew_us"], &delay);
                require(&sheet["emit_delay_us"], &delay);
                for pair in pairs {
                    require(&sheet["arrival_skew_us"][pair], &skew);
                    require(&sheet["clock_drift_ppm"][pair], &["ppm", "uncertainty_ppm", "span_s"]);
                }
                for mic in mics {
                    require(&sheet["loop_delay_us"][mic], &delay);
                    require(&sheet["clock_drift_ppm"][mic], &["ppm", "uncertainty_ppm", "span_s"]);
                    require(
                        &sheet["loss"][mic],
                        &[
                            "lost",
                            "lost_pieces",
                            "late",
                            "duplicate",
                            "foreign",
                            "truncated",
                            "malformed",
                            "kernel_dropped",
                            "sender_changes",
                            "slips",
                            "corrected",
                        ],
                    );
                }
                require(&sheet["cycles"], &["emitted", "complete", "incomplete", "skipped"]);
                require(&sheet["stream"], &["subscribers", "events_sent", "events_dropped", "bytes_sent", "resumed"]);
            }
        }
    }

    #[test]
    fn what_is_unknown_is_null_with_a_reason() {
        fn check(path: &str, value: &Value) {
            let Some(object) = value.as_object() else { return };
            let nulls: Vec<_> = object.iter().filter(|(_, v)| v.is_null()).map(|(k, _)| k.as_str()).collect();
            // A server that is not pinned has no core, and a microphone that was never heard no silence to measure;
            // reasons by microphone are null where the figure is known.
            if !nulls.is_empty()
                && !path.ends_with("server")
                && !path.ends_with("silent_s")
                && !path.ends_with("reason")
            {
                let has_reason = object.contains_key("reason") || object.contains_key("trend_reason");
                assert!(has_reason, "{path}: {nulls:?} without a reason");
            }
            for (key, inner) in object {
                check(&format!("{path}/{key}"), inner);
            }
        }
        let body = parse(&diagnostics_sync(&empty()));
        check("", &body);
        assert!(body["jitter_us"]["mic1"].is_null());
        assert!(body["jitter_us"]["reason"]["mic1"].is_string());
        assert_eq!(body["loop_skew_us"]["count"], json!(0));
        assert!(body["clock_drift_ppm"]["mic0"]["reason"].is_string());
        assert!(body["synchronization_status"]["thread_scheduling_offset"]["reason"].is_string());
    }

    #[test]
    fn figures_come_out_in_their_units() {
        let body = parse(&diagnostics_sync(&full()));
        // See `full` for what went in: 100.5 us of skew from mic 0 to mic 1, 42 us of loop delay.
        assert_eq!(body["arrival_skew_us"]["mic0_vs_mic1"]["last"], json!(100.5));
        assert_eq!(body["arrival_skew_us"]["mic0_vs_mic1"]["count"], json!(1));
        assert_eq!(body["loop_delay_us"]["mic2"]["max"], json!(42.0));
        assert_eq!(
            body["clock_drift_ppm"]["mic0"],
            json!({"ppm": 20.25, "uncertainty_ppm": 0.5, "span_s": 60.0, "age_s": 1.5})
        );
        assert_eq!(body["server"]["hold_us"], json!(40_000));
        assert_eq!(body["server"]["uptime_s"], json!(61.5));
        let pair = &body["alignment"]["mic0_vs_mic2"];
        // 12.5 us and 5 us are 0.6 and 0.24 samples of 1/48000 s.
        assert_eq!((&pair["offset_us"], &pair["uncertainty_us"]), (&json!(-12.5), &json!(5.0)));
        assert_eq!((&pair["offset_samples"], &pair["uncertainty_samples"]), (&json!(-0.6), &json!(0.24)));
        assert_eq!(pair["leaves_out"], json!("paths"));
        assert_eq!(body["span_s"], json!(61.5));
        assert_eq!(body["window"]["span_s"], json!(10.0));
        assert_eq!(body["packet_stats"]["packet_errors"], json!([7, 7, 7]), "3 malformed and 4 truncated");
    }
}
