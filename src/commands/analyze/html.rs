//! The findings as one self-contained page with plots.

use super::Findings;
use super::plot::{Axis, Plot, escaped};
use super::series::Series;
use super::table;
use super::timeline::{Cell, Range};
use crate::array::{Layout, pairs};
use crate::engine::figures::{Alignment, Buckets, Known};
use crate::stats::stability::Deviations;

/// Colours of microphones and of pairs, in turn.
const COLOURS: [&str; 3] = ["a", "b", "c"];
/// Delays below this are drawn as this: a logarithm needs an end, and a microsecond is the least that a host tells apart.
const LEAST_US: f64 = 1.0;

/// The page.
pub(super) fn page(findings: &mut Findings) -> String {
    let variations = findings.run.feed.engine.meter().histograms().delay_variation;
    let findings = &*findings;
    let names: Vec<String> = findings.files.iter().map(|file| escaped(&file.name)).collect();
    let mut out = String::with_capacity(256 * 1024);
    out += "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">";
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";
    out += &format!("<title>micring: {}</title><style>", names.join(", "));
    out += include_str!("page.css");
    out += "</style></head><body>";
    out += &format!("<h1>Is the array in sync?</h1><p class=\"soft\">{}</p>", names.join(", "));
    for note in &findings.notes {
        out += &format!("<p>{}</p>", escaped(note));
    }
    summary(&mut out, findings);
    delays(&mut out, findings);
    skews(&mut out, findings);
    alignment(&mut out, findings);
    variation(&mut out, findings, &variations);
    stability(&mut out, findings);
    losses(&mut out, findings);
    out += "<h2>All figures</h2><pre>";
    out += &escaped(&table::text(findings));
    out += "</pre></body></html>\n";
    out
}

/// What one would say of the recording in a few sentences.
fn summary(out: &mut String, findings: &Findings) {
    let snapshot = &findings.snapshot;
    let engine = &snapshot.totals.engine;
    let cycles = &engine.cycles;
    let lost: u64 = engine.mics.iter().map(|mic| mic.lost).sum();
    let pieces: u64 = engine.mics.iter().map(|mic| mic.lost_pieces).sum();
    let heard: u64 = (0..engine.mics.len()).map(|mic| findings.chunks_heard(mic)).sum();
    let cut = pieces > 0 || snapshot.server.chunks.iter().flatten().any(|(_, pieces)| pieces.len() > 1);
    *out += &format!(
        "<p>{:.1} s; {} of {} cycles left complete, {} with a gap, {} were lost whole. {lost} of {} {} were lost ({:.3} %){}.</p>",
        snapshot.server.uptime.as_secs_f64(),
        cycles.complete,
        cycles.emitted,
        cycles.incomplete,
        cycles.skipped,
        lost + heard,
        if cut { "chunks" } else { "packets" },
        100.0 * lost as f64 / (lost + heard).max(1) as f64,
        if cut { format!(", and {pieces} pieces of others") } else { String::new() }
    );
    *out += &aligned(findings).unwrap_or_default();
    for ((first, second), drift) in pairs(engine.mics.len()).zip(&snapshot.drift.pairs) {
        *out += &match drift {
            Ok(figure) if figure.reason.is_some() => {
                format!("<p>The clock of mic {first} is that of mic {second}: one board.</p>")
            }
            Ok(figure) => format!(
                "<p>The clock of mic {first} runs {:+.3} ppm (&plusmn;{:.3}) against that of mic {second}.</p>",
                figure.ppm, figure.uncertainty_ppm
            ),
            Err(reason) => format!("<p>Drift of mic {first} against mic {second}: unknown, {}.</p>", escaped(reason)),
        };
    }
}

/// The colour of a line; more than there are share them.
fn colour(of: usize) -> &'static str {
    COLOURS[of % COLOURS.len()]
}

/// One number for how well the channels are aligned, where clocks decide that.
fn aligned(findings: &Findings) -> Option<String> {
    let snapshot = &findings.snapshot;
    let apart = |pair: &Known<Alignment>| pair.ok().map(|a| a.offset.abs().as_secs_f64() + a.uncertainty.as_secs_f64());
    let pairs: Option<Vec<f64>> = snapshot.alignment.iter().map(apart).collect();
    let most = pairs?.into_iter().fold(0.0, f64::max) * f64::from(snapshot.server.sample_rate);
    let left_out = snapshot.alignment.first()?.ok().and_then(|a| a.leaves_out)?;
    Some(format!("<p>At the end aligned within {most:.1} samples (95 %), but for {left_out}.</p>"))
}

fn key(names: Vec<String>) -> String {
    let mut out = String::new();
    for (colour, name) in names.into_iter().enumerate().map(|(at, name)| (colour(at), name)) {
        out += &format!("<i class=\"key {colour}\"></i>{name}");
    }
    out
}

fn mic_names(layout: &Layout) -> Vec<String> {
    (0..layout.sources()).map(|source| layout.name_of(source)).collect()
}

fn pair_names(layout: &Layout) -> Vec<String> {
    pairs(layout.sources()).map(|(first, second)| format!("{second} against {first}")).collect()
}

fn figure(out: &mut String, svg: &str, caption: &str) {
    *out += &format!("<figure>{svg}<figcaption>{caption}</figcaption></figure>");
}

/// Cells with the seconds at which they begin and end.
fn cells(findings: &Findings) -> Vec<(f64, f64, &Cell)> {
    let Some(timeline) = &findings.run.watch.timeline else { return Vec::new() };
    let width = timeline.width().as_secs_f64();
    timeline.cells().iter().enumerate().map(|(i, cell)| (i as f64 * width, (i + 1) as f64 * width, cell)).collect()
}

fn time_axis(cells: &[(f64, f64, &Cell)]) -> Axis {
    Axis::linear("seconds from the start", 0.0, cells.last().map_or(1.0, |(_, end, _)| *end))
}

fn delays(out: &mut String, findings: &Findings) {
    let cells = cells(findings);
    *out += "<h2>Arrival residuals and their lower envelope</h2>";
    *out += "<p>How much later packets arrived than the least delayed ones, with the clocks' drift taken out. Delay is only ever added: \
             the lower edge is the path at rest, and a step or slope of it is a queue, another path or a clock that changed.</p>";
    let lowest = |mic: usize| cells.iter().map(|(_, _, cell)| cell.delay[mic].min).fold(f64::INFINITY, f64::min);
    let layout = &findings.snapshot.layout;
    let base: Vec<f64> = (0..layout.sources()).map(lowest).collect();
    let base = &base;
    let top = (0..layout.sources())
        .flat_map(|mic| cells.iter().map(move |(_, _, cell)| cell.delay[mic].max - base[mic]))
        .filter(|us| us.is_finite())
        .fold(10.0, f64::max);
    for (mic, &base) in base.iter().enumerate() {
        let mut plot = Plot::new(time_axis(&cells), Axis::log("us above the least", LEAST_US, top));
        let above = |us: f64| (us - base).max(LEAST_US);
        plot.band(
            colour(mic),
            cells.iter().map(|(from, to, cell)| {
                let range = &cell.delay[mic];
                (*from, *to, if range.count > 0 { above(range.min) } else { f64::NAN }, above(range.max))
            }),
        );
        let envelope = cells.iter().map(|(from, to, cell)| {
            let range = &cell.delay[mic];
            ((from + to) / 2.0, (range.count > 0).then(|| above(range.min)))
        });
        plot.line(colour(mic), envelope);
        let drift = match &findings.snapshot.drift.mics[mic] {
            Ok(figure) => format!("drift {:+.3} &plusmn;{:.3} ppm taken out", figure.ppm, figure.uncertainty_ppm),
            Err(reason) => format!("drift not taken out: {}", escaped(reason)),
        };
        let drift = if findings.run.watch.drift_is_known(mic) { drift } else { "drift not taken out".to_owned() };
        let caption = format!("mic {mic}: line, the lower envelope; band, all packets; {drift}");
        figure(out, &plot.svg(&format!("Arrival residuals of mic {mic} over time")), &caption);
    }
}

/// The value that `share` of the finite ones do not exceed.
fn quantile(values: impl Iterator<Item = f64>, share: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(values[(last as f64 * share).round() as usize])
}

fn skews(out: &mut String, findings: &Findings) {
    let cells = cells(findings);
    *out += "<h2>Arrival skew of the pairs</h2>";
    *out += "<p>Arrival of the second microphone minus that of the first, inside a cycle. On one board it is constant (the order of sending, \
             about 100 us from one to the next); a slope is a clock that drifts, a jump a path that changed.</p>";
    let ranges = |pick: fn(&Range) -> f64| {
        cells.iter().flat_map(move |(_, _, cell)| cell.skew.iter().filter(|range| range.count > 0).map(pick))
    };
    // Bursts reach a hundred times further: a twentieth of the stretches may touch the edge.
    let low = quantile(ranges(|range| range.min), 0.05).unwrap_or(0.0).min(0.0);
    let high = quantile(ranges(|range| range.max), 0.95).unwrap_or(0.0).max(0.0);
    let room = ((high - low) * 0.08).max(1.0);
    let mut plot = Plot::new(time_axis(&cells), Axis::linear("us", low - room, high + room));
    let layout = &findings.snapshot.layout;
    let pairs = || 0..pairs(layout.sources()).len();
    for pair in pairs() {
        let bars = cells.iter().map(|(from, to, cell)| (*from, *to, cell.skew[pair].min, cell.skew[pair].max));
        plot.band(colour(pair), bars);
    }
    for pair in pairs() {
        plot.line(colour(pair), cells.iter().map(|(from, to, cell)| ((from + to) / 2.0, cell.skew[pair].mean())));
    }
    let caption = format!(
        "line, mean; band, smallest to largest; what lies beyond is drawn at the edge{}",
        key(pair_names(layout))
    );
    figure(out, &plot.svg("Arrival skew of the pairs over time"), &caption);
}

/// Where clocks decide how the channels stand.
fn alignment(out: &mut String, findings: &Findings) {
    let cells = cells(findings);
    let ranges = || cells.iter().flat_map(|(_, _, cell)| cell.aligned.iter().filter(|range| range.count > 0));
    if ranges().next().is_none() {
        return;
    }
    *out += "<h2>Alignment of the channels</h2>";
    *out += "<p>How much later the samples of one channel stand than those of the other that were taken at the same moment, in samples. \
             Within one sample is what slips of whole samples leave; a band that widens is a path whose least delay moves.</p>";
    // What is known at first is hardly known.
    let low = quantile(ranges().map(|range| range.min), 0.05).unwrap_or(0.0).min(-1.0);
    let high = quantile(ranges().map(|range| range.max), 0.95).unwrap_or(0.0).max(1.0);
    let room = (high - low) * 0.08;
    let mut plot = Plot::new(time_axis(&cells), Axis::linear("samples", low - room, high + room));
    let layout = &findings.snapshot.layout;
    for pair in 0..pairs(layout.sources()).len() {
        let known = cells.iter().filter(|(_, _, cell)| cell.aligned[pair].count > 0);
        plot.band(
            colour(pair),
            known.map(|(from, to, cell)| (*from, *to, cell.aligned[pair].min, cell.aligned[pair].max)),
        );
    }
    for pair in 0..pairs(layout.sources()).len() {
        plot.line(colour(pair), cells.iter().map(|(from, to, cell)| ((from + to) / 2.0, cell.aligned[pair].mean())));
    }
    let names = pairs(layout.sources()).map(|(first, second)| format!("{first} behind {second}")).collect();
    let caption = format!("line, the offset; band, its 95 % interval{}", key(names));
    figure(out, &plot.svg("Alignment of the channels over time"), &caption);
}

fn variation(out: &mut String, findings: &Findings, histograms: &[Buckets]) {
    *out += "<h2>Packet delay variation</h2>";
    *out += "<p>Share of packets by their delay above the smallest of the last ten seconds (RFC 5481). A good Wi-Fi keeps 99 % below some \
             milliseconds; a second hump is a retransmission, a power-saving sleep or a queue.</p>";
    let mut plot = Plot::new(
        Axis::log("us above the smallest", LEAST_US, histograms[0].bounds.last().map_or(1e6, |b| b.as_micros_f64())),
        Axis::linear(
            "% of packets",
            0.0,
            histograms.iter().flat_map(shares).map(|(_, _, share)| share).fold(1.0, f64::max),
        ),
    );
    for (mic, histogram) in histograms.iter().enumerate() {
        plot.band(colour(mic), shares(histogram).map(|(from, to, share)| (from, to, 0.0, share)));
    }
    figure(out, &plot.svg("Histogram of packet delay variation"), &key(mic_names(&findings.snapshot.layout)));
}

/// From, to (in microseconds) and percentage of each bucket.
fn shares(histogram: &Buckets) -> impl Iterator<Item = (f64, f64, f64)> {
    let total = histogram.counts.iter().sum::<u64>().max(1) as f64;
    let bounds = histogram.bounds;
    histogram.counts.iter().enumerate().map(move |(i, count)| {
        let bound = |i: usize| bounds.get(i).map(|bound| bound.as_micros_f64());
        let from = i.checked_sub(1).and_then(bound).unwrap_or(0.0);
        (from, bound(i).unwrap_or(f64::MAX), 100.0 * *count as f64 / total)
    })
}

fn stability(out: &mut String, findings: &Findings) {
    *out += "<h2>Stability against averaging time</h2>";
    *out += "<p>Network jitter averages away: the Allan deviation falls as 1/time, the time deviation as 1/&radic;time. Where they turn \
             flat or rise, the clocks themselves wander. MTIE is the largest change of arrival time inside any stretch of that length, drift \
             included (NIST SP 1065, ITU-T G.810).</p>";
    let deviations = |of: &Series| of.deviations(findings.snapshot.server.sample_rate);
    let mics: Vec<_> = findings.run.watch.stability.iter().map(deviations).collect();
    let pairs: Vec<_> = findings.run.watch.pair_stability.iter().map(deviations).collect();
    type Pick = fn(&Deviations) -> f64;
    let kinds: [(&str, &'static str, Pick); 3] = [
        ("Allan deviation", "ratio", |at| at.adev),
        ("Time deviation", "us", |at| at.tdev * 1e6),
        ("Maximum time interval error", "us", |at| at.mtie * 1e6),
    ];
    for (name, unit, pick) in kinds {
        let all = || mics.iter().chain(&pairs).flatten();
        let extent = |values: Vec<f64>| {
            let positive = values.into_iter().filter(|value| *value > 0.0 && value.is_finite());
            positive.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)))
        };
        let (from, to) = extent(all().map(|(tau, _)| *tau).collect());
        let (low, high) = extent(all().map(|(_, at)| pick(at)).collect());
        if high == 0.0 {
            continue;
        }
        let mut plot = Plot::new(Axis::log("averaging time, s", from, to), Axis::log(unit, low, high));
        for (mic, points) in mics.iter().enumerate() {
            plot.line(colour(mic), points.iter().map(|(tau, at)| (*tau, Some(pick(at)).filter(|value| *value > 0.0))));
        }
        for (pair, points) in pairs.iter().enumerate() {
            let class = format!("{} thin", colour(pair));
            plot.line(&class, points.iter().map(|(tau, at)| (*tau, Some(pick(at)).filter(|value| *value > 0.0))));
        }
        let layout = &findings.snapshot.layout;
        let thin: String = pair_names(layout)
            .into_iter()
            .enumerate()
            .map(|(pair, name)| format!("<i class=\"key {} thin\"></i>{name}", colour(pair)))
            .collect();
        figure(
            out,
            &plot.svg(&format!("{name} against averaging time")),
            &format!("{name}{}{thin}", key(mic_names(layout))),
        );
    }
}

fn losses(out: &mut String, findings: &Findings) {
    const WIDTH: f64 = 1000.0;
    *out += "<h2>Gaps</h2><p>Channels of emitted cycles over time: filled, and (red) the share that was missing when the cycle left.</p><figure>";
    let cells = cells(findings);
    let end = cells.last().map_or(1.0, |(_, end, _)| *end);
    for mic in 0..findings.snapshot.layout.sources() {
        let (mut filled, mut lost) = (String::new(), String::new());
        for (from, to, cell) in &cells {
            let (there, missing) = (cell.filled[mic] as f64, cell.missing[mic] as f64);
            if there + missing == 0.0 {
                continue;
            }
            let (left, width) = (from / end * WIDTH, ((to - from) / end * WIDTH).max(0.5));
            // A single loss among thousands must still be seen.
            let height = if missing > 0.0 { (missing / (there + missing) * 20.0).max(3.0) } else { 0.0 };
            filled += &format!("M{left:.1} 0h{width:.1}v20h-{width:.1}z");
            if height > 0.0 {
                let top = 20.0 - height;
                lost += &format!("M{left:.1} {top:.1}h{width:.1}v{height:.1}h-{width:.1}z");
            }
        }
        let missing: u64 = cells.iter().map(|(_, _, cell)| cell.missing[mic]).sum();
        *out += &format!(
            "<div class=\"row\"><span>mic {mic}</span><svg viewBox=\"0 0 {WIDTH} 20\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{missing} gaps of mic {mic}\"><path class=\"ok\" d=\"{filled}\"/><path class=\"lost\" d=\"{lost}\"/></svg></div>"
        );
    }
    *out += "</figure>";
}
