// Everything the page knows: fed by events of the stream and by the server's figures, read by the pictures, the verdict and the export.
//
// Fixed size, however long the page stays open (94 events a second are 338 000 an hour). No DOM, no clock: `now` is an argument,
// in milliseconds of a clock that never steps.

import { MICS, PAIRS, PAIR_KEYS } from "./format.js";
import { Buckets, Level, Wave, HEARD, MISSING } from "./series.js";
import { SampleDecoder, histograms } from "./decode.js";
import { direction, furthest, judge } from "./verdict.js";

/** Steps of the pair skew's picture: two minutes. */
const SKEW_STEP_MS = 100;
const SKEW_STEPS = 1200;
/** Steps of what is polled: jitter, loss; two minutes. */
export const POLL_MS = 250;
const POLL_STEPS = 480;
/** Steps of the drift's and the alignment's pictures: an hour of 5 s. Drift takes minutes to know. */
const DRIFT_STEP_MS = 5000;
const DRIFT_STEPS = 720;
/** 5 s of envelope, 5.3 ms a column; the newest 43 ms whole. */
const WAVE_COLUMNS = 938;
const WAVE_COLUMN_FRAMES = 256;
const RAW_FRAMES = 2048;
/** Time that the verdict's counts look back, in steps of what is polled. */
const LOOK_BACK = 10_000 / POLL_MS;
const JUST_NOW = 1500 / POLL_MS;

/** Lanes of the loss strip, a microphone after the other. */
export const FATES = ["arrived", "late", "lost", "lost_pieces", "kernel_dropped"];
/** Input that is ignored, as the diagnostics call it. */
const BAD_INPUT = ["malformed", "truncated", "foreign", "duplicate"];
const HISTOGRAMS = ["micring_loop_delay_seconds", "micring_loop_skew_seconds"];
/** Copies of the histograms, one a second, so that the newest minus the oldest is the last 10 s. */
const HISTOGRAM_COPIES = 11;

/** A lag that changes by less than this between stretches of 2 s is no trend, in microseconds. */
const TREND_LEAST_US = 300;
/** What is usual for boards that run free is known from older steps than these, and from as many at least. */
const USUAL_FROM = 15;
const USUAL_LEAST = 50;
/** So near to whole periods, a change of the skew is a slip's and no lag. */
const SLIP_US = 600;

/** Of a pair of which nothing is told. */
const UNKNOWN = { ppm: null, uncertainty_ppm: null, offset_samples: null, uncertainty_samples: null };

export class Model {
  #decoder = new SampleDecoder();
  #histograms = [];

  constructor() {
    this.skew = new Buckets(SKEW_STEP_MS, SKEW_STEPS, PAIRS.length);
    this.jitter = new Buckets(POLL_MS, POLL_STEPS, MICS);
    this.fates = new Buckets(POLL_MS, POLL_STEPS, MICS * FATES.length);
    this.bad = new Buckets(POLL_MS, POLL_STEPS, BAD_INPUT.length);
    this.missed = new Buckets(POLL_MS, POLL_STEPS, 1);
    this.drift = new Buckets(DRIFT_STEP_MS, DRIFT_STEPS, PAIRS.length * 2);
    this.alignment = new Buckets(DRIFT_STEP_MS, DRIFT_STEPS, PAIRS.length * 2);
    this.wave = new Wave(MICS, WAVE_COLUMNS, WAVE_COLUMN_FRAMES, RAW_FRAMES);
    this.levels = Array.from({ length: MICS }, () => new Level());
    this.diagnostics = null;
    this.diagnosticsTime = null;
    this.everConnected = false;
    this.refusal = null;
    /** The run of the server that the newest event is of: the id of its first. */
    this.run = null;
    this.eventId = null;
    this.eventTime = null;
    this.streamSince = null;
    this.sampleRate = 48000;
    this.periodUs = 512e6 / 48000;
    /** Counted by the page itself. */
    this.own = { events: 0, missed: 0, undecodable: 0, restarts: 0 };
  }

  /** The stream was opened, or opened again. */
  streamOpened(now) {
    this.streamSince = now;
  }

  /**
   * An event of `/api/stream_3ch`.
   * @returns {Int32Array | null} its samples, interleaved, until the next call
   */
  cycle(event, id, now) {
    const samples = this.#decoder.decode(event.data);
    const whole = samples !== null && Array.isArray(event.mic_samples) && samples.length === event.frames * MICS;
    if (!whole) {
      this.own.undecodable += 1;
      return null;
    }
    this.own.events += 1;
    this.eventTime = now;
    this.sampleRate = event.sample_rate;
    this.periodUs = (event.frames * 1e6) / event.sample_rate;
    if (event.run !== this.run) {
      // Ids and positions start anew: what is between them and the last ones was not missed.
      this.run = event.run;
      this.eventId = null;
      this.wave.clear();
    }
    if (this.eventId !== null && id > this.eventId + 1) {
      this.own.missed += id - this.eventId - 1;
      this.missed.add(now, 0, id - this.eventId - 1);
    }
    this.eventId = id;
    this.wave.add(event.first_frame, samples, event.mic_samples);
    this.#measureLevels(samples, event.mic_samples, now);
    PAIRS.forEach(([a, b], pair) => {
      const [first, second] = [event.arrival_us[a], event.arrival_us[b]];
      if (first !== null && second !== null) this.skew.add(now, pair, second - first);
    });
    return samples;
  }

  #measureLevels(samples, heard, now) {
    for (let mic = 0; mic < MICS; mic++) {
      if (heard[mic] === 0) continue;
      let squares = 0;
      let peak = 0;
      for (let i = mic, n = 0; n < heard[mic]; i += MICS, n++) {
        const size = Math.abs(samples[i]);
        squares += size * size;
        if (size > peak) peak = size;
      }
      this.levels[mic].add(squares / heard[mic] / 2 ** 62, peak / 2 ** 31, heard[mic] / this.sampleRate, now);
    }
  }

  /** An answer of `/api/diagnostics_sync`. */
  figures(diagnostics, now) {
    const before = this.diagnostics;
    const restarted = before !== null && (diagnostics.server.run !== before.server.run || diagnostics.server.uptime_s < before.server.uptime_s);
    this.diagnostics = diagnostics;
    this.diagnosticsTime = now;
    this.everConnected = true;
    this.refusal = null;
    if (restarted) this.#restart();
    const since = restarted ? null : before;
    for (let mic = 0; mic < MICS; mic++) {
      const key = `mic${mic}`;
      const jitter = diagnostics.jitter_us[key];
      if (jitter !== null) this.jitter.add(now, mic, jitter);
      const got = (d) => ({ arrived: d.packet_stats.packets_received[mic], ...d.loss[key] });
      if (since !== null) {
        // `lost` may fall, when a packet that was given up shows up after all: then it shows as late.
        FATES.forEach((fate, i) => {
          // Null while losses cannot be told.
          const [count, before] = [got(diagnostics)[fate] ?? null, got(since)[fate] ?? null];
          this.fates.add(now, mic * FATES.length + i, count === null || before === null ? 0 : Math.max(0, count - before));
        });
        BAD_INPUT.forEach((kind, i) => this.bad.add(now, i, diagnostics.loss[key][kind] - since.loss[key][kind]));
      }
    }
    for (const level of this.levels) level.miss(now);
    this.missed.advance(now);
    this.skew.advance(now);
    PAIR_KEYS.forEach((key, pair) => {
      const add = (series, value, uncertainty) => {
        if (value === null) return;
        series.add(now, pair * 2, value);
        series.add(now, pair * 2 + 1, uncertainty);
      };
      const { ppm, uncertainty_ppm } = diagnostics.clock_drift_ppm[key] ?? UNKNOWN;
      add(this.drift, ppm, uncertainty_ppm);
      const { offset_samples, uncertainty_samples } = diagnostics.alignment?.[key] ?? UNKNOWN;
      add(this.alignment, offset_samples, uncertainty_samples);
    });
  }

  /** The text of `/metrics`. */
  metrics(text) {
    this.#histograms.push(histograms(text, HISTOGRAMS));
    if (this.#histograms.length > HISTOGRAM_COPIES) this.#histograms.shift();
  }

  /** The server would not answer this page: its own words. */
  refused(reason) {
    this.refusal = reason;
  }

  /** Another run of the server: its counters and positions start anew. */
  #restart() {
    this.own.restarts += 1;
    this.#histograms = [];
    for (const series of [this.fates, this.bad, this.missed, this.drift, this.alignment]) series.clear();
  }

  /**
   * A histogram of the last 10 s (of less, just after the start), all its series that begin with `name`.
   * @returns {{key: string, le: number[], counts: number[]}[]}
   */
  histogram(name) {
    const newest = this.#histograms.at(-1);
    const oldest = this.#histograms.length > 1 ? this.#histograms[0] : null;
    if (newest === undefined) return [];
    return [...newest].filter(([key]) => key.startsWith(name)).map(([key, { le, counts }]) => {
      const before = oldest?.get(key)?.counts;
      return { key, le, counts: counts.map((n, i) => Math.max(0, n - (before?.[i] ?? 0))) };
    });
  }

  /** Packets that a chunk of a microphone leaves as: 1 while that is not known. */
  pieces(mic) {
    return this.diagnostics?.server.chunk?.[`mic${mic}`].pieces?.length ?? 1;
  }

  /** What the verdict is made from. Packets received are datagrams; late, lost and in time are chunks. */
  facts(now) {
    const d = this.diagnostics;
    const sinceFigures = this.diagnosticsTime === null ? Infinity : (now - this.diagnosticsTime) / 1000;
    const connected = d !== null && sinceFigures < 2;
    const facts = { connected, refusal: this.refusal, offlineS: sinceFigures, everConnected: this.everConnected };
    if (!connected) return facts;
    const perMic = (of) => Array.from({ length: MICS }, (_, mic) => of(mic));
    const fate = (name) => perMic((mic) => this.fates.total(LOOK_BACK, mic * FATES.length + FATES.indexOf(name)));
    const received10 = fate("arrived");
    const lost10 = fate("lost");
    const lostPieces10 = fate("lost_pieces");
    const pieces = perMic((mic) => this.pieces(mic));
    const justLost = (name, mic) => this.fates.total(JUST_NOW, mic * FATES.length + FATES.indexOf(name)) > 0;
    const sum = (list) => list.reduce((a, b) => a + b, 0);
    // As of the answer: what has come since then is not known, and a page that asks late must not call it silence.
    const silentS = perMic((mic) => d.silent_s[`mic${mic}`]);
    const anyHeard = silentS.some((s) => s !== null && s < 1);
    const lastEvent = Math.max(this.eventTime ?? -Infinity, this.streamSince ?? -Infinity);
    const newestSkew = PAIRS.map((_, pair) => this.skew.median(0, 10, pair));
    const spans = newestSkew.filter((us) => us !== null).map(Math.abs);
    const loopDelays = perMic((mic) => d.window.loop_delay_us[`mic${mic}`].p99);
    return {
      ...facts,
      stalledS: anyHeard && Number.isFinite(lastEvent) ? (now - lastEvent) / 1000 : 0,
      uptimeS: d.server.uptime_s,
      clock: d.server.clock,
      holdUs: d.server.hold_us,
      silentS,
      never: perMic((mic) => d.packet_stats.packets_received[mic] === 0),
      received10,
      pieces,
      lost10,
      lostPieces10,
      // Why it cannot be told what a microphone lost; null where it can.
      lossUnknown: perMic((mic) => {
        const { lost, reason } = d.loss[`mic${mic}`];
        return lost === null ? (reason ?? "unknown") : null;
      }),
      // Of which something came.
      chunks10: perMic((mic) => Math.round((received10[mic] + lostPieces10[mic]) / pieces[mic])),
      losing: perMic((mic) => justLost("lost", mic) || justLost("lost_pieces", mic)),
      late10: fate("late"),
      dropped10: fate("kernel_dropped"),
      expected10: sum(perMic((mic) => received10[mic] + lostPieces10[mic] + lost10[mic] * pieces[mic])),
      missed10: this.missed.total(LOOK_BACK, 0),
      bad10: Object.fromEntries(BAD_INPUT.map((kind, i) => [kind, this.bad.total(LOOK_BACK, i)])),
      spreadUs: spans.length === 0 ? null : Math.max(...spans),
      offsets: this.#offsets(),
      drifts: PAIR_KEYS.map((key) => {
        const { ppm, uncertainty_ppm } = d.clock_drift_ppm[key] ?? UNKNOWN;
        return ppm === null ? null : { ppm, uncertainty: uncertainty_ppm };
      }),
      apartSamples: this.#apart(),
      faults: perMic((mic) => {
        const own = d.health?.[`mic${mic}`];
        return Array.isArray(own) ? own : [];
      }),
      loopP99Us: loopDelays.every((us) => us === null) ? null : Math.max(...loopDelays.filter((us) => us !== null)),
    };
  }

  /** Channels are apart by no more than this, in samples, at 95 %; null while that is not known of every pair. */
  #apart() {
    const pairs = PAIR_KEYS.map((key) => this.diagnostics.alignment?.[key]);
    if (pairs.length === 0 || pairs.some((pair) => !pair || pair.offset_samples === null)) return null;
    return Math.max(...pairs.map((pair) => Math.abs(pair.offset_samples) + pair.uncertainty_samples));
  }

  /** The microphone that stands apart, by how much, and whether that goes on growing. */
  #offsets() {
    const usual = this.#usualSkew();
    const worst = furthest(this.#offsetsOf(0, 10, 3, usual));
    if (worst === null) return null;
    // Three stretches of 2 s, older to newer, and the halves of the newest.
    const stretches = [[40, 60], [20, 40], [0, 20], [10, 20], [0, 10]];
    const medians = stretches.map(([from, to]) => this.#offsetsOf(from, to, (to - from) / 2, usual)[worst.mic]);
    return { ...worst, trend: direction(medians, TREND_LEAST_US) };
  }

  /**
   * The skew of each pair that counts as none, in microseconds. One board sends its packets together: 0. Boards that run free
   * have the edges of their packets anywhere in a period, moving as their clocks do: what the last two minutes lead to. Null while
   * that is not known.
   */
  #usualSkew() {
    const { server, clock_drift_ppm } = this.diagnostics;
    if (server.clock !== "independent") return PAIRS.map(() => 0);
    return PAIR_KEYS.map((key, pair) => {
      // Microseconds a second: the pair's drift is that of the first minus the second, so the second falls behind.
      const slope = clock_drift_ppm[key]?.ppm ?? 0;
      return this.skew.median(USUAL_FROM, SKEW_STEPS, pair, USUAL_LEAST, (age) => (slope * age * SKEW_STEP_MS) / 1000);
    });
  }

  /** Arrival of each microphone after mic 0 beyond what is usual, in microseconds, over steps of the skew's picture. */
  #offsetsOf(from, to, least, usual) {
    const beyondUsual = PAIRS.map((_, pair) => {
      const us = this.skew.median(from, to, pair, least);
      if (us === null || usual[pair] === null) return null;
      // A slip moves the edge of a packet over that of a cycle: the newest packet is then another, a whole period away.
      const beyond = us - usual[pair];
      const periods = Math.round(beyond / this.periodUs);
      return usual[pair] !== 0 && Math.abs(beyond - periods * this.periodUs) < SLIP_US ? beyond - periods * this.periodUs : beyond;
    });
    // Against mic 0; where nothing is known of that, against the first that something is known of.
    const known = PAIRS.findIndex((_, pair) => beyondUsual[pair] !== null);
    const offsets = Array(MICS).fill(null);
    if (known < 0) return offsets;
    const [first] = PAIRS[known];
    offsets[first] = 0;
    PAIRS.forEach(([a, b], pair) => {
      if (a === first) offsets[b] = beyondUsual[pair];
    });
    return offsets;
  }

  verdict(now) {
    return judge(this.facts(now));
  }

  /** A copy that stands still, for a page that is paused. */
  copy() {
    const copy = new Model();
    Object.assign(copy, this);
    for (const key of ["skew", "jitter", "fates", "bad", "missed", "drift", "alignment", "wave"]) copy[key] = this[key].copy();
    copy.levels = this.levels.map((level) => level.copy());
    copy.own = { ...this.own };
    copy.#histograms = [...this.#histograms];
    return copy;
  }

  /**
   * What is on screen, as plain data; times are seconds before the newest.
   * @param verdict the live one: a copy that stands still has heard nothing since, and would call that an outage
   */
  toJSON(verdict) {
    const series = (buckets, lanes, names) =>
      Object.fromEntries(names.map((name, k) => {
        const points = [];
        for (let age = buckets.length - 1; age >= 0; age--) {
          const i = buckets.at(age, lanes[k]);
          if (i < 0) continue;
          const mean = Number((buckets.sum[i] / buckets.count[i]).toFixed(3));
          points.push({ age_s: (age * buckets.stepMs) / 1000, min: buckets.min[i], mean, max: buckets.max[i], count: buckets.count[i] });
        }
        return [name, points];
      }));
    const micNames = Array.from({ length: MICS }, (_, mic) => `mic${mic}`);
    const waveforms = micNames.map((_, mic) => {
      const columns = [];
      for (let age = this.wave.columns - 1; age >= 0; age--) {
        const i = this.wave.at(age, mic);
        if (i >= 0) columns.push([Number(this.wave.min[i].toFixed(6)), Number(this.wave.max[i].toFixed(6)), this.wave.state[i] === MISSING ? 1 : 0]);
      }
      return columns;
    });
    const strips = {};
    micNames.forEach((name, mic) => {
      strips[name] = {};
      FATES.forEach((fate, i) => {
        const points = [];
        for (let age = this.fates.length - 1; age >= 0; age--) {
          const at = this.fates.at(age, mic * FATES.length + i);
          if (at >= 0) points.push([(age * POLL_MS) / 1000, this.fates.sum[at]]);
        }
        strips[name][fate] = points;
      });
    });
    return {
      what: "micring dashboard: what was on screen",
      verdict,
      page: this.own,
      diagnostics: this.diagnostics,
      pair_skew_us: series(this.skew, PAIRS.map((_, pair) => pair), PAIR_KEYS),
      jitter_us: series(this.jitter, micNames.map((_, mic) => mic), micNames),
      drift_ppm: series(this.drift, PAIRS.map((_, pair) => 2 * pair), PAIR_KEYS),
      drift_uncertainty_ppm: series(this.drift, PAIRS.map((_, pair) => 2 * pair + 1), PAIR_KEYS),
      alignment_samples: series(this.alignment, PAIRS.map((_, pair) => 2 * pair), PAIR_KEYS),
      alignment_uncertainty_samples: series(this.alignment, PAIRS.map((_, pair) => 2 * pair + 1), PAIR_KEYS),
      packets_age_s_and_count: strips,
      loop_delay_10s: this.histogram("micring_loop_delay_seconds").map(plain),
      loop_skew_10s: this.histogram("micring_loop_skew_seconds").map(plain),
      level_dbfs: this.levels.map((level) => ({ rms: finite(level.rmsDb), peak: finite(level.peakDb) })),
      waveform_min_max_missing: { frames_a_column: this.wave.columnFrames, end_frame: this.wave.end, mics: waveforms },
    };
  }
}

function finite(value) {
  return Number.isFinite(value) ? Number(value.toFixed(2)) : null;
}

/** JSON has no infinity. */
function plain({ key, le, counts }) {
  return { series: key, upper_bounds_s: le.map((bound) => (bound === Infinity ? "inf" : bound)), counts };
}

export { HEARD, MISSING };
