// The pictures, on plain canvas.
//
// Why no library: what is shown is a signed scale that holds 10 µs and 40 ms at once, envelopes, strips of fates, meters and
// histograms. Line-chart libraries draw one of these, and are several times the size of this file; a server that sits beside
// microphones should serve a page that needs nothing else, from one binary. Each picture is drawn anew from arrays of fixed size.

import { MICS, PAIRS, duration, ppm } from "./format.js";
import { FATES } from "./model.js";
import { MISSING } from "./series.js";
import { OFFSET_LIMIT_US } from "./verdict.js";

const FONT = "11px system-ui, sans-serif";
/** Room for the labels of an axis, in CSS pixels. */
const LEFT = 54;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 18;
/** Pairs are told apart by dashes as well as by colour; more than three lines share them. */
const DASHES = [[], [7, 3], [2, 2.5]];

/** A canvas as large as its place on the page, sharp on any screen, with a reader: a moment that the pointer or the arrow keys choose. */
export class Picture {
  constructor(canvas, draw) {
    this.canvas = canvas;
    this.ctx = canvas.getContext("2d");
    this.draw = draw;
    this.visible = true;
    this.reader = null; // Share of the picture's width, 0 to 1.
    this.width = 0;
    this.height = 0;
    new ResizeObserver(() => this.#fit()).observe(canvas);
    new IntersectionObserver((entries) => (this.visible = entries.at(-1).isIntersecting)).observe(canvas);
    if (canvas.tabIndex < 0) return;
    canvas.addEventListener("pointermove", (event) => (this.reader = event.offsetX / canvas.clientWidth));
    canvas.addEventListener("pointerleave", () => (this.reader = null));
    canvas.addEventListener("blur", () => (this.reader = null));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.01, ArrowRight: 0.01 }[event.key];
      if (step === undefined) return;
      this.reader = Math.min(1, Math.max(0, (this.reader ?? 1) + step));
      event.preventDefault();
    });
  }

  #fit() {
    const ratio = Math.min(3, globalThis.devicePixelRatio || 1);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  paint(...args) {
    if (!this.visible || this.width === 0) return;
    this.ctx.clearRect(0, 0, this.width, this.height);
    this.ctx.font = FONT;
    this.ctx.lineJoin = "round";
    this.draw(this, ...args);
  }
}

/** The style sheet's colours, for canvas, of the theme that is on. */
export function palette() {
  // A custom property's value is text; only a real property has the colour that the theme makes of it.
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const colours = {
    ink: colour("--ink"),
    muted: colour("--muted"),
    line: colour("--line"),
    card: colour("--card"),
    well: colour("--well"),
    tint: colour("--tint"),
    mics: Array.from({ length: MICS }, (_, mic) => colour(`--mic${mic % DASHES.length}`)),
    pairs: PAIRS.map((_, pair) => colour(`--pair${pair % DASHES.length}`)),
    fates: { arrived: colour("--arrived"), late: colour("--late"), lost: colour("--lost"), lost_pieces: colour("--part"), kernel_dropped: colour("--dropped") },
  };
  probe.remove();
  return colours;
}

/** Waveform of one microphone: 5 s of envelope, or the newest 40 ms. */
export function drawWave({ ctx, width, height }, colours, wave, mic, close) {
  const middle = height / 2;
  ctx.fillStyle = colours.line;
  ctx.fillRect(0, Math.round(middle), width, 1);
  if (wave.end === null) return;
  let size = 1e-6;
  if (close) {
    const frames = 1920;
    for (let age = 0; age < frames; age++) size = Math.max(size, Math.abs(wave.sample(age, mic)));
    ctx.strokeStyle = colours.mics[mic];
    ctx.lineWidth = 1.25;
    ctx.beginPath();
    for (let age = frames - 1; age >= 0; age--) {
      const x = width * (1 - age / (frames - 1));
      const y = middle - (wave.sample(age, mic) / size) * (middle - 3);
      if (age === frames - 1) ctx.moveTo(x, y);
      else ctx.lineTo(x, y);
    }
    ctx.stroke();
  } else {
    const columns = wave.columns - 1;
    for (let age = 0; age < columns; age++) {
      const i = wave.at(age, mic);
      if (i >= 0) size = Math.max(size, Math.abs(wave.min[i]), Math.abs(wave.max[i]));
    }
    const step = width / columns;
    ctx.fillStyle = colours.mics[mic];
    for (let age = 0; age < columns; age++) {
      const i = wave.at(age, mic);
      if (i < 0) continue;
      const top = middle - (wave.max[i] / size) * (middle - 3);
      const bottom = middle - (wave.min[i] / size) * (middle - 3);
      const x = Math.floor(width - (age + 1) * step);
      ctx.fillRect(x, top, Math.max(1, Math.floor(width - age * step) - x), Math.max(1, bottom - top));
    }
    ctx.fillStyle = colours.fates.lost;
    for (let age = 0; age < columns; age++) {
      const i = wave.at(age, mic);
      if (i >= 0 && wave.state[i] === MISSING) ctx.fillRect(width - (age + 1) * step, height - 4, Math.max(step, 1.5), 4);
    }
  }
  // The scale follows the signal: say what the full height is.
  const scale = `full height ±${size >= 0.0995 ? size.toFixed(2) : size >= 0.000995 ? size.toPrecision(1) : size.toExponential(0)}`;
  ctx.globalAlpha = 0.85;
  ctx.fillStyle = colours.card;
  ctx.fillRect(width - ctx.measureText(scale).width - 8, 0, width, 16);
  ctx.globalAlpha = 1;
  ctx.fillStyle = colours.muted;
  ctx.textAlign = "right";
  ctx.textBaseline = "top";
  ctx.fillText(scale, width - 2, 3);
}

const METER_FLOOR_DB = -96;

/** Level meter: a bar for the root mean square, a tick for the peak that is held. */
export function drawMeter({ ctx, width, height }, colours, level, mic) {
  const at = (db) => width * Math.min(1, Math.max(0, 1 - db / METER_FLOOR_DB));
  ctx.fillStyle = colours.well;
  ctx.fillRect(0, 0, width, height);
  if (level.rmsDb === null) return;
  ctx.fillStyle = colours.mics[mic];
  ctx.fillRect(0, 0, at(level.rmsDb), height);
  ctx.fillStyle = level.peakDb > -1 ? colours.fates.lost : colours.ink;
  ctx.fillRect(Math.min(width - 2, at(level.peakDb)), 0, 2, height);
  ctx.fillStyle = colours.line;
  for (let db = -72; db < 0; db += 24) ctx.fillRect(Math.round(at(db)), 0, 1, height);
}

/** What became of the packets of one microphone, the last 60 s; a column is what was asked at once. */
export function drawStrip({ ctx, width, height }, colours, fates, mic, pieces) {
  const columns = 240;
  const step = width / columns;
  const lane = mic * FATES.length;
  ctx.fillStyle = colours.well;
  ctx.fillRect(0, 0, width, height);
  // Asking is not in step with the columns. What an answer counts came since the one before: an empty column is the next newer one's.
  let from = 0;
  while (from < 8 && fates.at(from, lane) < 0) from += 1;
  for (let age = 0; age < columns; age++) {
    if (fates.at(age, lane) >= 0) from = age;
    else if (age - from > 8) continue;
    if (fates.at(from, lane) < 0) continue;
    // Late and lost are counted in chunks, each of so many packets.
    const counts = FATES.map((fate, i) => fates.sum[fates.at(from, lane + i)] * (fate === "late" || fate === "lost" ? pieces : 1));
    const whole = counts.reduce((a, b) => a + b, 0);
    if (whole === 0) continue;
    // Whole pixels: seams between columns would look like losses.
    const x = Math.floor(width - (age + 1) * step);
    const wide = Math.floor(width - age * step) - x;
    ctx.fillStyle = colours.fates.arrived;
    ctx.fillRect(x, 0, wide, height);
    let y = 0;
    for (let i = FATES.length - 1; i > 0; i--) {
      if (counts[i] === 0) continue;
      // One lost packet of twenty must not be a hair: at least a third of the strip.
      const part = Math.max(height / 3, (counts[i] / whole) * height);
      ctx.fillStyle = colours.fates[FATES[i]];
      ctx.fillRect(x, y, Math.max(wide, 2), part);
      y = Math.min(y + part, height);
    }
  }
}

function frame(picture) {
  const { width, height } = picture;
  return { left: LEFT, right: width - RIGHT, top: TOP, bottom: height - BOTTOM, wide: width - LEFT - RIGHT, high: height - TOP - BOTTOM };
}

function gridLine({ ctx }, colours, box, y, label) {
  ctx.fillStyle = colours.line;
  ctx.fillRect(box.left, Math.round(y), box.wide, 1);
  ctx.fillStyle = colours.muted;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.fillText(label, box.left - 6, y);
}

function timeAxis({ ctx }, colours, box, seconds) {
  ctx.fillStyle = colours.muted;
  ctx.textBaseline = "top";
  const name = (s) => (s === 0 ? "now" : seconds >= 300 ? `\u2212${s / 60} min` : `\u2212${s} s`);
  const parts = box.wide > 320 ? 4 : 2;
  for (let k = 0; k <= parts; k++) {
    const s = (seconds * k) / parts;
    const x = box.right - (box.wide * s) / seconds;
    ctx.textAlign = k === 0 ? "right" : k === parts ? "left" : "center";
    ctx.fillText(name(s), x, box.bottom + 5);
  }
}

/** Traces one lane of buckets, the newest `steps`; `y` maps a value. Gaps stay gaps. */
function trace(ctx, box, steps, lane, y, value) {
  ctx.beginPath();
  const step = box.wide / steps;
  // A polled series leaves a step empty now and then; two in a row are a gap.
  let empty = 2;
  for (let age = steps - 1; age >= 0; age--) {
    const v = value(age, lane);
    if (v === null) {
      empty += 1;
      continue;
    }
    const x = box.right - (age + 0.5) * step;
    if (empty >= 2) ctx.moveTo(x, y(v));
    else ctx.lineTo(x, y(v));
    empty = 0;
  }
  ctx.stroke();
}

/** Fills between two values of each step. */
function band(ctx, box, steps, lane, y, low, high) {
  const step = box.wide / steps;
  for (let age = steps - 1; age >= 0; age--) {
    const [a, b] = [low(age, lane), high(age, lane)];
    if (a === null) continue;
    const top = y(b);
    ctx.fillRect(box.right - (age + 1) * step, top, step + 0.5, Math.max(1, y(a) - top));
  }
}

/** A vertical line at the reader, and the values there. */
function readAt(picture, colours, box, buckets, steps, texts) {
  if (picture.reader === null) return;
  const { ctx, width } = picture;
  const x = Math.min(box.right, Math.max(box.left, picture.reader * width));
  const age = Math.min(steps - 1, Math.max(0, Math.floor(((box.right - x) / box.wide) * steps)));
  ctx.fillStyle = colours.ink;
  ctx.fillRect(Math.round(x), box.top, 1, box.high);
  const lines = [`\u2212${((age * buckets.stepMs) / 1000).toFixed(1)} s`, ...texts(age)];
  const wide = Math.max(...lines.map((line) => ctx.measureText(line).width)) + 14;
  const left = x + wide + 8 > box.right ? x - wide - 6 : x + 6;
  ctx.globalAlpha = 0.92;
  ctx.fillStyle = colours.well;
  ctx.fillRect(left, box.top + 2, wide, lines.length * 15 + 6);
  ctx.globalAlpha = 1;
  ctx.fillStyle = colours.ink;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  lines.forEach((line, k) => ctx.fillText(line, left + 7, box.top + 7 + k * 15));
}

/** Below this the scale of the skew is nearly linear, above nearly logarithmic, in microseconds. */
const SKEW_KNEE_US = 100;
/** One board sends its microphones in order: below zero is hardly anything. */
const SKEW_LOW_US = -150;

/** Pair skew over up to two minutes, on a scale of the area hyperbolic sine, with the hold and the old guide's limit. */
export function drawSkew(picture, colours, skew, holdUs) {
  const { ctx } = picture;
  const box = frame(picture);
  const steps = skew.span();
  let [low, high] = [SKEW_LOW_US, Math.max(holdUs, OFFSET_LIMIT_US) * 1.3];
  for (let pair = 0; pair < PAIRS.length; pair++) {
    for (let age = 0; age < steps; age++) {
      const i = skew.at(age, pair);
      if (i < 0) continue;
      low = Math.min(low, skew.min[i] * 1.3);
      high = Math.max(high, skew.max[i] * 1.3);
    }
  }
  // Either a little room below zero, or the same as above: the scale must not wander with every packet.
  if (low < SKEW_LOW_US) low = Math.min(low, -high);
  const bend = (us) => Math.asinh(us / SKEW_KNEE_US);
  const y = (us) => box.bottom - (box.high * (bend(us) - bend(low))) / (bend(high) - bend(low));
  ctx.fillStyle = colours.tint;
  ctx.fillRect(box.left, box.top, box.wide, y(OFFSET_LIMIT_US) - box.top);
  if (low < -OFFSET_LIMIT_US) ctx.fillRect(box.left, y(-OFFSET_LIMIT_US), box.wide, box.bottom - y(-OFFSET_LIMIT_US));
  for (const us of [-5000, -1000, -100, 0, 100, 1000, 5000]) {
    if (us >= low && us <= high) gridLine(picture, colours, box, y(us), us === 0 ? "0" : duration(us, { plus: true }).replace(".00", "").replace(".0", ""));
  }
  const room = y(OFFSET_LIMIT_US) - box.top;
  ctx.textAlign = "left";
  ctx.fillStyle = colours.muted;
  ctx.textBaseline = "bottom";
  if (room > 14) ctx.fillText("above 5 ms: significant (old guide)", box.left + 6, y(OFFSET_LIMIT_US) - 3);
  for (const us of [holdUs, -holdUs]) {
    if (holdUs <= 0 || us < low || us > high) continue;
    ctx.strokeStyle = colours.muted;
    ctx.lineWidth = 1;
    ctx.setLineDash([3, 4]);
    ctx.beginPath();
    ctx.moveTo(box.left, Math.round(y(us)) + 0.5);
    ctx.lineTo(box.right, Math.round(y(us)) + 0.5);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.textAlign = "right";
    ctx.fillText(`hold ${duration(us).replace(".0", "")}`, box.right - 4, y(us) - 2);
  }
  const smallest = (age, lane) => (skew.at(age, lane) < 0 ? null : skew.min[skew.at(age, lane)]);
  const largest = (age, lane) => (skew.at(age, lane) < 0 ? null : skew.max[skew.at(age, lane)]);
  ctx.globalAlpha = 0.22;
  PAIRS.forEach((_, pair) => {
    ctx.fillStyle = colours.pairs[pair];
    band(ctx, box, steps, pair, y, smallest, largest);
  });
  ctx.globalAlpha = 1;
  ctx.lineWidth = 1.6;
  PAIRS.forEach((_, pair) => {
    ctx.strokeStyle = colours.pairs[pair];
    ctx.setLineDash(DASHES[pair % DASHES.length]);
    trace(ctx, box, steps, pair, y, (age, lane) => skew.mean(age, lane));
  });
  ctx.setLineDash([]);
  timeAxis(picture, colours, box, (steps * skew.stepMs) / 1000);
  readAt(picture, colours, box, skew, steps, (age) =>
    PAIRS.map(([a, b], pair) => `mic ${b} \u2212 mic ${a}: ${duration(skew.mean(age, pair), { plus: true })}`),
  );
}

/** Round steps of an axis: 1, 2 or 5 times a power of ten. */
export function niceStep(span, ticks) {
  const raw = span / ticks;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((k) => k * power).find((step) => step >= raw * 0.999);
}

/** Interarrival jitter over up to two minutes. */
export function drawJitter(picture, colours, jitter) {
  const { ctx } = picture;
  const box = frame(picture);
  const steps = jitter.span();
  let high = 20;
  for (let mic = 0; mic < MICS; mic++) {
    for (let age = 0; age < steps; age++) {
      const i = jitter.at(age, mic);
      if (i >= 0) high = Math.max(high, jitter.max[i] * 1.15);
    }
  }
  const step = niceStep(high, 4);
  const y = (us) => box.bottom - (box.high * us) / high;
  for (let us = 0; us <= high; us += step) gridLine(picture, colours, box, y(us), us === 0 ? "0" : duration(us).replace(".00", "").replace(".0", ""));
  ctx.lineWidth = 1.6;
  for (let mic = 0; mic < MICS; mic++) {
    ctx.strokeStyle = colours.mics[mic];
    ctx.setLineDash(DASHES[mic % DASHES.length]);
    trace(ctx, box, steps, mic, y, (age, lane) => jitter.mean(age, lane));
  }
  ctx.setLineDash([]);
  timeAxis(picture, colours, box, (steps * jitter.stepMs) / 1000);
  readAt(picture, colours, box, jitter, steps, (age) => Array.from({ length: MICS }, (_, mic) => `mic ${mic}: ${duration(jitter.mean(age, mic) ?? jitter.mean(age + 1, mic))}`));
}

/** A figure of the pairs over up to an hour, each with its 95 % band; `words` says one. */
export function drawPairs(picture, colours, series, reason, words) {
  const { ctx } = picture;
  const box = frame(picture);
  const steps = series.span([1 / 12, 0.25, 1]);
  // What is known at first is so uncertain that its band would flatten all the rest: the scale follows the values, and twice the newest bands.
  let [low, high] = [Infinity, -Infinity];
  for (let pair = 0; pair < PAIRS.length; pair++) {
    let newest = true;
    for (let age = 0; age < steps; age++) {
      const value = series.mean(age, pair * 2);
      if (value === null) continue;
      const room = newest ? 2 * series.mean(age, pair * 2 + 1) : 0;
      newest = false;
      low = Math.min(low, value - room);
      high = Math.max(high, value + room);
    }
  }
  const known = low <= high;
  if (!known) [low, high] = [-1, 1];
  const room = Math.max(0.02, (high - low) * 0.15);
  [low, high] = [low - room, high + room];
  const step = niceStep(high - low, 4);
  const y = (value) => box.bottom - (box.high * (Math.min(high, Math.max(low, value)) - low)) / (high - low);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let k = Math.ceil(low / step); k * step <= high; k++) {
    gridLine(picture, colours, box, y(k * step), k === 0 ? "0" : ((k > 0 ? "+" : "\u2212") + Math.abs(k * step).toFixed(digits)));
  }
  if (!known) {
    ctx.fillStyle = colours.muted;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    wrapped(ctx, `unknown: ${reason}`, box.left + box.wide / 2, box.top + box.high * 0.3, box.wide - 20);
  }
  const edge = (sign) => (age, lane) => (series.at(age, lane) < 0 ? null : series.mean(age, lane) + sign * series.mean(age, lane + 1));
  PAIRS.forEach((_, pair) => {
    ctx.globalAlpha = 0.18;
    ctx.fillStyle = colours.pairs[pair];
    band(ctx, box, steps, pair * 2, y, edge(-1), edge(1));
    ctx.globalAlpha = 1;
    ctx.strokeStyle = colours.pairs[pair];
    ctx.lineWidth = 1.6;
    ctx.setLineDash(DASHES[pair % DASHES.length]);
    trace(ctx, box, steps, pair * 2, y, (age, lane) => series.mean(age, lane));
  });
  ctx.setLineDash([]);
  timeAxis(picture, colours, box, (steps * series.stepMs) / 1000);
  readAt(picture, colours, box, series, steps, (age) =>
    PAIRS.map(([a, b], pair) => `mic ${a} \u2212 mic ${b}: ${words(series.mean(age, pair * 2), series.mean(age, pair * 2 + 1))}`),
  );
}

function wrapped(ctx, text, x, y, wide) {
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && ctx.measureText(`${line} ${word}`).width > wide) {
      ctx.fillText(line, x, y);
      y += 15;
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  ctx.fillText(line, x, y);
}

/** Histograms of the last 10 s: a group of bars a bucket; buckets as wide as each other, though their bounds grow. */
export function drawHistogram(picture, colours, histograms, barColours) {
  const { ctx } = picture;
  const box = { ...frame(picture), left: RIGHT, wide: picture.width - 2 * RIGHT };
  const le = histograms[0]?.le ?? [];
  const used = le.map((_, i) => histograms.some(({ counts }) => counts[i] > 0));
  ctx.fillStyle = colours.line;
  ctx.fillRect(box.left, box.bottom, box.wide, 1);
  if (!used.includes(true)) {
    ctx.fillStyle = colours.muted;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillText("nothing measured yet", box.left + box.wide / 2, box.top + box.high / 2);
    return;
  }
  // The same range for as long as the values allow, so that bars stay where they are.
  const first = Math.max(0, Math.min(used.indexOf(true) - 1, 3));
  const last = Math.min(le.length - 1, Math.max(used.lastIndexOf(true) + 1, 11));
  const wide = box.wide / (last - first + 1);
  const totals = histograms.map(({ counts }) => counts.reduce((a, b) => a + b, 0));
  const most = Math.max(...histograms.flatMap(({ counts }, k) => counts.map((n) => (totals[k] ? n / totals[k] : 0))));
  for (let i = first; i <= last; i++) {
    const x = box.left + (i - first) * wide;
    histograms.forEach(({ counts }, k) => {
      if (counts[i] === 0) return;
      const bar = (wide - 4) / histograms.length;
      const high = Math.max(2, (counts[i] / totals[k] / most) * box.high);
      ctx.fillStyle = barColours[k];
      ctx.fillRect(x + 2 + k * bar, box.bottom - high, Math.max(1, bar - 1), high);
    });
    if (i === last) continue;
    // Bounds stand under the edge that they name; every other one where it is narrow.
    if (wide < 34 && (i - first) % 2 === 1) continue;
    ctx.fillStyle = colours.muted;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    ctx.fillText(bound(le[i], i === first || wide > 48), x + wide, box.bottom + 5);
  }
}

function bound(seconds, long) {
  const us = Math.round(seconds * 1e7) / 10;
  return us < 1000 ? `${us}${long ? " µs" : "µ"}` : us < 1e6 ? `${us / 1000}${long ? " ms" : "m"}` : `${us / 1e6} s`;
}
