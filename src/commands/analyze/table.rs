//! The findings as a table for people.

use std::fmt::Write;

use super::Findings;
use super::json::or_dash;
use super::series::Series;
use crate::array;
use crate::engine::figures::{Distribution, Known, MicCounters, Trend};
use crate::engine::health::rates::Rate;
use crate::report::Drift;
use crate::time::Span;

/// Gaps shown; the rest is counted.
const GAPS_SHOWN: usize = 12;

/// The table.
pub(super) fn text(findings: &Findings) -> String {
    let mut out = String::with_capacity(8 * 1024);
    head(&mut out, findings);
    mics(&mut out, findings);
    pairs(&mut out, findings);
    stability(&mut out, findings);
    gaps(&mut out, findings);
    out
}

macro_rules! line {
    ($out:expr, $($arg:tt)*) => {
        writeln!($out, $($arg)*).expect("a String takes everything")
    };
}

fn head(out: &mut String, findings: &Findings) {
    for file in &findings.files {
        line!(out, "{}: {:.1} MB", file.name, file.bytes as f64 / 1e6);
        let passed = &file.passed_over;
        for (count, what) in [
            (passed.malformed, "frames cut off or inconsistent within their headers"),
            (passed.unstamped, "frames without a timestamp"),
            (passed.incomplete, "datagrams of which a fragment is missing"),
            (passed.unknown_link, "frames of an unknown link type"),
        ] {
            if count > 0 {
                line!(out, "  passed over: {count} {what}");
            }
        }
        if file.taken == 0 {
            line!(out, "  nothing for a microphone: {}", file.census.describe());
        }
    }
    let server = &findings.snapshot.server;
    let cycles = &findings.snapshot.totals.engine.cycles;
    line!(
        out,
        "{:.3} s at {} Hz, {} clock; cycles: {} emitted, {} complete, {} incomplete, {} skipped; {} clock steps\n",
        server.uptime.as_secs_f64(),
        server.sample_rate,
        server.clock,
        cycles.emitted,
        cycles.complete,
        cycles.incomplete,
        cycles.skipped,
        findings.snapshot.totals.engine.clock_steps
    );
}

/// A line of a table: a name, and a value for each column.
fn row(out: &mut String, name: &str, values: impl Iterator<Item = String>) {
    write!(out, "{name:<34}").expect("a String takes everything");
    values.for_each(|value| write!(out, "{value:>16}").expect("a String takes everything"));
    out.push('\n');
}

fn mics(out: &mut String, findings: &Findings) {
    let snapshot = &findings.snapshot;
    let (layout, counters) = (&snapshot.layout, &snapshot.totals.engine.mics);
    let mics = || 0..counters.len();
    row(out, "microphone", mics().map(|mic| layout.name_of(mic)));
    let all = |show: fn(&MicCounters) -> String| counters.iter().map(show);
    row(out, "packets received", all(|mic| mic.received.to_string()));
    let told = |mic: usize| snapshot.health.loss_unknown(mic, &counters[mic]).is_none();
    let if_told = |mic: usize, shown: String| if told(mic) { shown } else { "-".to_owned() };
    let lost = |show: fn(&MicCounters) -> String| mics().map(move |mic| if_told(mic, show(&counters[mic])));
    row(out, "lost", lost(|mic| mic.lost.to_string()));
    let of_all = |mic: usize| share(counters[mic].lost, counters[mic].lost + findings.chunks_heard(mic));
    row(out, "  of all", mics().map(|mic| if_told(mic, of_all(mic))));
    let told_by = |mic: &MicCounters| if mic.known { "numbers" } else { "arrivals" }.to_owned();
    row(out, "  told by", all(told_by));
    row(out, "lost pieces", lost(|mic| mic.lost_pieces.to_string()));
    row(out, "a chunk, in samples as sent", snapshot.server.chunks.iter().map(cut));
    row(out, "dropped by the kernel", all(|mic| mic.kernel_dropped.to_string()));
    row(out, "late", all(|mic| mic.late.to_string()));
    row(out, "duplicate", all(|mic| mic.duplicate.to_string()));
    row(out, "malformed, truncated", all(|mic| (mic.malformed + mic.truncated).to_string()));
    row(out, "foreign", all(|mic| mic.foreign.to_string()));
    row(out, "sender changes", all(|mic| mic.sender_changes.to_string()));
    row(out, "slips, corrected", all(|mic| format!("{}, {}", mic.slips, mic.corrected)));
    row(out, "jitter (RFC 3550), us", snapshot.skew.jitter.iter().map(|jitter| or_dash(*jitter, us)));
    let variation =
        |of: fn(&Distribution) -> Span| snapshot.skew.delay_variation.iter().map(move |d| or_dash(*d, |d| us(of(&d))));
    row(out, "delay variation (RFC 5481) p50, us", variation(|d| d.p50));
    row(out, "  p99", variation(|d| d.p99));
    row(out, "  max", variation(|d| d.max));
    let rate = |rate: Known<Rate>| or_dash(rate, |rate| format!("{:.0} +-{:.0}", rate.hz, rate.uncertainty_hz));
    let rates = mics().map(|mic| rate(snapshot.health.rates[layout.first_of(mic)]));
    row(out, "samples a second, by arrivals", rates);
    row(out, "drift against the host, ppm", snapshot.drift.mics.iter().map(drift));
    for (mic, faults) in snapshot.health.faults.iter().enumerate() {
        for fault in faults {
            line!(out, "  mic {mic} {}: {}: {}", fault.kind.name(), fault.evidence, fault.next_step);
        }
    }
    for (mic, drift) in snapshot.drift.mics.iter().enumerate() {
        if let Err(reason) = drift {
            line!(out, "  drift of {} unknown: {reason}", layout.name_of(mic));
        }
    }
}

fn pairs(out: &mut String, findings: &Findings) {
    let snapshot = &findings.snapshot;
    let pairs = || array::pairs(snapshot.layout.sources());
    out.push('\n');
    row(out, "pair (second minus first)", pairs().map(|(first, second)| format!("{first} and {second}")));
    let of = |field: fn(&Distribution) -> Span| {
        snapshot.skew.arrival_skew.iter().map(move |d| or_dash(*d, |d| us(field(&d))))
    };
    row(out, "arrival skew min, us", of(|d| d.min));
    row(out, "  p50", of(|d| d.p50));
    row(out, "  p99", of(|d| d.p99));
    row(out, "  p99.9", of(|d| d.p999));
    row(out, "  max", of(|d| d.max));
    let trend = |trend: &Known<Trend>| {
        or_dash(*trend, |trend| format!("{:.2} +-{:.2}", trend.us_per_min, trend.uncertainty_us_per_min))
    };
    row(out, "  trend, us a minute", snapshot.skew.arrival_trend.iter().map(trend));
    // Known drift of the first against the second.
    row(out, "drift, first minus second, ppm", snapshot.drift.pairs.iter().map(drift));
    row(
        out,
        "placed apart at the end, us",
        snapshot.alignment.iter().map(|pair| or_dash(*pair, |a| format!("{} +-{}", us(a.offset), us(a.uncertainty)))),
    );
    for ((first, second), drift) in pairs().zip(&snapshot.drift.pairs) {
        if let Err(reason) = drift {
            line!(out, "  drift of {first} against {second} unknown: {reason}");
        }
    }
}

fn stability(out: &mut String, findings: &Findings) {
    let run = &findings.run;
    let mut table = |name: &str, stability: &Series| {
        let deviations = stability.deviations(findings.snapshot.server.sample_rate);
        if deviations.is_empty() {
            return;
        }
        line!(out, "\n{name:<22}{:>12}{:>12}{:>14}{:>14}", "averaged over s", "ADEV", "TDEV us", "MTIE us");
        // Four times as long from line to line, and the longest.
        let last = deviations.len() - 1;
        for (_, (tau, at)) in deviations.iter().enumerate().filter(|(i, _)| i % 2 == 0 || *i == last) {
            line!(out, "{:<22}{tau:>12.3}{:>12.2e}{:>14.3}{:>14.1}", "", at.adev, at.tdev * 1e6, at.mtie * 1e6);
        }
    };
    for (mic, stability) in run.watch.stability.iter().enumerate() {
        table(&format!("stability of mic {mic}"), stability);
    }
    for ((first, second), stability) in array::pairs(run.watch.stability.len()).zip(&run.watch.pair_stability) {
        table(&format!("of {second} against {first}"), stability);
    }
}

fn gaps(out: &mut String, findings: &Findings) {
    let run = &findings.run;
    if run.watch.gaps.is_empty() {
        line!(out, "\nno gap: every channel of every cycle was filled when it left");
        return;
    }
    line!(out, "\ngaps when their cycle left     first frame      frames   seconds from the start");
    for gap in run.watch.gaps.iter().take(GAPS_SHOWN) {
        let who = gap.mic.map_or("whole cycles".to_owned(), |mic| format!("mic {mic}"));
        let seconds = gap.after.as_secs_f64();
        line!(out, "{who:<26}{:>16}{:>12}{seconds:>25.3}", gap.first_frame.0, gap.frames);
    }
    let more = run.watch.gaps.len().saturating_sub(GAPS_SHOWN) as u64 + run.watch.gaps_not_listed;
    if more > 0 {
        line!(out, "and {more} more");
    }
}

/// "365+147", "2x365+294", "512"; a dash while it is not known.
fn cut(chunk: &Option<(u32, Vec<f64>)>) -> String {
    let Some((_, pieces)) = chunk else { return "-".to_owned() };
    let runs = pieces.chunk_by(|a, b| a == b).map(|run| {
        // A boundary may lie inside a sample.
        let samples = (run[0] * 100.0).round() / 100.0;
        if run.len() > 1 { format!("{}x{samples}", run.len()) } else { samples.to_string() }
    });
    runs.collect::<Vec<_>>().join("+")
}

fn us(span: Span) -> String {
    format!("{:.1}", span.as_micros_f64())
}

fn drift(drift: &Drift) -> String {
    match drift {
        Ok(drift) => format!("{:.3} +-{:.3}", drift.ppm, drift.uncertainty_ppm),
        Err(_) => "-".to_owned(),
    }
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.4} %", 100.0 * part as f64 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_told_in_one_cell() {
        let told = |pieces: &[f64]| cut(&Some((pieces.iter().sum::<f64>() as u32, pieces.to_vec())));
        assert_eq!(told(&[365.0, 147.0]), "365+147");
        // 4096 bytes as Arduino sends them, 730 samples without a rest, one datagram, and a boundary inside a sample.
        assert_eq!(told(&[365.0, 365.0, 294.0]), "2x365+294");
        assert_eq!(told(&[365.0, 365.0]), "2x365");
        assert_eq!(told(&[512.0]), "512");
        assert_eq!(told(&[364.5, 147.5]), "364.5+147.5");
        assert_eq!(cut(&None), "-");
    }
}
